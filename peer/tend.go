package peer

import (
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// A traffic counts a connection's packets at some time.
type traffic struct {
	at             time.Time
	sent, received uint64
}

// tend looks at all connections until the host is closed.
func (h *Host) tend() {
	ticker := time.NewTicker(h.timing.tick)
	defer ticker.Stop()
	looked := time.Now()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-ticker.C:
		}
		late := max(0, time.Since(looked)-h.timing.tick)
		looked = time.Now()
		for _, l := range h.live() {
			l.excuse(late)
			if why := l.overdue(); why != nil {
				l.cut(why)
			} else {
				l.probe()
			}
			if l.widen() {
				h.renew(l.key)
			}
		}
		h.expire()
		h.tell()
	}
}

// excuse forgives the other end a time for which this host did not get to look: neither did it get to read what was
// answered. Else a machine with too much to do for a moment would cut everybody off, and have them all come back at once.
func (l *link) excuse(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, since := range []*time.Time{&l.traffic.at, &l.doubted.at, &l.probing} {
		if !since.IsZero() {
			*since = since.Add(d)
		}
	}
}

// tell tells the owner what strangers were turned away for.
func (h *Host) tell() {
	for o, n := range h.offences.take() {
		h.log.Debug("strangers were turned away", "for", o, "times", n)
		if h.cfg.Offended != nil {
			h.cfg.Offended(o, n)
		}
	}
}

// probe makes the other end answer, if this end called, something of the call is still open, and nothing came back
// since the last look: so that a way that has ceased to exist is noticed though nothing is being said.
func (l *link) probe() {
	l.mu.Lock()
	defer l.mu.Unlock()
	silent := after(l.traffic.at, l.host.timing.probe)
	open := l.moored || !after(l.used, 2*l.host.timing.tick)
	if silent && open && l.conn.Stat().Direction == network.DirOutbound {
		l.ask()
	}
}

// doubt gives the other end a moment to show that it is still there.
func (l *link) doubt() {
	sent, received, _ := l.wire.packets()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.doubted.at.IsZero() {
		l.doubted = traffic{time.Now(), sent, received}
	}
	l.ask()
}

// large is how many bytes of a write show, when they are taken, that the other end takes some.
const large = 16 << 10

// small is how many bytes of a write leave room in a packet for those of others.
const small = 1 << 10

// write writes to one of the link's streams. That the other end takes much of it counts as hearing from it, as hears does:
// a ping may take long behind what is being sent, and its answer is not waited for while either goes on.
func (l *link) write(s network.Stream, p []byte) (int, error) {
	n, err := s.Write(p)
	switch {
	case n >= large:
		l.hears()
	case n < small:
		l.wire.gather()
	}
	return n, err
}

func (l *link) hears() { l.heard.Store(time.Now().UnixNano()) }

// ask makes the other end answer. l.mu is held.
func (l *link) ask() {
	if !l.probing.IsZero() || !l.host.begin() {
		return
	}
	l.probing = time.Now()
	go func() {
		defer l.host.running.Done()
		err := l.wire.probe()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.probing = time.Time{}
		if _, _, counted := l.wire.packets(); !counted && err == nil {
			l.traffic.at, l.doubted = time.Now(), traffic{}
		}
	}()
}

// unanswered is the number of packets that a connection sends in vain before its other end counts as gone. A live end
// answers each packet but bare acknowledgements, of which at most two follow the last packet received; QUIC's probes to
// a dead one make the number up within the second.
const unanswered = 4

// silent reports whether the other end has answered nothing of enough packets for d. l.mu is held.
func (l *link) silent(sent uint64, d time.Duration) bool {
	return sent >= l.traffic.sent+unanswered && after(l.traffic.at, d)
}

// drop closes the link if nothing was answered for a while. It is called when there is reason to think that the other end
// has closed it.
func (l *link) drop() {
	sent, _, counted := l.wire.packets()
	l.mu.Lock()
	silent := counted && l.silent(sent, l.host.timing.doubt)
	l.mu.Unlock()
	if silent {
		l.cancel(fmt.Errorf("%w: the other end makes another connection", ErrUnreachable))
		l.conn.Close()
	}
}

// overdue says why the link is to be closed; nil if it is not.
func (l *link) overdue() error {
	t := l.host.timing
	sent, received, counted := l.wire.packets()
	muxed := len(l.conn.GetStreams())
	superseded := muxed == 0 && l.superseded()
	l.mu.Lock()
	defer l.mu.Unlock()
	streams := muxed + l.lanes.open
	if streams > l.side {
		l.used = time.Now()
	}
	if l.traffic.at.IsZero() || received != l.traffic.received {
		l.traffic = traffic{time.Now(), sent, received}
	}
	if received != l.doubted.received {
		l.doubted = traffic{}
	}
	switch {
	case l.stranger && after(l.since, t.tick) && l.wire.received() >= strangeBytes && len(l.verdict) == 0: // none is due
		l.host.offences.count(Flooding)
		return fmt.Errorf("%d bytes from a stranger", strangeBytes)
	case l.stranger && !l.guest && after(l.conn.Stat().Opened, t.strange):
		if !l.spoke {
			l.host.offences.count(Silence)
		}
		return fmt.Errorf("no accepted caller within %v", t.strange)
	case !l.moored && after(l.used, t.idle) && !time.Now().Before(l.kept):
		return fmt.Errorf("unused for %v", t.idle)
	case superseded && after(l.used, t.supersede):
		return errors.New("there is a direct way by now")
	case l.retired && streams <= l.side:
		return errors.New("there is a way on this network by now")
	case counted && l.silent(sent, t.silence):
		return fmt.Errorf("%w: no packet came back for %v", ErrUnreachable, t.silence)
	case !counted && !l.probing.IsZero() && after(l.probing, t.stalled) && after(time.Unix(0, l.heard.Load()), t.stalled):
		return fmt.Errorf("%w: no answer for %v", ErrUnreachable, t.stalled)
	case !l.doubted.at.IsZero() && after(l.doubted.at, max(t.doubt, 4*l.wire.rtt())):
		return fmt.Errorf("%w: no answer since the network changed", ErrUnreachable)
	}
	return nil
}
