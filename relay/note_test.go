package relay

import (
	"bytes"
	"crypto/ed25519"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestPointsRotate: two members compute the same point; another member's, another home's and another epoch's is another.
func TestPointsRotate(t *testing.T) {
	mine := birch.at(t, member(1), noon)
	if again := (home{Secret{1, 2, 3}}).at(t, member(1), noon.Add(Epoch-time.Second)); again.ID != mine.ID {
		t.Error("two members find different points within one epoch")
	}
	seen := map[Identifier]string{mine.ID: "the member's own"}
	for name, p := range map[string]Point{
		"the next epoch's": birch.at(t, member(1), noon.Add(Epoch)),
		"the last epoch's": birch.at(t, member(1), noon.Add(-Epoch)),
		"another member's": birch.at(t, member(2), noon),
		"another home's":   home{Secret{1, 2, 4}}.at(t, member(1), noon),
	} {
		if who, ok := seen[p.ID]; ok {
			t.Errorf("%s point is %s", name, who)
		}
		seen[p.ID] = name
	}
	if a, b := NewSecret(), NewSecret(); a == b {
		t.Error("two secrets are the same")
	}
}

//go:embed testdata/note.hex
var vectorNote string

// TestVectors holds what another implementation must compute.
func TestVectors(t *testing.T) {
	var s Secret
	for i := range s {
		s[i] = byte(i)
	}
	m := member(0xaa)
	p := home{s}.at(t, m, time.Unix(1_800_000_000, 0))
	if p.epoch != 83333 {
		t.Errorf("epoch %d", p.epoch)
	}
	if got := p.ID.String(); got != "44f43df51cbd09858141adf81ffe46676b046c2004e098fcf4bf8e9509b054bb" {
		t.Errorf("identifier %s", got)
	}
	relay := ed25519.NewKeyFromSeed(s[:]).Public().(ed25519.PublicKey)
	tag, err := s.Household(relay, time.Unix(1_800_000_000, 0))
	if err != nil || hex.EncodeToString(tag[:]) != "e14dace31d28855a2e6eb5c7ed73f414a847d1064dea474cfc09f4882cff671f" {
		t.Errorf("tag %x, %v", tag, err)
	}
	// Sealed by the implementation of Go 1.26, with a random nonce.
	note, err := hex.DecodeString(strings.TrimSpace(vectorNote))
	if err != nil {
		t.Fatal(err)
	}
	says, written, err := p.Open(note, time.Unix(1_800_000_100, 0))
	if err != nil || string(says) != "home is where the hearth is" || written.Unix() != 1_800_000_000 {
		t.Errorf("it says %q as of %v, %v", says, written, err)
	}
}

func TestNotes(t *testing.T) {
	p := birch.at(t, member(1), noon)
	for _, size := range []int{0, 1, smallText - 2, smallText - 1, MaxPayload} {
		says := bytes.Repeat([]byte{7}, size)
		raw, err := p.Seal(says, noon)
		if err != nil {
			t.Fatal(err)
		}
		want := overhead + smallText
		if size > smallText-2 {
			want = overhead + largeText
		}
		if len(raw) != want {
			t.Errorf("%d bytes make a note of %d, want %d", size, len(raw), want)
		}
		if got, written, err := p.Open(raw, noon.Add(time.Hour)); err != nil || !bytes.Equal(got, says) || !written.Equal(noon) {
			t.Errorf("%d bytes come back as %d, written %v, %v", size, len(got), written, err)
		}
	}
	if _, err := p.Seal(make([]byte, MaxPayload+1), noon); err == nil {
		t.Error("a note says more than fits")
	}
}

// resigned signs a note anew, as a member could who alters it.
func resigned(p Point, raw []byte) []byte {
	body := raw[:len(raw)-ed25519.SignatureSize]
	return append(bytes.Clone(body), ed25519.Sign(p.write, signed(body))...)
}

func TestNotesAreRefused(t *testing.T) {
	p, other := birch.at(t, member(1), noon), birch.at(t, member(2), noon)
	good := birch.note(t, member(1), noon, "here")
	change := func(f func([]byte) []byte) []byte { return f(bytes.Clone(good)) }
	for _, tt := range []struct {
		name string
		raw  []byte
		now  time.Time
		want error
	}{
		{"empty", nil, noon, ErrMalformed},
		{"short", good[:len(good)-1], noon, ErrMalformed},
		{"oversized", append(bytes.Clone(good), 0), noon, ErrMalformed},
		{"another version", change(func(b []byte) []byte { b[0] = 2; return resigned(p, b) }), noon, ErrMalformed},
		{"sequence out of range", change(func(b []byte) []byte { b[33] = 0x80; return resigned(p, b) }), noon, ErrMalformed},
		{"expiry out of range", change(func(b []byte) []byte { b[41] = 1; return resigned(p, b) }), noon, ErrMalformed},
		{"another's", birch.note(t, member(2), noon, "here"), noon, ErrForged},
		{"signed by another", change(func(b []byte) []byte { return resigned(other, b) }), noon, ErrForged},
		{"altered", change(func(b []byte) []byte { b[100] ^= 1; return b }), noon, ErrForged},
		{"altered and signed", change(func(b []byte) []byte { b[100] ^= 1; return resigned(p, b) }), noon, ErrForged},
		{"made later", change(func(b []byte) []byte { b[40]++; return resigned(p, b) }), noon, ErrForged},
		{"expired", good, noon.Add(2 * Epoch), ErrExpired},
		{"from the future", good, noon.Add(-time.Hour), ErrFuture},
		{"for too long", change(func(b []byte) []byte {
			binary.BigEndian.PutUint64(b[41:], uint64(noon.Add(maxLife+time.Second).Unix()))
			return resigned(p, b)
		}), noon, ErrFuture},
	} {
		if _, _, err := p.Open(tt.raw, tt.now); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	// A member can write a length that does not fit.
	text := make([]byte, smallText)
	binary.BigEndian.PutUint16(text, smallText-1)
	raw := bytes.Clone(good[:headLen+nonceLen])
	raw = p.seal.Seal(raw, raw[headLen:], text, raw[:headLen])
	if _, _, err := p.Open(resigned(p, append(raw, make([]byte, ed25519.SignatureSize)...)), noon); !errors.Is(err, ErrMalformed) {
		t.Errorf("a length that does not fit: %v", err)
	}
}

func TestIdentifiers(t *testing.T) {
	id := birch.at(t, member(1), noon).ID
	if got, err := ParseIdentifier(id.String()); got != id || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	for _, bad := range []string{"", "00", strings.ToUpper(id.String()), id.String() + "00", strings.Repeat("g", 64)} {
		if _, err := ParseIdentifier(bad); err == nil && bad != id.String() {
			t.Errorf("%q is taken for an identifier", bad)
		}
	}
}

func FuzzNote(f *testing.F) {
	good := birch.note(f, member(1), noon, "here")
	p := birch.at(f, member(1), noon)
	f.Add(good)
	f.Add(good[:100])
	f.Add(make([]byte, maxNote))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if n, err := parseNote(raw); err == nil && (n.id != Identifier(raw[1:33]) || len(raw) > maxNote) {
			t.Errorf("a note of %d bytes at %s", len(raw), n.id)
		}
		// Another process made other notes of the same point.
		if says, _, err := p.Open(raw, noon); err == nil && string(says) != "here" {
			t.Errorf("a note says %q, which nobody wrote", says)
		}
		// Behind a good signature, as a member could make one.
		if len(raw) == len(good) {
			p.Open(resigned(p, raw), noon)
		}
	})
}
