package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/peer"
)

// way is what "status --peer" tells.
type way struct {
	Path      string    `json:"path"`
	Kind      string    `json:"kind"`                // see peer.Path
	Transport string    `json:"transport"`           // likewise
	Address   string    `json:"address"`             // a multiaddr
	Relay     string    `json:"relay,omitempty"`     // of a relayed way: the relay's address, with its name
	Forwarded string    `json:"forwarded,omitempty"` // how the other end's router was asked to keep the port open: PCP, …
	Why       string    `json:"why,omitempty"`       // of a relayed way: why it is not direct
	Punch     string    `json:"punch,omitempty"`     // likewise, for programs; see peer.Path
	NAT       string    `json:"nat,omitempty"`       // in front of this machine, see peer.Path
	Since     time.Time `json:"since"`
	RTT       float64   `json:"rtt_ms"`                 // there and back, in milliseconds
	First     string    `json:"first,omitempty"`        // the kind of way at first, if it was another
	After     float64   `json:"direct_after,omitempty"` // then: for how many milliseconds
	Sentence  string    `json:"sentence"`
}

// directWithin is how long "status --peer" waits for a relayed way to become direct.
const directWithin = 3 * time.Second

// reach tells which way a member is reached.
func (s *session) reach(ctx context.Context, arg string) error {
	return s.with(ctx, func(n *kindred.Node) error {
		id, err := anywhere(ctx, n, arg)
		if err != nil {
			return err
		}
		if id == n.Self().ID {
			return usage("%s is this directory itself", id.Path)
		}
		if _, err := s.find(ctx, n, id, arg); err != nil { // else it would be the member that cannot be reached
			return err
		}
		called := string(id.Path)
		if id.Tree != n.Self().ID.Tree {
			called = arg
		}
		to, err := n.PathTo(ctx, id)
		first, began := to, time.Now()
		for soon := began.Add(directWithin); err == nil && mayBecomeDirect(to) && time.Now().Before(soon); {
			select {
			case <-time.After(100 * time.Millisecond):
				to, err = n.PathTo(ctx, id)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if err != nil {
			return s.unreached(err, arg)
		}
		w := wayOf(called, to)
		if first.Kind != to.Kind {
			w.First, w.After = first.Kind, float64(to.Since.Sub(first.Since))/float64(time.Millisecond)
		}
		return s.print(w, w.text(s.now()))
	})
}

func mayBecomeDirect(p peer.Path) bool { return p.Kind == peer.Relayed && p.Punch != peer.PunchFailed }

func wayOf(path string, p peer.Path) way {
	w := way{
		Path: path, Kind: p.Kind, Transport: p.Transport, Address: p.Address, Relay: p.Relay, Punch: p.Punch, NAT: p.NAT,
		Forwarded: p.Forwarded, Since: p.Since.UTC(), RTT: float64(p.RTT) / float64(time.Millisecond), Sentence: sentenceOf(path, p),
	}
	if p.Kind == peer.Relayed {
		w.Why = whyRelayed(p)
	}
	return w
}

// sentenceOf says who could be in between.
func sentenceOf(path string, p peer.Path) string {
	switch kind := p.Kind; {
	case kind == peer.Loopback:
		return fmt.Sprintf("You talk to %s directly on this machine: nothing leaves it.", path)
	case kind == peer.LAN, kind == peer.Direct && p.Near:
		return fmt.Sprintf("You talk to %s directly on this network: nobody in between can read anything.", path)
	case kind == peer.Direct:
		at := ""
		if p.Forwarded != "" {
			at = fmt.Sprintf(", through a port that the router there keeps open (%s)", p.Forwarded)
		}
		return fmt.Sprintf("You talk to %s directly across the internet%s: who carries it sees that you talk, and can read nothing.", path, at)
	case kind == peer.Relayed:
		return fmt.Sprintf("You talk to %s through the relay at %s: it sees that the two of you talk, when and how much, and can read nothing.", path, hostOf(p.Relay))
	}
	return fmt.Sprintf("You talk to %s over a connection of the kind %q, and only the two of you can read what is said.", path, p.Kind)
}

// whyRelayed says why a way is not direct.
func whyRelayed(p peer.Path) string {
	switch {
	case p.NAT == peer.NATBlocked:
		return "this network lets no UDP through, and a direct way takes that"
	case p.Punch == peer.PunchNever:
		return "a direct way was not tried yet: one end does not know how it is seen from elsewhere"
	case p.Punch == peer.PunchTrying:
		return "a direct way is being tried"
	case p.NAT == peer.NATSymmetric:
		return "the router here shows each other end another address (a symmetric NAT), so that nobody can aim at it"
	case p.NAT == peer.NATCone, p.NAT == peer.NATNone:
		return "a direct way was tried in vain: this end would allow it, so the other's router or firewall does not"
	}
	return "a direct way was tried in vain: a router or firewall at one of the ends does not allow it"
}

// hostOf returns the IP address of a multiaddr, for people.
func hostOf(addr string) string {
	if part := strings.Split(addr, "/"); len(part) > 2 {
		return part[2]
	}
	return addr
}

func (w way) text(now time.Time) string {
	rows := [][]string{
		{"address", w.Address},
		{"transport", w.Transport},
		{"since", stamp(w.Since, now)},
		{"round trip", fmt.Sprintf("%.3g ms", w.RTT)},
	}
	if w.First != "" {
		rows = append(rows, []string{"before", fmt.Sprintf("%s, for %.3g ms", w.First, w.After)})
	}
	if w.Why != "" {
		rows = append(rows, []string{"why relayed", w.Why})
	}
	if w.NAT != peer.NATUnknown && (w.Kind == peer.Relayed || w.Kind == peer.Direct) {
		rows = append(rows, []string{"router here", routerIs(w.NAT)})
	}
	return w.Sentence + "\n\n" + table(rows)
}

// seen is what "status" tells of how this directory and the gateway are reached from elsewhere.
type seen struct {
	NAT     string   `json:"nat,omitempty"` // in front of this machine, see peer.Reach
	At      []string `json:"at,omitempty"`  // where relays see this machine: multiaddrs
	Relays  []string `json:"relays"`        // of the home: where its members are found
	Gateway []string `json:"gateway"`       // addresses of the gateway that lead there from elsewhere

	Forwards *control.Forwards `json:"forwards,omitempty"` // what the gateway's router forwards to it; for owners, absent if it is not asked
}

// survey finds that out.
func survey(ctx context.Context, n *kindred.Node) (seen, error) {
	reach, relays, err := n.Survey(ctx)
	if err != nil {
		return seen{}, err
	}
	s := seen{NAT: reach.NAT, At: reach.Seen, Relays: relays, Gateway: []string{}}
	if relays == nil {
		s.Relays = []string{}
	}
	for _, a := range n.GatewayAddresses(ctx) {
		if k := peer.KindOf(a); k == peer.Direct || k == peer.Relayed {
			s.Gateway = append(s.Gateway, a)
		}
	}
	if n.Self().Owner() {
		if f, err := n.Gateway().Forwards(ctx); err == nil && f.Asked { // an older gateway knows no answer
			s.Forwards = &f
		}
	}
	return s, nil
}

// rows tells it in a table.
func (s seen) rows() [][]string {
	from := "not reached: \"kindred up --relay ADDRESS\" lets it be"
	if len(s.Gateway) > 0 {
		var ways []string
		for _, a := range s.Gateway {
			w := "directly"
			if peer.KindOf(a) == peer.Relayed {
				w = "through the relay at " + hostOf(a)
			}
			if len(ways) == 0 || ways[len(ways)-1] != w {
				ways = append(ways, w)
			}
		}
		from = "the gateway is reached " + strings.Join(ways, ", ")
	}
	rows := [][]string{{"outside", from}}
	if row := forwardsRow(s.Forwards, len(s.Relays) > 0); row != nil {
		rows = append(rows, row)
	}
	if len(s.At) > 0 {
		var at []string
		for _, a := range s.At {
			at = append(at, hostOf(a))
		}
		rows = append(rows, []string{"seen at", strings.Join(at, ", ")}, []string{"router", routerIs(s.NAT)})
	}
	return rows
}

// routerIs says what the NAT in front of this machine does.
func routerIs(nat string) string {
	switch nat {
	case peer.NATNone:
		return "none in between: this machine has an address of its own"
	case peer.NATCone:
		return "lets direct ways be made"
	case peer.NATSymmetric:
		return "shows each other end another address: direct ways only to those who have one of their own"
	case peer.NATBlocked:
		return "lets no UDP through: nothing but relays from here"
	}
	return "in between; whether it lets direct ways be made, another relay could tell, or this one with a second port of UDP"
}
