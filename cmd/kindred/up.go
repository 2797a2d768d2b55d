package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/gateway"
)

func newUp(s *session) *cobra.Command {
	var at listening
	c := &cobra.Command{
		Use:   "up",
		Short: "Run the gateway of this directory until stopped",
		Long: `Run the home's gateway: it lets new members in, says where things are, keeps track of
who may do what, and collects what happened. The directory is the owner's, or the
gateway's own when it was moved to another machine.

A line on standard output says when it is ready.`,
		Example: "  kindred up\n  kindred up --listen 192.168.1.2:4711 --https :8443",
		Args:    cobra.NoArgs,
	}
	at.flags(c, "as in kindred.yaml")
	return s.does(c, func(ctx context.Context, _ []string) error { return s.up(ctx, at) })
}

// listening is what flags say of where a gateway or a device is to be reached.
type listening struct {
	listen []string
	https  string
}

func (l *listening) flags(c *cobra.Command, otherwise string) {
	f := c.PersistentFlags() // for the kinds of device as well
	f.StringSliceVar(&l.listen, "listen", nil, "where to be reached: `IP:PORT`, :PORT or a multiaddr (default "+otherwise+")")
	f.StringVar(&l.https, "https", "", "where to serve tools that hold an exported key, too: `IP:PORT` or :PORT (see \"kindred key export\")")
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

func (s *session) up(ctx context.Context, at listening) (err error) {
	dir := gateway.Dir(s.dir)
	settings, err := readSettings(dir)
	if err != nil {
		return err
	}
	https, err := secure(at.https, settings)
	if err != nil {
		return err
	}
	g, err := gateway.Open(ctx, gateway.Config{
		Dir: dir, Listen: where(at.listen, settings), HTTPS: https, Interval: time.Duration(settings.Interval),
		Log: s.log(slog.LevelWarn),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	n := g.Node()
	if err := writeFile(filepath.Join(dir, addressesFile), []byte(strings.Join(n.Addresses(), "\n")+"\n")); err != nil {
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
	return g.Run(ctx)
}

// best returns the address that most others reach, without the key.
func best(addresses []string) string {
	if len(addresses) == 0 {
		return "no address"
	}
	at, _, _ := strings.Cut(addresses[0], "/p2p/")
	return at
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
