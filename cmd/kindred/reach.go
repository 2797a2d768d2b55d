package main

import (
	"context"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/peer"
)

// way is what "status --peer" tells.
type way struct {
	Path     string    `json:"path"`
	Kind     string    `json:"kind"`    // see peer.Path
	Address  string    `json:"address"` // a multiaddr
	Since    time.Time `json:"since"`
	RTT      float64   `json:"rtt_ms"` // there and back, in milliseconds
	Sentence string    `json:"sentence"`
}

// reach tells which way a member is reached.
func (s *session) reach(ctx context.Context, arg string) error {
	return s.with(ctx, func(n *kindred.Node) error {
		p, err := path(n, arg)
		if err != nil {
			return err
		}
		if p == n.Self().ID.Path {
			return usage("%s is this directory itself", p)
		}
		if _, err := n.Resolve(ctx, p); err != nil { // else it would be the member that cannot be reached
			return err
		}
		to, err := n.Path(ctx, p)
		if err != nil {
			return s.unreached(err, arg)
		}
		w := way{string(p), to.Kind, to.Address, to.Since.UTC(), float64(to.RTT) / float64(time.Millisecond), sentenceOf(string(p), to.Kind)}
		return s.print(w, w.text(s.now()))
	})
}

// sentenceOf says who could be in between, on a way of a kind.
func sentenceOf(path, kind string) string {
	switch kind {
	case peer.Loopback:
		return fmt.Sprintf("You talk to %s directly on this machine: nothing leaves it.", path)
	case peer.LAN:
		return fmt.Sprintf("You talk to %s directly on this network: nobody in between can read anything.", path)
	case peer.Direct:
		return fmt.Sprintf("You talk to %s directly across the internet: who carries it sees that you talk, and can read nothing.", path)
	}
	return fmt.Sprintf("You talk to %s over a connection of the kind %q, and only the two of you can read what is said.", path, kind)
}

func (w way) text(now time.Time) string {
	return w.Sentence + "\n\n" + table([][]string{
		{"address", w.Address},
		{"since", stamp(w.Since, now)},
		{"round trip", fmt.Sprintf("%.3g ms", w.RTT)},
	})
}
