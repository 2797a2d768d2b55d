package peer

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/time/rate"

	"github.com/kindred-iot/kindred/portmap"
)

// doorProtocol finds out whether a port that a router is said to forward leads to a host. Either end says one line, of at
// most maxSeen bytes with its end, and the stream is over:
//
//	asker                                relay
//	"udp 4711" ────────▶                 or "tcp 4711": does anybody get in there, at the address where you see me?
//	                   ◀──────────────── "open" or "shut"
//
// A relay calls ports from 1024 on, with a key and from a port of no other use, and says that it is open if whoever
// answers proves the asker's key. It learns of no address but that where it sees the asker, lest it be sent to others.
const doorProtocol protocol.ID = "/kindred/door/1"

const firstDoor = 1024 // the lowest port that a relay knocks at: below are those of others behind the same address

// knockRate is how often a relay knocks for one connection, after the first few.
const (
	knockRate  = rate.Limit(0.1)
	knockBurst = 8
)

// parseDoor reads a port in the one form that it is written in.
func parseDoor(line string) (port, error) {
	protocol, number, _ := strings.Cut(line, " ")
	n, err := strconv.ParseUint(number, 10, 16)
	p := port{protocol, uint16(n)}
	if err != nil || protocol != portmap.UDP && protocol != portmap.TCP || n < firstDoor || p.String() != line {
		return port{}, malformed("%q is no port to knock at", line)
	}
	return p, nil
}

func (p port) String() string { return fmt.Sprintf("%s %d", p.protocol, p.number) }

// tellDoor answers one asker. It takes one stream of a connection at a time, and not often.
func (h *Host) tellDoor(s network.Stream) {
	l := h.link(s.Conn())
	if l == nil || l.kind() == Relayed || !l.knock() {
		s.Reset()
		return
	}
	answer, err := l.tryDoor(s)
	l.knocked() // before the asker hears it, who may ask again at once
	if err == nil {
		s.SetDeadline(time.Now().Add(h.timing.hello))
		_, err = io.WriteString(s, answer+"\n")
	}
	if err != nil {
		h.log.Debug("knocking for somebody", "peer", l.conn.RemotePeer(), "error", err)
		s.Reset()
		return
	}
	_ = s.Close() // what was written is still delivered
}

// tryDoor reads the question and finds the answer.
func (l *link) tryDoor(s network.Stream) (answer string, err error) {
	s.SetDeadline(time.Now().Add(l.host.timing.hello))
	line, err := readLine(bufio.NewReader(s))
	if err != nil {
		return "", err
	}
	p, err := parseDoor(line)
	if err != nil {
		return "", err
	}
	ip := ipOf(l.seenAt())
	if err := l.callBack(addressOf(p.protocol, netip.AddrPortFrom(ip, p.number))); err != nil {
		return calledOut, nil
	}
	return calledIn, nil
}

// knock counts one who asks to be knocked at in; false if there is one already, or if there were many of late.
func (l *link) knock() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.knocks == nil {
		l.knocks = rate.NewLimiter(knockRate, knockBurst)
	}
	if l.knocking || !l.knocks.Allow() {
		return false
	}
	l.knocking = true
	l.side++
	return true
}

func (l *link) knocked() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.knocking = false
	l.side--
}

// knockEverywhere asks every relay that sees the host to knock at every port that it did not yet, from where it is.
func (h *Host) knockEverywhere() {
	for _, q := range h.outlook.unasked() {
		k := knocked{link: q.link, at: q.ip, tries: q.tries + 1}
		in, err := h.askDoor(h.ctx, q.link, port{q.forward.protocol, q.outside})
		switch {
		case h.ctx.Err() != nil:
			return
		case err != nil:
			h.log.Info("a relay does not say whether a forwarded port leads here", "relay", q.relay, "port", q.outside, "error", err)
		case in:
			k.door = DoorOpen
		default:
			k.door = DoorShut
		}
		h.outlook.answered(q, k)
	}
}

// A question is one that a relay is to be asked.
type question struct {
	forward *forward
	outside uint16 // the port
	relay   libp2ppeer.ID
	link    *link
	ip      netip.Addr // where it sees the host
	tries   int        // in vain, so far
}

// unasked returns what relays were not asked yet, and what a packet that was lost may have kept them from.
func (o *outlook) unasked() (all []question) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.allForwarded() {
		for relay, s := range o.seen {
			ip := ipOf(s.addr)
			k := f.knocks[relay]
			if k.link != s.link || k.at != ip {
				k = knocked{}
			}
			if k.door == DoorOpen || k.tries >= maxKnocks || !f.mayBeAt(ip) || !isPublic(s.addr) {
				continue
			}
			all = append(all, question{f, f.claim.Port(), relay, s.link, ip, k.tries})
		}
	}
	return all
}

// answered notes what became of a question.
func (o *outlook) answered(q question, k knocked) {
	o.mu.Lock()
	q.forward.note(q.relay, k)
	o.mu.Unlock()
	o.changed()
}

// askDoor asks a relay at the other end of l to knock at a port.
func (h *Host) askDoor(ctx context.Context, l *link, p port) (in bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.timing.hello+h.timing.dial)
	defer cancel()
	defer l.aside()()
	s, err := l.conn.NewStream(ctx)
	if err != nil {
		return false, err
	}
	defer s.Reset()
	defer context.AfterFunc(ctx, func() { s.Reset() })()
	if err := s.SetProtocol(doorProtocol); err != nil {
		return false, err
	}
	asked := lazily(s, doorProtocol)
	if _, err := io.WriteString(asked, p.String()+"\n"); err != nil {
		return false, err
	}
	line, err := readLine(bufio.NewReader(asked))
	if err == nil && line != calledIn && line != calledOut {
		err = malformed("%q is no answer", line)
	}
	return line == calledIn, err
}

// aside counts a stream that is no use of the link, until what it returns is called.
func (l *link) aside() func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.side++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.side--
	}
}
