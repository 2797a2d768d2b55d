package signed_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/signed"
)

type note struct {
	Tree []byte `cbor:"1,keyasint"`
	Text string `cbor:"2,keyasint,omitempty"`
	At   int64  `cbor:"3,keyasint"`
}

const noteType signed.Type = "kindred/note"

func keys(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{"Ed25519": ed, "P-256": p256}
}

func TestSignOpen(t *testing.T) {
	for name, key := range keys(t) {
		for _, chain := range [][][]byte{nil, {[]byte("leaf")}, {[]byte("leaf"), []byte("owner")}} {
			want := note{Tree: []byte{1, 2}, Text: "hello", At: 7}
			raw, err := signed.Sign(key, noteType, want, chain...)
			if err != nil {
				t.Fatal(err)
			}
			s, err := signed.Parse(raw)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if len(s.Chain) != len(chain) {
				t.Errorf("%s: chain of %d, want %d", name, len(s.Chain), len(chain))
			}
			var got note
			if err := s.Open(key.Public(), noteType, &got); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got.Text != want.Text || got.At != want.At || !bytes.Equal(got.Tree, want.Tree) {
				t.Errorf("%s: got %v, want %v", name, got, want)
			}
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	ks := keys(t)
	raw, err := signed.Sign(ks["Ed25519"], noteType, note{At: 1})
	if err != nil {
		t.Fatal(err)
	}
	s, err := signed.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		key  crypto.PublicKey
		typ  signed.Type
		want string
	}{
		{"another type", ks["Ed25519"].Public(), "kindred/grant", `it is a "kindred/note"`},
		{"another key", keys(t)["Ed25519"].Public(), noteType, "verification error"},
		{"another algorithm", ks["P-256"].Public(), noteType, "signed with EdDSA"},
		{"a key of no use", weak.Public(), noteType, "want Ed25519 or ECDSA P-256"},
	} {
		var n note
		err := s.Open(test.key, test.typ, &n)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
	}
}

// Every single altered bit must make a statement unreadable or its signature wrong.
func TestAlteredBits(t *testing.T) {
	for name, key := range keys(t) {
		raw, err := signed.Sign(key, noteType, note{Text: "x", At: 1}, []byte("leaf"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(raw) * 8 {
			bent := bytes.Clone(raw)
			bent[i/8] ^= 1 << (i % 8)
			s, err := signed.Parse(bent)
			if err != nil {
				continue
			}
			var n note
			if s.Open(key.Public(), noteType, &n) == nil {
				t.Errorf("%s: bit %d altered, and still accepted", name, i)
			}
		}
	}
}

// An ECDSA signature has a twin that is valid too; the statement's name must not depend on it.
func TestDigestIgnoresSignature(t *testing.T) {
	key := keys(t)["P-256"]
	digest := func() signed.Digest {
		raw, err := signed.Sign(key, noteType, note{At: 1})
		if err != nil {
			t.Fatal(err)
		}
		s, err := signed.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		return s.Digest
	}
	if a, b := digest(), digest(); a != b {
		t.Errorf("two signatures over one payload: digests %s and %s", a, b)
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		data []byte
	}{
		{"keys out of order", []byte{0xa2, 0x03, 0x01, 0x01, 0x40}},
		{"a number in a longer form", []byte{0xa2, 0x01, 0x40, 0x03, 0x18, 0x01}},
		{"an unknown field", []byte{0xa3, 0x01, 0x40, 0x03, 0x01, 0x09, 0x01}},
		{"a key twice", []byte{0xa3, 0x01, 0x40, 0x03, 0x01, 0x03, 0x01}},
		{"an absent value spelled out", []byte{0xa3, 0x01, 0x40, 0x02, 0x60, 0x03, 0x01}},
		{"a missing value", []byte{0xa1, 0x01, 0x40}},
		{"bytes left over", []byte{0xa2, 0x01, 0x40, 0x03, 0x01, 0x00}},
		{"an indefinite length", []byte{0xbf, 0x01, 0x40, 0x03, 0x01, 0xff}},
		{"too long", make([]byte, signed.MaxSize+1)},
		{"nothing", nil},
	} {
		var n note
		if signed.Unmarshal(test.data, &n) == nil {
			t.Errorf("%s: accepted", test.name)
		}
	}
	var n note
	if err := signed.Unmarshal([]byte{0xa2, 0x01, 0x40, 0x03, 0x01}, &n); err != nil {
		t.Errorf("the deterministic form: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, key := range keys(f) {
		raw, err := signed.Sign(key, noteType, note{Text: "seed", At: 1}, []byte("leaf"), []byte("ca"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := signed.Parse(raw)
		if err != nil {
			return
		}
		var n note
		if s.Open(stranger.Public(), s.Type, &n) == nil {
			t.Error("opened with a key that signed nothing")
		}
	})
}

func BenchmarkSign(b *testing.B) {
	key := keys(b)["Ed25519"]
	for b.Loop() {
		if _, err := signed.Sign(key, noteType, note{At: 1}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	key := keys(b)["Ed25519"]
	raw, err := signed.Sign(key, noteType, note{At: 1})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := signed.Parse(raw)
		if err != nil {
			b.Fatal(err)
		}
		var n note
		if err := s.Open(key.Public(), noteType, &n); err != nil {
			b.Fatal(err)
		}
	}
}

// What is read without a key is of the type asked for, and of the form that its payload has.
func TestRead(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	type words struct {
		Text string `cbor:"1,keyasint"`
	}
	raw, err := signed.Sign(key, "test/words", words{"so it is"})
	if err != nil {
		t.Fatal(err)
	}
	var got words
	if s, err := signed.Read(raw, "test/words", &got); err != nil || got.Text != "so it is" || s.Type != "test/words" {
		t.Errorf("%v, %+v, %v", s.Type, got, err)
	}
	if _, err := signed.Read(raw, "test/other", &got); err == nil || err.Error() != `it is a "test/words"` {
		t.Errorf("another type: %v", err)
	}
	var number struct {
		N int `cbor:"2,keyasint"`
	}
	if _, err := signed.Read(raw, "test/words", &number); err == nil {
		t.Error("another payload is read")
	}
	if _, err := signed.Read(raw[:len(raw)-1], "test/words", &got); err == nil {
		t.Error("half a statement is read")
	}
}
