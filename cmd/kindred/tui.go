package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/kindred-iot/kindred/grant"
)

// A session is one command being made: what it was told, and where it reads and writes.
type session struct {
	dir, at       string
	beside        string // the name of the directory beside that of members, for what is none
	json, verbose bool
	wait          time.Duration  // how long what is taken back is followed
	running       bool           // flags and arguments are in order
	unknown       error          // a command that there is not was called
	language      grant.Language // that grants are said in

	in       *bufio.Reader
	out, err io.Writer

	asks     bool // there is somebody at the keyboard
	outTerm  bool // standard output is a terminal
	errTerm  bool // standard error is a terminal
	colour   bool // and may be painted
	errPaint bool // so may standard error
}

func newSession(in, out, err *os.File) *session {
	plain := os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
	s := &session{in: bufio.NewReaderSize(in, maxLine), out: out, err: terminal{err}} // what is told beside the result is read by people, in a file too
	s.outTerm = term.IsTerminal(int(out.Fd()))
	s.asks = term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(err.Fd()))
	s.errTerm = term.IsTerminal(int(err.Fd()))
	s.colour = s.outTerm && !plain
	s.errPaint = s.errTerm && !plain
	if s.outTerm {
		s.out = terminal{out}
	}
	return s
}

// A terminal is written texts that come from things and people elsewhere. Nothing in them steers it.
type terminal struct{ io.Writer }

// Write writes what is printable of a text.
func (t terminal) Write(text []byte) (int, error) {
	if _, err := io.WriteString(t.Writer, printable(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// raw is standard error for this program's own signs.
func (s *session) raw() io.Writer {
	if t, ok := s.err.(terminal); ok {
		return t.Writer
	}
	return s.err
}

// printable puts signs in place of the characters of a text that steer a terminal, but for its lines and the colours of
// this program.
func printable(text string) string { return tame(text, "\n\t") }

// oneLine is printable for what has to stay on a line.
func oneLine(text string) string { return tame(text, "") }

var colours = regexp.MustCompile("\x1b\\[(?:0|1|2|31|32|34)m")

// steers reports whether a character does something to a terminal rather than stand there: control characters, other ends
// of lines, and what turns the direction of all that follows (Unicode, UAX #9, §2), so that a line reads as another.
func steers(r rune) bool {
	turns := r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
	return unicode.IsControl(r) || turns || r == '\u2028' || r == '\u2029'
}

func tame(text, keep string) string {
	if !strings.ContainsFunc(text, steers) {
		return text
	}
	one := func(r rune) rune {
		if steers(r) && !strings.ContainsRune(keep, r) {
			return '\uFFFD'
		}
		return r
	}
	var out strings.Builder
	at := 0
	for _, colour := range colours.FindAllStringIndex(text, -1) {
		out.WriteString(strings.Map(one, text[at:colour[0]]))
		out.WriteString(text[colour[0]:colour[1]])
		at = colour[1]
	}
	out.WriteString(strings.Map(one, text[at:]))
	return out.String()
}

// say tells the user something beside the result.
func (s *session) say(format string, args ...any) {
	if !s.json {
		fmt.Fprintf(s.err, format+"\n", args...)
	}
}

// print writes the result: v as a line of JSON, or else the text, which may have several lines.
func (s *session) print(v any, text string) error {
	if s.json {
		return s.object(v)
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	_, err := io.WriteString(s.out, text)
	return err
}

// object writes a line of JSON.
func (s *session) object(v any) error {
	e := json.NewEncoder(s.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// maxLine is how long a line of standard input is that a command reads, in bytes: an invitation is far shorter.
const maxLine = 64 << 10

// line reads a line of standard input. A command that is interrupted leaves the read behind; the process ends then.
func (s *session) line(ctx context.Context) (string, error) {
	type read struct {
		text string
		err  error
	}
	got := make(chan read, 1)
	go func() {
		text, err := s.in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			err = usage("a line of more than %d bytes on standard input", len(text))
		}
		got <- read{string(text), err}
	}()
	select {
	case r := <-got:
		if r.err != nil && (r.text == "" || !errors.Is(r.err, io.EOF)) {
			return "", r.err
		}
		return strings.TrimSpace(r.text), nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// ask puts a question to whoever is at the keyboard.
func (s *session) ask(ctx context.Context, question string) (string, error) {
	fmt.Fprint(s.err, question+" ")
	answer, err := s.line(ctx)
	if errors.Is(err, io.EOF) {
		return "", nil
	}
	return answer, err
}

// confirm asks whether two machines show the same digits. Whoever is not at a keyboard gets the question as a line of
// JSON on standard output, and answers with a line. Anything but yes is a no.
func (s *session) confirm(ctx context.Context, path, digits string) (bool, error) {
	var answer string
	var err error
	if s.asks && !s.json {
		answer, err = s.ask(ctx, fmt.Sprintf("%s shows six digits. Are they %s? [y/N]", path, s.paint(bold, spaced(digits))))
	} else {
		question := map[string]any{"confirm": map[string]string{"path": path, "digits": digits}}
		if err := s.object(question); err != nil {
			return false, err
		}
		answer, err = s.line(ctx)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return yes(answer), nil
}

func yes(answer string) bool {
	answer = strings.ToLower(answer)
	return answer == "y" || answer == "yes"
}

// spaced writes six digits so that they can be read out: "123 456".
func spaced(digits string) string {
	if len(digits) != 6 {
		return digits
	}
	return digits[:3] + " " + digits[3:]
}

// The colours, as SGR parameters (ECMA-48).
const (
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
	blue  = "34"
)

// paint colours a text for standard error, tint one for standard output.
func (s *session) paint(colour, text string) string {
	return painted(s.errPaint && !s.json, colour, text)
}
func (s *session) tint(colour, text string) string { return painted(s.colour && !s.json, colour, text) }

func painted(really bool, colour, text string) string {
	if !really || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
