package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"
)

// seenProtocol tells a host at which address a relay sees it, and whether others get in there. Either end says lines, of
// at most maxSeen bytes with their end:
//
//	asker                                relay
//	                   ◀──────────────── the asker's address, a multiaddr in text; another when it has changed. Behind it a
//	                                     space and another UDP port of the relay's, if it has one, see alternate.go
//	"call" ────────────▶                 if it wants to know, once an address: does anybody get in there?
//	                   ◀──────────────── "open" or "shut"
//
// The stream stays open for as long as the asker wants. A relay calls nobody but at the address where it sees the asker,
// with a key and from a port of no other use.
const seenProtocol protocol.ID = "/kindred/seen/1"

const (
	maxSeen    = 256 // bytes of a line
	maxBunched = 16  // lines that come together; a relay looks once a second, and says two of what it sees

	askCall   = "call"
	calledIn  = "open"
	calledOut = "shut"
)

// parseSeen reads an address in the one form that it is written in, and the relay's other port behind it; 0: none.
func parseSeen(line string) (addr ma.Multiaddr, alternate uint16, err error) {
	text, number, more := strings.Cut(line, " ")
	addr, err = ma.NewMultiaddr(text)
	if err != nil {
		return nil, 0, malformed("%q is no address: %v", text, err)
	}
	ip, err := manet.ToIP(addr)
	if err != nil || ip.IsUnspecified() || ip.IsMulticast() || !isQUIC(addr) && !isTCP(addr) || addr.String() != text {
		return nil, 0, malformed("%q is no address of a host", text)
	}
	if !more {
		return addr, 0, nil
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n < firstDoor || strconv.FormatUint(n, 10) != number {
		return nil, 0, malformed("%q is no other port of a relay", number)
	}
	return addr, uint16(n), nil
}

// readLine reads a line of at most maxSeen bytes, its end included, and returns it without.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for len(line) < maxSeen {
		c, err := r.ReadByte()
		if err != nil {
			return "", truncated(err)
		}
		if c == '\n' {
			return string(line), nil
		}
		line = append(line, c)
	}
	return "", malformed("a line longer than %d bytes", maxSeen)
}

// serveSeen makes the host tell others how it sees them, and whether ports lead to them. It is for relays.
func (h *Host) serveSeen() {
	h.setService(seenProtocol, h.tellSeen)
	h.setService(doorProtocol, h.tellDoor)
}

// tellSeen answers one asker. It takes one stream of a connection at a time.
func (h *Host) tellSeen(s network.Stream) {
	l := h.link(s.Conn())
	if l == nil || l.kind() == Relayed || !l.enter() {
		s.Reset()
		return
	}
	defer l.leave()
	h.doubtOthers(l)
	ctx, cancel := context.WithCancel(l.ctx)
	calls, gone := make(chan struct{}), make(chan struct{})
	defer func() {
		cancel()
		s.Reset()
		<-gone
	}()
	h.running.Go(func() {
		defer close(gone)
		for in := bufio.NewReader(s); ; {
			line, err := readLine(in)
			if err != nil || line != askCall {
				return
			}
			select {
			case calls <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	})
	t := teller{link: l, to: s}
	look := time.NewTicker(h.timing.look)
	defer look.Stop()
	for err := t.look(); err == nil; {
		select {
		case <-look.C:
			err = t.look()
		case <-calls:
			err = t.call()
		case <-gone:
			return
		case <-ctx.Done():
			return
		}
	}
}

// A teller tells an asker how it is seen.
type teller struct {
	link   *link
	to     network.Stream
	told   string // the address
	called bool   // at that address
}

func (t *teller) say(line string) error {
	t.to.SetWriteDeadline(time.Now().Add(t.link.host.timing.hello))
	_, err := io.WriteString(t.to, line+"\n")
	return err
}

// look tells the asker's address if it is another than was told.
func (t *teller) look() error {
	addr := t.link.seenAt().String()
	if addr == t.told {
		return nil
	}
	t.told, t.called = addr, false
	if other := t.link.host.alternate(t.link); other != 0 {
		addr += fmt.Sprintf(" %d", other)
	}
	return t.say(addr)
}

// call finds out whether anybody gets in at the address told.
func (t *teller) call() error {
	if t.called {
		return errors.New("asked twice")
	}
	t.called = true
	addr, _, err := parseSeen(t.told)
	if err == nil {
		err = t.link.callBack(addr)
	}
	if err != nil {
		return t.say(calledOut)
	}
	return t.say(calledIn)
}

// seenAt returns where the other end of the link is at present: with QUIC it may have moved.
func (l *link) seenAt() ma.Multiaddr {
	if at := l.wire.at(); at != nil {
		if a, err := quicreuse.ToQuicMultiaddr(at, quic.Version1); err == nil {
			return a
		}
	}
	return l.conn.RemoteMultiaddr()
}

// enter counts an asker in; false if the connection has one already.
func (l *link) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	ok := !l.guest
	if ok {
		l.guest = true
		l.side++
	}
	return ok
}

func (l *link) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.guest = false
	l.side--
}

// asks notes that the other end is asked; false if it is already. asked notes the end of that.
func (l *link) asks() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asking {
		return false
	}
	l.asking = true
	l.side++
	return true
}

func (l *link) asked() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asking = false
	l.side--
}

// doubtOthers has the other connections with the holder of l's key prove that they live. Whoever asks anew has likely
// moved, and what goes through an old connection would hang.
func (h *Host) doubtOthers(l *link) {
	for _, c := range h.swarm.ConnsToPeer(l.conn.RemotePeer()) {
		if other := h.link(c); other != nil && other != l {
			other.doubt()
		}
	}
}

// askSeen asks a relay, at the other end of l, how it sees this host, and notes what it says for as long as the
// connection lasts. A host that is there to be called asks whether others get in, too.
func (h *Host) askSeen(ctx context.Context, l *link) error {
	if !l.asks() {
		return nil
	}
	defer l.asked()
	s, err := l.conn.NewStream(ctx)
	if err != nil {
		return err
	}
	defer s.Reset()
	defer context.AfterFunc(ctx, func() { s.Reset() })()
	if err := s.SetProtocol(seenProtocol); err != nil {
		return err
	}
	relay, asked := l.conn.RemotePeer(), lazily(s, seenProtocol)
	in := bufio.NewReader(asked)
	s.SetReadDeadline(time.Now().Add(h.timing.hello))
	for pace := rate.NewLimiter(2*rate.Every(h.timing.look), maxBunched); ; {
		line, err := readLine(in)
		if err == nil && !pace.Allow() { // each line may have others told where this host is
			err = malformed("more lines than a relay has to say")
		}
		switch {
		case err != nil:
			return fmt.Errorf("asking a relay how it sees this host: %w", err)
		case line == calledIn, line == calledOut:
			h.outlook.called(relay, l, line == calledIn)
			continue
		}
		addr, alternate, err := parseSeen(line)
		if err != nil {
			return fmt.Errorf("asking a relay how it sees this host: %w", err)
		}
		s.SetReadDeadline(time.Time{})
		again := alternate != 0 && ipOf(addr).Is4() && isQUIC(addr) && !h.own(ipOf(addr))
		h.outlook.saw(relay, l, addr, again)
		if isQUIC(addr) && isPublic(addr) && h.listens() {
			s.SetWriteDeadline(time.Now().Add(h.timing.hello))
			if _, err := io.WriteString(asked, askCall+"\n"); err != nil {
				return err
			}
		}
		if again {
			h.lookAgain(ctx, l, addr, alternate)
		}
	}
}

// Survey asks relays how they see the host, whether or not it keeps reservations there, and returns what it knows then.
// Addresses are as for SetRelays. A relay that does not answer says nothing; an error is one of the addresses.
func (h *Host) Survey(ctx context.Context, addrs []string) (Reach, error) {
	byRelay, _, err := parseRelays(addrs)
	if err != nil {
		return Reach{}, fmt.Errorf("peer: asking relays: %w", err)
	}
	var asking sync.WaitGroup
	for id, addrs := range byRelay {
		if id == h.id || h.outlook.settled(id) {
			continue
		}
		asking.Go(func() {
			l, err := h.connectRelay(ctx, id, addrs)
			if err != nil {
				h.log.Info("a relay cannot be asked", "relay", id, "error", err)
				return
			}
			h.spawn(func() {
				if err := h.askSeen(l.ctx, l); err != nil && l.ctx.Err() == nil {
					h.log.Info("a relay does not say how it sees this host", "relay", id, "error", err)
				}
			})
			for !h.outlook.settled(id) && pause(ctx, surveyPause) == nil && l.ctx.Err() == nil {
			}
		})
	}
	asking.Wait()
	return h.Reach(), nil
}

const surveyPause = 5 * time.Millisecond

// callBack calls the other end at addr as somebody would whom it does not expect.
func (l *link) callBack(addr ma.Multiaddr) error {
	if err := l.host.calling.take(l.ctx, l.from.String()); err != nil {
		return err
	}
	defer l.host.calling.give()
	ctx, cancel := context.WithTimeout(l.ctx, l.host.timing.dial)
	defer cancel()
	return callAs(ctx, addr, l.conn.RemotePeer())
}
