package relay

import (
	"bytes"
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// The board's bounds.
const (
	maxBytes      = 64 << 20 // of notes
	maxPerAddress = 256      // notes from one address
	maxAddresses  = 16384    // whose requests are counted
	perSecond     = 5        // requests from one address
	atOnce        = 60
)

// Why the board does not take a note, or answer.
var (
	errOlder = errors.New("relay: a later note is there")
	errMany  = errors.New("relay: too much from one address")
	errFull  = errors.New("relay: the board is full")
)

// A board holds notes by their points. Nobody can list them. None makes way for another until the board is full, and then
// those do of which one network has most, see makeRoom.
type board struct {
	room   int // in bytes
	mu     sync.Mutex
	notes  map[Identifier]kept
	from   map[netip.Prefix]int // how many of notes
	bytes  int
	swept  time.Time
	asking map[netip.Prefix]*rate.Limiter
}

type kept struct {
	note
	from  netip.Prefix
	since time.Time // when the first note was left at its point
}

func newBoard() *board {
	return &board{room: maxBytes, notes: map[Identifier]kept{}, from: map[netip.Prefix]int{}, asking: map[netip.Prefix]*rate.Limiter{}}
}

// put keeps a note in place of an earlier one.
func (b *board) put(n note, from netip.Prefix, now time.Time) error {
	if err := n.check(now); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweep(now)
	old, replaces := b.notes[n.id]
	switch {
	case replaces && bytes.Equal(old.raw, n.raw):
		return nil
	case replaces && old.sequence >= n.sequence:
		return errOlder
	}
	if !replaces && b.from[from] >= maxPerAddress {
		return errMany
	}
	since := now
	if replaces {
		since = old.since
		b.drop(n.id)
	}
	b.notes[n.id] = kept{n, from, since}
	b.from[from]++
	b.bytes += len(n.raw)
	b.makeRoom()
	if _, ok := b.notes[n.id]; !ok {
		return errFull
	}
	return nil
}

// drop takes a note off. b.mu is held.
func (b *board) drop(id Identifier) {
	k := b.notes[id]
	delete(b.notes, id)
	b.bytes -= len(k.raw)
	if b.from[k.from]--; b.from[k.from] == 0 {
		delete(b.from, k.from)
	}
}

// get returns the note at a point.
func (b *board) get(id Identifier, now time.Time) ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.notes[id]
	if !ok || !now.Before(k.expires) {
		return nil, false
	}
	return k.raw, true
}

// sweep drops what has expired, once a minute. b.mu is held.
func (b *board) sweep(now time.Time) {
	if d := now.Sub(b.swept); d >= 0 && d < time.Minute {
		return
	}
	b.swept = now
	for id, k := range b.notes {
		if !now.Before(k.expires) {
			b.drop(id)
		}
	}
}

// admit counts a request, and reports whether it is one too many from its address.
func (b *board) admit(from netip.Prefix, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.asking[from]
	if !ok {
		if len(b.asking) >= maxAddresses {
			for other, l := range b.asking { // those who may ask as if they never had
				if l.TokensAt(now) >= atOnce {
					delete(b.asking, other)
				}
			}
		}
		if len(b.asking) >= maxAddresses {
			return false
		}
		l = rate.NewLimiter(perSecond, atOnce)
		b.asking[from] = l
	}
	return l.AllowN(now, 1)
}

// size returns how many notes there are, and how many bytes.
func (b *board) size(now time.Time) (notes, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweep(now)
	return len(b.notes), b.bytes
}
