package peer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxHello is the greatest length of a hello in bytes.
const MaxHello = 64 << 10

// A digest names a hello: its SHA-256.
type digest [sha256.Size]byte

// A frameKind is the first byte of a frame.
type frameKind byte

const (
	frameNone   frameKind = 0 // nothing shown or held
	frameFull   frameKind = 1 // a hello
	frameDigest frameKind = 2 // the digest of a hello shown before
)

// A frame is one of the two that a caller sends, or the one that a callee
// sends, before HTTP begins.
type frame struct {
	kind   frameKind
	hello  []byte // of frameFull: 1 … MaxHello bytes
	digest digest // of frameDigest, and of what frameFull carries
}

// fullFrame returns the frame that shows hello; none if hello is empty.
func fullFrame(hello []byte) frame {
	if len(hello) == 0 {
		return frame{}
	}
	return frame{kind: frameFull, hello: hello, digest: sha256.Sum256(hello)}
}

// short returns f with its hello replaced by the digest.
func (f frame) short() frame { return frame{kind: frameDigest, digest: f.digest} }

// append appends f's bytes to b.
func (f frame) append(b []byte) []byte {
	b = append(b, byte(f.kind))
	switch f.kind {
	case frameFull:
		b = binary.AppendUvarint(b, uint64(len(f.hello)))
		b = append(b, f.hello...)
	case frameDigest:
		b = append(b, f.digest[:]...)
	}
	return b
}

// readFrame reads one frame. What it allocates grows with what arrives, not
// with the length that is claimed.
func readFrame(r *bufio.Reader) (frame, error) {
	kind, err := r.ReadByte()
	if err != nil {
		return frame{}, err
	}
	switch frameKind(kind) {
	case frameNone:
		return frame{}, nil
	case frameDigest:
		f := frame{kind: frameDigest}
		_, err := io.ReadFull(r, f.digest[:])
		return f, truncated(err)
	case frameFull:
		n, err := readLength(r)
		if err != nil {
			return frame{}, err
		}
		var hello bytes.Buffer
		if _, err := io.CopyN(&hello, r, int64(n)); err != nil {
			return frame{}, truncated(err)
		}
		return fullFrame(hello.Bytes()), nil
	}
	return frame{}, malformed("frame of unknown kind 0x%02x", kind)
}

// readLength reads the length of a hello: minimal, 1 … MaxHello.
func readLength(r *bufio.Reader) (uint64, error) {
	var n uint64
	for i := 0; ; i++ {
		c, err := r.ReadByte()
		if err != nil {
			return 0, truncated(err)
		}
		n |= uint64(c&0x7f) << (7 * i)
		switch {
		case c == 0 && i > 0:
			return 0, malformed("length of hello is not a minimal varint")
		case n > MaxHello || (i == 2 && c >= 0x80):
			return 0, malformed("hello longer than %d bytes", MaxHello)
		case c < 0x80 && n == 0:
			return 0, malformed("hello of length 0")
		case c < 0x80:
			return n, nil
		}
	}
}

// A malformedError reports bytes that are not in the protocol's form.
type malformedError string

func (e malformedError) Error() string { return string(e) }

func malformed(format string, args ...any) error {
	return malformedError(fmt.Sprintf(format, args...))
}

// truncated returns err, an end of input turned into an unexpected one.
func truncated(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// The two tokens of multistream-select, in both directions.
const (
	multistream = "/multistream/1.0.0"
	noSuch      = "na"
	maxToken    = 127 // a length that fits one byte; ours have 19 and 16
	maxAsked    = 8   // protocols a caller may ask for before ours
)

// appendToken appends a multistream-select token.
func appendToken(b []byte, token string) []byte {
	b = append(b, byte(len(token)+1))
	b = append(b, token...)
	return append(b, '\n')
}

// readToken reads a multistream-select token.
func readToken(r *bufio.Reader) (string, error) {
	n, err := r.ReadByte()
	if err != nil {
		return "", err
	}
	if n == 0 || n > maxToken {
		return "", malformed("multistream token of length %d", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", truncated(err)
	}
	if b[n-1] != '\n' {
		return "", malformed("multistream token %q without its line end", b)
	}
	return string(b[:n-1]), nil
}

// readSelected reads a callee's agreement to speak Protocol.
func readSelected(r *bufio.Reader) error {
	for _, want := range [...]string{multistream, Protocol} {
		switch got, err := readToken(r); {
		case err != nil:
			return err
		case got == noSuch:
			return malformed("the peer does not speak %s", Protocol)
		case got != want:
			return malformed("the peer answered %q where %q was due", got, want)
		}
	}
	return nil
}
