package relay

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// MaxPayload is the greatest length of what a note can say, in bytes.
const MaxPayload = largeText - 2

// Notes have one of two sizes, so that they tell nothing of what is in them.
const (
	smallText = 1024
	largeText = 4096

	version     = 1
	headLen     = 1 + 32 + 8 + 8 // up to the nonce
	nonceLen    = 12
	overhead    = headLen + nonceLen + 16 + ed25519.SignatureSize
	maxNote     = overhead + largeText
	signContext = "kindred rendezvous note 1\x00"
)

const (
	// maxLife is how far ahead a note's expiry may be when it arrives: two epochs, and clocks that differ.
	maxLife = 2*Epoch + time.Hour

	// maxSkew is how far in the future a note may have been written.
	maxSkew = 2 * time.Minute
)

// Errors of notes.
var (
	ErrMalformed = errors.New("not in the form of a note")
	ErrForged    = errors.New("not written by whoever knows the point")
	ErrExpired   = errors.New("expired")
	ErrFuture    = errors.New("from the future")
)

// A note is what can be seen of one without knowing the point. Only parseNote makes one, so its signature is good.
type note struct {
	id       Identifier
	sequence int64     // Unix milliseconds
	expires  time.Time //
	raw      []byte
}

// parseNote reads a note and verifies that whoever wrote it knows the point.
func parseNote(raw []byte) (note, error) {
	if n := len(raw); n != overhead+smallText && n != overhead+largeText {
		return note{}, fmt.Errorf("relay: reading a note: %w: it has %d bytes", ErrMalformed, n)
	}
	if raw[0] != version {
		return note{}, fmt.Errorf("relay: reading a note: %w: version %d", ErrMalformed, raw[0])
	}
	n := note{id: Identifier(raw[1:33]), raw: raw}
	n.sequence = int64(binary.BigEndian.Uint64(raw[33:]))
	expires := int64(binary.BigEndian.Uint64(raw[41:]))
	if n.sequence < 0 || expires < 0 || expires > 1<<40 {
		return note{}, fmt.Errorf("relay: reading a note: %w: a time out of range", ErrMalformed)
	}
	n.expires = time.Unix(expires, 0)
	body, signature := raw[:len(raw)-ed25519.SignatureSize], raw[len(raw)-ed25519.SignatureSize:]
	if !ed25519.Verify(n.id[:], signed(body), signature) {
		return note{}, fmt.Errorf("relay: reading a note: %w", ErrForged)
	}
	return n, nil
}

// check says why a note is not to be kept or believed at a time; nil if it is.
func (n note) check(now time.Time) error {
	switch {
	case !now.Before(n.expires):
		return fmt.Errorf("relay: a note until %s: %w", n.expires.UTC().Format(time.RFC3339), ErrExpired)
	case n.expires.Sub(now) > maxLife, n.sequence > now.Add(maxSkew).UnixMilli():
		return fmt.Errorf("relay: a note until %s: %w", n.expires.UTC().Format(time.RFC3339), ErrFuture)
	}
	return nil
}

func signed(body []byte) []byte { return append([]byte(signContext), body...) }

// Seal makes a note that says payload, written now.
func (p Point) Seal(payload []byte, now time.Time) ([]byte, error) {
	size := smallText
	if len(payload) > smallText-2 {
		size = largeText
	}
	if len(payload) > MaxPayload {
		return nil, fmt.Errorf("relay: sealing a note: %d bytes, at most %d fit", len(payload), MaxPayload)
	}
	text := make([]byte, size)
	binary.BigEndian.PutUint16(text, uint16(len(payload)))
	copy(text[2:], payload)

	raw := make([]byte, headLen+nonceLen, overhead+size)
	raw[0] = version
	copy(raw[1:], p.ID[:])
	binary.BigEndian.PutUint64(raw[33:], uint64(now.UnixMilli()))
	binary.BigEndian.PutUint64(raw[41:], uint64(ends(p.epoch+1).Unix()))
	rand.Read(raw[headLen:])
	raw = p.seal.Seal(raw, raw[headLen:], text, raw[:headLen])
	return append(raw, ed25519.Sign(p.write, signed(raw))...), nil
}

// Open reads a note that was left at the point, and returns what it says and when it was written. It refuses what was
// altered, left elsewhere, or has expired.
func (p Point) Open(raw []byte, now time.Time) (payload []byte, written time.Time, err error) {
	n, err := parseNote(raw)
	if err != nil {
		return nil, time.Time{}, err
	}
	if n.id != p.ID {
		return nil, time.Time{}, fmt.Errorf("relay: reading a note: %w: it is of another point", ErrForged)
	}
	if err := n.check(now); err != nil {
		return nil, time.Time{}, err
	}
	sealed := raw[headLen+nonceLen : len(raw)-ed25519.SignatureSize]
	text, err := p.seal.Open(nil, raw[headLen:headLen+nonceLen], sealed, raw[:headLen])
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("relay: reading a note: %w: it does not open", ErrForged)
	}
	length := int(binary.BigEndian.Uint16(text))
	if length > len(text)-2 {
		return nil, time.Time{}, fmt.Errorf("relay: reading a note: %w: %d bytes of payload in %d", ErrMalformed, length, len(text))
	}
	return text[2 : 2+length], time.UnixMilli(n.sequence), nil
}
