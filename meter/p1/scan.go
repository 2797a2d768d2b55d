package p1

import (
	"bufio"
	"errors"
	"io"
)

// Scanner splits a stream into telegrams, as [bufio.Scanner] splits it into
// lines. It starts at the first slash, so it can begin in the middle of a
// telegram, and passes over whatever stands between two telegrams.
//
// It never drops a telegram it saw begin: one cut short by the next, by the end
// of the stream or by [MaxTelegram] is returned as far as it came, for [Parse]
// to refuse with the reason. Memory is bounded by MaxTelegram.
type Scanner struct {
	r        *bufio.Reader
	telegram []byte
	err      error
}

// NewScanner returns a scanner that reads from r.
func NewScanner(r io.Reader) *Scanner { return &Scanner{r: bufio.NewReader(r)} }

// Scan reads the next telegram and reports whether there is one. It returns as
// soon as the line with the checksum has ended, without waiting for more.
func (s *Scanner) Scan() bool {
	s.telegram = nil
	if s.err != nil || !s.seek() {
		return false
	}
	ending := false // whether the line with the checksum has begun
	for len(s.telegram) < MaxTelegram {
		c, err := s.r.ReadByte()
		if err != nil {
			s.err = err
			return true
		}
		lineStart := s.telegram[len(s.telegram)-1] == '\n'
		if c == '/' && lineStart {
			s.r.UnreadByte() // cannot fail right after ReadByte
			return true
		}
		s.telegram = append(s.telegram, c)
		if c == '!' && lineStart {
			ending = true
		}
		if c == '\n' && ending {
			return true
		}
	}
	return true
}

// seek reads up to and including the slash that begins a telegram.
func (s *Scanner) seek() bool {
	for {
		c, err := s.r.ReadByte()
		if err != nil {
			s.err = err
			return false
		}
		if c == '/' {
			s.telegram = append(make([]byte, 0, 1024), c)
			return true
		}
	}
}

// Telegram returns the telegram that Scan read, from its slash to the end of
// the line with the checksum. The caller may keep it.
func (s *Scanner) Telegram() []byte { return s.telegram }

// Err returns the error that ended the stream, nil if it just ended.
func (s *Scanner) Err() error {
	if errors.Is(s.err, io.EOF) {
		return nil
	}
	return s.err
}
