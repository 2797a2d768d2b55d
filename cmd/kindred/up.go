package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/gateway"
	"github.com/kindred-iot/kindred/peer"
)

func newUp(s *session) *cobra.Command {
	var at listening
	var o outside
	c := &cobra.Command{
		Use:   "up",
		Short: "Run the gateway of this directory until stopped",
		Long: `Run the home's gateway: it lets new members in, says where things are, keeps track of
who may do what, and collects what happened. The directory is the owner's, or the
gateway's own when it was moved to another machine.

With --relay, members reach each other from anywhere: where no direct way leads, the
relay carries what they say to each other, and can read nothing of it. It is remembered,
and the home's members are told.

A line on standard output says when it is ready.`,
		Example: "  kindred up\n  kindred up --listen 192.168.1.2:4711 --https :8443\n  kindred up --relay /ip4/198.51.100.7/udp/4711/quic-v1/p2p/12D3KooW…",
		Args:    cobra.NoArgs,
	}
	at.flags(c, "as in kindred.yaml")
	c.Flags().StringSliceVar(&o.relays, "relay", nil, "a relay that members are to be found at: its `address`, a multiaddr with /p2p/KEY, or none (default as in kindred.yaml)")
	c.Flags().BoolVar(&o.mapPorts, "map-ports", false, "ask the router to let callers in (PCP, NAT-PMP, UPnP); remembered (default as in kindred.yaml)")
	return s.does(c, func(ctx context.Context, _ []string) error {
		o.mapPortsGiven = c.Flags().Changed("map-ports")
		return s.up(ctx, at, o)
	})
}

// outside is what "up" is told of how the home is reached from elsewhere.
type outside struct {
	relays                  []string
	mapPorts, mapPortsGiven bool
}

// remember works what was told into the settings, and reports whether there was anything.
func (o outside) remember(settings *Settings) (changed bool, err error) {
	if len(o.relays) > 0 {
		settings.Relays = nil
		if !slices.Equal(o.relays, []string{"none"}) {
			settings.Relays = o.relays
		}
		if err := peer.CheckRelays(settings.Relays); err != nil {
			return false, usage("--relay: %s", err)
		}
		changed = true
	}
	if o.mapPortsGiven {
		settings.MapPorts, changed = o.mapPorts, true
	}
	return changed, nil
}

// listening is what flags say of where a gateway or a device is to be reached.
type listening struct {
	listen []string
	https  string
}

func (l *listening) flags(c *cobra.Command, otherwise string) {
	l.listenFlag(c, otherwise)
	c.PersistentFlags().StringVar(&l.https, "https", "", "where to serve tools that hold an exported key, too: `IP:PORT` or :PORT (see \"kindred key export\")")
}

func (l *listening) listenFlag(c *cobra.Command, otherwise string) {
	f := c.PersistentFlags() // for the kinds of device as well
	f.StringSliceVar(&l.listen, "listen", nil, "where to be reached: `IP:PORT`, :PORT or a multiaddr (default "+otherwise+")")
}

// ready is the line that says that a gateway or a device can serve.
type ready struct {
	Ready     bool     `json:"ready"`
	Tree      string   `json:"tree"`
	ID        string   `json:"id"`
	Addresses []string `json:"addresses"`
	HTTPS     []string `json:"https,omitempty"` // URLs, the best one first
}

// ready says that a node can serve.
func (s *session) ready(n *kindred.Node, word string) error {
	id, addresses, urls := n.Self().ID, n.Addresses(), n.HTTPS()
	text := word + ": " + string(id.Path) + " at " + best(addresses)
	if len(urls) > 0 {
		text += "\nHTTPS: " + urls[0]
	}
	return s.print(ready{true, id.Tree.String(), id.String(), addresses, urls}, text)
}

func (s *session) up(ctx context.Context, at listening, o outside) (err error) {
	dir := gateway.Dir(s.dir)
	settings, err := readSettings(dir)
	if err != nil {
		return err
	}
	https, err := secure(at.https, settings)
	if err != nil {
		return err
	}
	remember, err := o.remember(&settings)
	if err != nil {
		return err
	}
	moved := make(chan struct{}, 1)
	g, err := gateway.Open(ctx, gateway.Config{
		Dir: dir, Listen: where(at.listen, settings), HTTPS: https, Interval: time.Duration(settings.Interval),
		Log: s.log(slog.LevelWarn), Relays: settings.Relays, MapPorts: settings.MapPorts,
		Moved: func() {
			select {
			case moved <- struct{}{}:
			default:
			}
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if remember { // by whoever has the directory
		if err := writeSettings(dir, settings); err != nil {
			return err
		}
	}
	n := g.Node()
	if err := writeAddresses(dir, n.Addresses()); err != nil {
		return err
	}
	if https != "" {
		if err := n.InTouch(ctx); err != nil { // with itself: it knows its names then
			return err
		}
	}
	if err := s.ready(n, "Up"); err != nil {
		return err
	}
	return runGateway(ctx, g, dir, moved)
}

// runGateway runs a gateway until ctx ends, and writes down where it is whenever it has moved.
func runGateway(ctx context.Context, g *gateway.Gateway, dir string, moved <-chan struct{}) error {
	ctx, stop := context.WithCancelCause(ctx)
	var writing sync.WaitGroup
	writing.Go(func() {
		for {
			select {
			case <-moved:
				if err := writeAddresses(dir, g.Node().Addresses()); err != nil {
					stop(err)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	err := g.Run(ctx)
	stop(nil)
	writing.Wait()
	if failed := context.Cause(ctx); err == nil && !errors.Is(failed, context.Canceled) {
		err = failed
	}
	return err
}

// writeAddresses says where the gateway is, for the owner's directory around it.
func writeAddresses(dir string, addresses []string) error {
	return writeFile(filepath.Join(dir, addressesFile), []byte(strings.Join(addresses, "\n")+"\n"))
}

// best returns the address that most others reach, without the key.
func best(addresses []string) string {
	if len(addresses) == 0 {
		return "no address"
	}
	at := addresses[0]
	return at[:strings.LastIndex(at, "/p2p/")]
}

// where returns where to listen: as the flag says, else the settings, else on every interface.
func where(flag []string, settings Settings) []string {
	switch {
	case len(flag) > 0:
		return flag
	case len(settings.Listen) > 0:
		return settings.Listen
	}
	return []string{":0"}
}
