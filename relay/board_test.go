package relay

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/peer"
)

func from(ip string) netip.Prefix { return peer.Origin(netip.MustParseAddr(ip)) }

func parsed(t testing.TB, raw []byte) note {
	t.Helper()
	n, err := parseNote(raw)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestBoardKeepsTheLatest(t *testing.T) {
	b := newBoard()
	first, second := birch.note(t, member(1), noon, "there"), birch.note(t, member(1), noon.Add(time.Minute), "here")
	same := birch.note(t, member(1), noon.Add(time.Minute), "elsewhere") // at the same moment
	now := noon.Add(2 * time.Minute)
	for _, tt := range []struct {
		name string
		raw  []byte
		want error
	}{
		{"first", first, nil}, {"first again", first, nil}, {"second", second, nil}, {"second again", second, nil},
		{"replayed", first, errOlder}, {"no later", same, errOlder},
	} {
		if err := b.put(parsed(t, tt.raw), from("192.0.2.1"), now); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	id := birch.at(t, member(1), noon).ID
	if raw, ok := b.get(id, now); !ok || string(raw) != string(second) {
		t.Error("the latest is not there")
	}
	if n, size := b.size(now); n != 1 || size != len(second) {
		t.Errorf("%d notes of %d bytes", n, size)
	}
	late := noon.Add(2 * Epoch)
	if _, ok := b.get(id, late); ok {
		t.Error("what has expired is handed out")
	}
	if err := b.put(parsed(t, first), from("192.0.2.1"), late); !errors.Is(err, ErrExpired) {
		t.Errorf("what has expired is taken: %v", err)
	}
	if err := b.put(parsed(t, first), from("192.0.2.1"), noon.Add(-time.Hour)); !errors.Is(err, ErrFuture) {
		t.Errorf("what is from the future is taken: %v", err)
	}
	if n, size := b.size(late); n != 0 || size != 0 || len(b.from) != 0 {
		t.Errorf("%d notes of %d bytes from %d addresses are left", n, size, len(b.from))
	}
}

func TestBoardIsBounded(t *testing.T) {
	b := newBoard()
	put := func(i int, address string) error {
		m := member(byte(i))
		m[1], m[2] = byte(i>>8), byte(i>>16)
		return b.put(parsed(t, birch.note(t, m, noon, "here")), from(address), noon)
	}
	for i := range maxPerAddress {
		if err := put(i, "2001:db8::1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(maxPerAddress, "2001:db8:0:ff::2"); !errors.Is(err, errMany) { // of the same /56
		t.Errorf("got %v, want errMany", err)
	}
	if err := put(maxPerAddress, "2001:db8:0:100::2"); err != nil {
		t.Errorf("another address: %v", err)
	}
	if err := b.put(parsed(t, birch.note(t, member(1), noon.Add(time.Second), "moved")), from("2001:db8::1"), noon); err != nil {
		t.Errorf("what takes another's place: %v", err)
	}
}

func TestBoardPaces(t *testing.T) {
	b := newBoard()
	for range atOnce {
		if !b.admit(from("192.0.2.1"), noon) {
			t.Fatal("one too many too soon")
		}
	}
	if b.admit(from("192.0.2.1"), noon) {
		t.Error("one too many")
	}
	if !b.admit(from("192.0.2.2"), noon) {
		t.Error("another address waits as well")
	}
	if !b.admit(from("192.0.2.1"), noon.Add(time.Second)) {
		t.Error("it waits for too long")
	}
	for i := range maxAddresses + 10 {
		b.admit(from(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String()), noon)
	}
	if len(b.asking) > maxAddresses {
		t.Errorf("%d addresses are counted", len(b.asking))
	}
	if !b.admit(from("198.51.100.1"), noon.Add(time.Minute)) || len(b.asking) > 10 {
		t.Errorf("%d addresses are counted after a minute", len(b.asking))
	}
}
