package peer

import (
	"context"
	"net/netip"
	"slices"
	"sync"
)

// An Offence is what strangers were turned away for, other than being strangers.
type Offence string

// The offences.
const (
	Stalling  Offence = "stalling"  // too many handshakes under way from one address
	Crowding  Offence = "crowding"  // too many connections of one address, of strangers, or streams of one of them
	Silence   Offence = "silence"   // a connection on which nobody said who is there
	Flooding  Offence = "flooding"  // more than a stranger may send
	Malformed Offence = "malformed" // what is not this protocol
)

// offences counts, until the owner is told.
type offences struct {
	mu sync.Mutex
	by map[Offence]int
}

func (o *offences) count(what Offence) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.by == nil {
		o.by = make(map[Offence]int)
	}
	o.by[what]++
}

// take returns what was counted since the last time.
func (o *offences) take() map[Offence]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	by := o.by
	o.by = nil
	return by
}

// A tally counts what each address has under way, of which it may have so much.
type tally struct {
	most int

	mu sync.Mutex
	by map[netip.Prefix]int
}

// enter counts one more in; false if that is one too many.
func (t *tally) enter(from netip.Prefix) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by[from] >= t.most {
		return false
	}
	if t.by == nil {
		t.by = make(map[netip.Prefix]int)
	}
	t.by[from]++
	return true
}

// leave counts one out.
func (t *tally) leave(from netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by[from]--; t.by[from] == 0 {
		delete(t.by, from)
	}
}

// of is how much an address has.
func (t *tally) of(from netip.Prefix) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.by[from]
}

// strangers are the connections whose other ends are not known: of another tree, or of none, or about to say who they
// are. They are bounded together. Where there are too many, the address that has most of them gives up its oldest: who
// has something to show, shows it in its first flight, and so is known long before its address has filled the room.
type strangers struct {
	most int

	mu  sync.Mutex
	all []*link // in order of coming
	by  map[netip.Prefix]int
}

// enter counts l in, and returns who has to go for it, nil for nobody.
func (s *strangers) enter(l *link) (gone *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= s.most {
		gone = s.oldest()
		s.remove(gone)
	}
	if s.by == nil {
		s.by = make(map[netip.Prefix]int)
	}
	s.all = append(s.all, l)
	s.by[l.from]++
	return gone
}

// oldest is the first who came of those at the address that has most, or at one of those that have. mu is held.
func (s *strangers) oldest() *link {
	most := 0
	for _, n := range s.by {
		most = max(most, n)
	}
	i := slices.IndexFunc(s.all, func(l *link) bool { return s.by[l.from] == most })
	return s.all[i]
}

// leave counts l out: it is known, or closed.
func (s *strangers) leave(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(l)
}

func (s *strangers) remove(l *link) {
	i := slices.Index(s.all, l)
	if i < 0 {
		return
	}
	s.all = slices.Delete(s.all, i, i+1)
	if s.by[l.from]--; s.by[l.from] == 0 {
		delete(s.by, l.from)
	}
}

// turns are the verifications of hellos, or what else is done for those who ask: so many at a time, and of those that wait
// one for each address, and for each member that is known, before the second of any. Whoever floods makes itself wait, and
// its neighbours.
type turns struct {
	most int

	mu      sync.Mutex
	taken   int
	waiting map[string][]chan struct{} // first come, first served; by who waits
	order   []string                   // the keys of waiting, whose turn is next first
}

// take waits for a turn.
func (t *turns) take(ctx context.Context, from string) error {
	t.mu.Lock()
	if t.taken < t.most {
		t.taken++
		t.mu.Unlock()
		return nil
	}
	mine := make(chan struct{})
	if t.waiting == nil {
		t.waiting = make(map[string][]chan struct{})
	}
	if _, waits := t.waiting[from]; !waits {
		t.order = append(t.order, from)
	}
	t.waiting[from] = append(t.waiting[from], mine)
	t.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	if !t.forget(from, mine) { // it was given in this moment
		t.give()
	}
	return context.Cause(ctx)
}

// forget takes one who waits out of the line; false if it is not there.
func (t *turns) forget(from string, mine chan struct{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.waiting[from], mine)
	if i >= 0 {
		t.waiting[from] = slices.Delete(t.waiting[from], i, i+1)
	}
	return i >= 0
}

// give ends a turn, and gives it to the first who waits at the address whose turn is next.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.order) > 0 {
		from := t.order[0]
		t.order = t.order[1:]
		line := t.waiting[from]
		if len(line) == 0 { // all of them gave up
			delete(t.waiting, from)
			continue
		}
		if t.waiting[from] = line[1:]; len(line) > 1 {
			t.order = append(t.order, from)
		} else {
			delete(t.waiting, from)
		}
		close(line[0])
		return
	}
	t.taken--
}
