package vault

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/identity"
)

func newKey(t testing.TB) Key {
	t.Helper()
	k, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustSeal(t testing.TB, content []byte, to ...Recipient) []byte {
	t.Helper()
	sealed, err := Seal(content, to)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestSealedIsOpenedByTheMeantAlone(t *testing.T) {
	anna, ben, eve := newKey(t), newKey(t), newKey(t)
	for _, n := range []int{0, 1, 1000, smallest - prefix, smallest - prefix + 1, 64 << 10, 300_000} {
		content := make([]byte, n)
		rand.Read(content)
		sealed := mustSeal(t, content, anna.Recipient(), ben.Recipient(), anna.Recipient())
		for _, k := range []Key{anna, ben} {
			if got, err := k.Open(sealed); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes: opened as %d bytes, %v", n, len(got), err)
			}
		}
		for _, k := range []Key{eve, {}} {
			if got, err := k.Open(sealed); !errors.Is(err, ErrNotForMe) || got != nil {
				t.Errorf("%d bytes: somebody else opens %d, %v", n, len(got), err)
			}
		}
	}
}

func TestSealRefuses(t *testing.T) {
	anna := newKey(t).Recipient()
	many := make([]Recipient, MaxRecipients+1)
	for i := range many {
		many[i] = newKey(t).Recipient()
	}
	for want, of := range map[string]struct {
		content []byte
		to      []Recipient
	}{
		"vault: sealing: 0 recipients, want 1 to 1024":        {},
		"vault: sealing: 1025 recipients, want 1 to 1024":     {nil, many},
		"vault: sealing: one of the recipients is nobody":     {nil, []Recipient{anna, {}}},
		"vault: sealing: 67108865 bytes, of at most 67108864": {make([]byte, MaxContent+1), []Recipient{anna}},
	} {
		if _, err := Seal(of.content, of.to); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Nothing of what is sealed can be altered, moved, or cut off.
func TestSealedCannotBeChanged(t *testing.T) {
	anna, ben := newKey(t), newKey(t)
	content := bytes.Repeat([]byte("who came home at ten past two? "), 5000)
	sealed := mustSeal(t, content, anna.Recipient(), ben.Recipient())
	broken := func(what string, data []byte) {
		t.Helper()
		if got, err := anna.Open(data); err == nil {
			t.Errorf("%s: opened as %d bytes", what, len(got))
		}
	}
	for i := 0; i < len(sealed); i += 97 + i/10 { // closer where the keys are
		data := bytes.Clone(sealed)
		data[i] ^= 1
		broken(fmt.Sprintf("a bit of byte %d", i), data)
	}
	for n := 0; n < len(sealed); n += 9973 {
		broken(fmt.Sprintf("cut off after %d bytes", n), sealed[:n])
	}
	broken("with more at its end", append(bytes.Clone(sealed), 0))
	const chunk = 64<<10 + 16
	body := len(sealed) - (len(sealed)-1)%chunk // wherever: two chunks in each other's place do not verify
	swapped := bytes.Clone(sealed)
	copy(swapped[body-2*chunk:], sealed[body-chunk:body])
	broken("with a part twice", swapped)
}

// A store that looks at what it keeps sees a few sizes, and as many keys as a power of two.
func TestSealedShowsLittle(t *testing.T) {
	var to []Recipient
	sizes := map[int]map[int]bool{}
	for n := 1; n <= 9; n++ {
		to = append(to, newKey(t).Recipient())
		sealed := mustSeal(t, []byte("the cat"), to...)
		stanzas := bytes.Count(sealed, []byte("-> "))
		if want := 1 << bits.Len(uint(n-1)); stanzas != want {
			t.Errorf("for %d there are %d keys, want %d", n, stanzas, want)
		}
		if sizes[stanzas] == nil {
			sizes[stanzas] = map[int]bool{}
		}
		sizes[stanzas][len(sealed)] = true
		for _, r := range to {
			if bytes.Contains(sealed, []byte(r.String()[:40])) {
				t.Error("it says for whom it is")
			}
		}
	}
	for n, of := range sizes {
		if len(of) != 1 {
			t.Errorf("among those with %d keys there are %d sizes", n, len(of))
		}
	}
	seen := map[int]bool{}
	anna := to[0]
	for n := 0; n < 2000; n += 5 {
		seen[len(mustSeal(t, make([]byte, n), anna))] = true
	}
	if len(seen) > 17 {
		t.Errorf("contents of 0 to 1999 bytes have %d sizes", len(seen))
	}
}

func TestPadded(t *testing.T) {
	for n, want := range map[int]int{0: 1024, 1024: 1024, 1025: 1088, 9000: 9216, 100_000: 100_352, 1 << 20: 1 << 20, 1<<20 + 1: 1081344} {
		if got := padded(n); got != want {
			t.Errorf("%d bytes are padded to %d, want %d", n, got, want)
		}
	}
	for n := smallest; n < 1<<22; n += n/999 + 1 {
		p := padded(n)
		if p < n || float64(p) > 1.12*float64(n)+1 || padded(p) != p {
			t.Fatalf("%d bytes are padded to %d, and those to %d", n, p, padded(p))
		}
	}
}

func TestKeysAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := OpenKey(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no key: %v", err)
	}
	k, err := OpenOrCreateKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenOrCreateKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Open(mustSeal(t, []byte("hello"), k.Recipient())); err != nil || string(got) != "hello" {
		t.Errorf("the key on disk opens %q, %v", got, err)
	}
	if _, err := CreateKey(dir); !errors.Is(err, os.ErrExist) {
		t.Errorf("a key was replaced: %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, KeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file is %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files in the folder, %v", len(entries), err)
	}
	if r, err := ParseRecipient(k.Recipient().String()); err != nil || r.String() != k.Recipient().String() {
		t.Errorf("the recipient is read as %q, %v", r, err)
	}
	if _, err := ParseRecipient("age1abc"); err == nil {
		t.Error("a recipient that quantum computers break was taken")
	}
}

func TestKeyFilesSayNothingOfKeysInErrors(t *testing.T) {
	line := newKey(t).identity.String()
	for name, data := range map[string]string{
		"empty": "", "comments alone": "# nothing\n", "two": line + "\n" + line, "damaged": line[:len(line)-4] + "QQQQ",
		"of another kind": strings.Replace(line, "PQ-", "", 1), "large": line + strings.Repeat("\n", maxKeyFile),
	} {
		if _, err := parseKey([]byte(data)); err == nil || strings.Contains(err.Error(), line[20:30]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExposedKeyIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	if _, err := CreateKey(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, KeyFile), 0o640); err != nil {
		t.Fatal(err)
	}
	var exposed *identity.ExposedError
	if _, err := OpenOrCreateKey(dir); !errors.As(err, &exposed) {
		t.Errorf("a key that a group can read: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	k := newKey(f)
	content := []byte("the cat came in")
	f.Add(mustSeal(f, content, k.Recipient()))
	f.Add([]byte("age-encryption.org/v1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := k.Open(data); err == nil && !bytes.Equal(got, content) {
			t.Errorf("%x is opened as %x", data, got)
		}
	})
}

func FuzzKey(f *testing.F) {
	f.Add([]byte(keyFileHead + newKey(f).identity.String() + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := parseKey(data)
		if err == nil && !strings.Contains(strings.ToUpper(string(data)), k.identity.String()) {
			t.Errorf("%q is read as another key", data)
		}
	})
}
