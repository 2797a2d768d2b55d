package journal

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/store/storetest"
)

// sealedLog makes a seal in a log, and returns it with its secret.
func sealedLog(t testing.TB, l *Log) (s *Seal, secret []byte) {
	t.Helper()
	s, err := l.NewSeal(t.Context(), noon, lock, func(k []byte) ([]byte, error) {
		secret = bytes.Clone(k)
		return []byte("sealed to anna"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, secret
}

func by(s *Seal, e Entry) Entry {
	e.Seal = s
	return e
}

// Others see of a sealed entry when and where; whoever has the secret sees all of it; and the log verifies for everybody.
func TestSealedEntries(t *testing.T) {
	l := openLog(t, storetest.Open(t), lock)
	appendAll(t, l, opened(1))
	s, secret := sealedLog(t, l)
	receipt := mustSign(t, func() ([]byte, error) {
		r := Receipt{Tree: home, Node: lock.Member, Caller: anna.Member, Op: Invoke, Affordance: "unlock", Outcome: Served, Time: noon, Index: 2}
		return r.Sign(keyOf(lock))
	})
	countersigned := Entry{
		Time: noon, Thing: lock, Caller: anna, Op: Countersign, Affordance: "unlock", Outcome: Served, Exchange: &Exchange{Receipt: receipt},
	}
	failed, ended := opened(5), opened(6)
	failed.Outcome, ended.Outcome = Failed, Ended
	appendAll(t, l, by(s, opened(2)), by(s, countersigned), opened(4), by(s, failed), by(s, ended))
	if err := l.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}

	key, err := OpenSeal(secret)
	if err != nil {
		t.Fatal(err)
	}
	items, err := l.Query(t.Context(), Filter{Oldest: true, Accounts: true})
	if err != nil || len(items) != 7 {
		t.Fatalf("%d entries, %v", len(items), err)
	}
	slices.SortFunc(items, func(a, b Item) int { return cmp.Compare(a.Index, b.Index) })
	if box := items[1].Entry.Sealed; items[1].Entry.Op != MakeSeal || string(box.Box) != "sealed to anna" || box.Seal != key.ID() {
		t.Errorf("the seal is in the log as %+v", items[1].Entry)
	}
	for i, want := range map[int]Entry{2: opened(2), 3: countersigned, 5: failed, 6: ended} {
		item := items[i]
		if item.Entry.Sealed.At != 1 || !item.Entry.Caller.IsZero() || bytes.Contains(item.Raw, []byte("anna")) || bytes.Contains(item.Raw, []byte("unlock")) {
			t.Errorf("entry %d shows %+v, %q", i, item.Entry, item.Raw)
		}
		if got, err := key.Open(home, item.Entry); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("entry %d opens as %+v, %v; want %+v", i, got, err, want)
		}
	}
	for i, want := range map[int]Op{2: Private, 3: Countersign, 5: Countersign, 6: Countersign} {
		if items[i].Entry.Op != want {
			t.Errorf("the outside of entry %d says %s, want %s", i, items[i].Entry.Op, want)
		}
	}
	found, err := l.Query(t.Context(), Filter{Who: anna})
	if err != nil || len(found) != 2 {
		t.Errorf("anna's name finds %d entries, %v; want the two that are not sealed", len(found), err)
	}
}

// The size of what is sealed does not tell a long word from a short one.
func TestSealedSizes(t *testing.T) {
	s, err := OpenSeal(make([]byte, sealSecret))
	if err != nil {
		t.Fatal(err)
	}
	long := opened(1)
	long.Affordance = strings.Repeat("a", 20)
	a, b := mustEncode(t, by(s, opened(1))), mustEncode(t, by(s, long))
	if len(a) != len(b) {
		t.Errorf("%d and %d bytes", len(a), len(b))
	}
}

// Entries that are alike and sealed are counted together, as others are.
func TestSealedTally(t *testing.T) {
	l := openLog(t, storetest.Open(t), lock)
	s, secret := sealedLog(t, l)
	read := opened(1)
	read.Op, read.Affordance = Read, "state"
	for range 3 {
		if err := l.Tally(by(s, read)); err != nil {
			t.Fatal(err)
		}
	}
	items, err := l.Query(t.Context(), Filter{})
	if err != nil || len(items) != 1 {
		t.Fatalf("%d entries, %v", len(items), err)
	}
	key, _ := OpenSeal(secret)
	if e, err := key.Open(home, items[0].Entry); err != nil || e.Count != 3 || items[0].Entry.Count != 0 {
		t.Errorf("%+v, %v: want 3 counted inside, and nothing outside", e, err)
	}
}

func TestSealsDoNotOpen(t *testing.T) {
	secret := bytes.Repeat([]byte{7}, sealSecret)
	s, err := OpenSeal(secret)
	if err != nil {
		t.Fatal(err)
	}
	read := func(change func(*Entry)) Entry {
		e, err := ParseEntry(home, mustEncode(t, by(s, opened(1))))
		if err != nil {
			t.Fatal(err)
		}
		change(&e)
		return e
	}
	if _, err := s.Open(home, read(func(*Entry) {})); err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]Entry{
		"at another time":   read(func(e *Entry) { e.Time = e.Time.Add(time.Millisecond) }),
		"at another thing":  read(func(e *Entry) { e.Thing = porch }),
		"as a receipt":      read(func(e *Entry) { e.Op = Countersign }),
		"with a bit turned": read(func(e *Entry) { e.Sealed.Box[20] ^= 1 }),
		"cut short":         read(func(e *Entry) { e.Sealed.Box = e.Sealed.Box[:11] }),
	} {
		if got, err := s.Open(home, e); err == nil {
			t.Errorf("%s it opens as %+v", name, got)
		}
	}
	if got, err := s.Open(other, read(func(*Entry) {})); err == nil {
		t.Errorf("in another tree it opens as %+v", got)
	}
	another, err := OpenSeal(bytes.Repeat([]byte{8}, sealSecret))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := another.Open(home, read(func(*Entry) {})); !errors.Is(err, ErrOtherSeal) {
		t.Errorf("another seal: %v", err)
	}
	if _, err := OpenSeal(secret[1:]); err == nil {
		t.Error("a short secret makes a seal")
	}
}

// Nothing but when and where stands beside a sealed part, or what names somebody could be put there by whoever writes it.
func TestSealedAndClear(t *testing.T) {
	box := &Sealed{Box: make([]byte, 28+sealPadding)}
	shell := Entry{Time: noon, Thing: lock, Op: Private, Outcome: Served, Sealed: box}
	change := func(f func(*Entry)) Entry { e := shell; f(&e); return e }
	mustEncode(t, shell)
	for name, e := range map[string]Entry{
		"a caller":             change(func(e *Entry) { e.Caller = anna }),
		"an affordance":        change(func(e *Entry) { e.Affordance = "unlock" }),
		"another operation":    change(func(e *Entry) { e.Op = Invoke }),
		"a refusal":            change(func(e *Entry) { e.Outcome = Refused }),
		"nothing sealed":       change(func(e *Entry) { e.Sealed = nil }),
		"an odd size":          change(func(e *Entry) { e.Sealed = &Sealed{Box: make([]byte, 29)} }),
		"more than fits":       change(func(e *Entry) { e.Sealed = &Sealed{Box: make([]byte, 28+64*sealPadding)} }),
		"a seal before 0":      change(func(e *Entry) { e.Sealed = &Sealed{At: -1, Box: box.Box} }),
		"a seal of nothing":    change(func(e *Entry) { e.Op, e.Sealed = MakeSeal, nil }),
		"a seal of a seal":     change(func(e *Entry) { e.Op, e.Sealed = MakeSeal, &Sealed{At: 1, Box: box.Box} }),
		"a seal with a caller": change(func(e *Entry) { e.Op, e.Caller = MakeSeal, anna }),
	} {
		if data, err := e.encode(home); err == nil {
			t.Errorf("%s: written as %x", name, data)
		}
	}
}

// sealVector is for other implementations: a secret, a sealed entry in the log of vectors.Tree, and what it opens as.
type sealVector struct {
	Secret string `json:"secret"`
	Entry  string `json:"entry"`
	Opened string `json:"opened"`
}

func TestSealVector(t *testing.T) {
	file := filepath.Join("testdata", "seal.json")
	if *update {
		secret := bytes.Repeat([]byte{7}, sealSecret)
		s, err := OpenSeal(secret)
		if err != nil {
			t.Fatal(err)
		}
		s.at = 5
		v := sealVector{hex.EncodeToString(secret), hex.EncodeToString(mustEncode(t, by(s, opened(1)))), hex.EncodeToString(mustEncode(t, opened(1)))}
		data, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var v sealVector
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSeal(unhex(t, v.Secret))
	if err != nil {
		t.Fatal(err)
	}
	e, err := ParseEntry(home, unhex(t, v.Entry))
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Open(home, e)
	if err != nil || hex.EncodeToString(mustEncode(t, got)) != v.Opened {
		t.Errorf("it opens as %+v, %v", got, err)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	data, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What is sealed inside comes from whoever wrote it: it is read like anything from outside.
func FuzzSealed(f *testing.F) {
	s, err := OpenSeal(make([]byte, sealSecret))
	if err != nil {
		f.Fatal(err)
	}
	whole := mustEncode(f, opened(1))
	f.Add(append([]byte{0, byte(len(whole))}, whole...))
	f.Add([]byte{0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, plain []byte) {
		shell := Entry{Time: opened(1).Time, Thing: lock, Op: Private, Outcome: Served}
		shell.Sealed = &Sealed{Seal: s.id, Box: s.aead.Seal(nil, nil, plain, shell.bound(home))}
		e, err := s.Open(home, shell)
		if err != nil {
			return
		}
		if _, err := e.encode(home); err != nil || e.Sealed != nil || e.Thing != lock || !e.Time.Equal(shell.Time) {
			t.Errorf("%x was opened as %+v, %v", plain, e, err)
		}
	})
}
