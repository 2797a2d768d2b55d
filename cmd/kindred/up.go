package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred/gateway"
)

func newUp(s *session) *cobra.Command {
	var listen []string
	c := &cobra.Command{
		Use:   "up",
		Short: "Run the gateway of this directory until stopped",
		Long: `Run the home's gateway: it lets new members in, says where things are, keeps track of
who may do what, and collects what happened. The directory is the owner's, or the
gateway's own when it was moved to another machine.

A line on standard output says when it is ready.`,
		Example: "  kindred up\n  kindred up --listen 192.168.1.2:4711",
		Args:    cobra.NoArgs,
	}
	c.Flags().StringSliceVar(&listen, "listen", nil, "where to be reached: `IP:PORT`, :PORT or a multiaddr (default as in kindred.yaml)")
	return s.does(c, func(ctx context.Context, _ []string) error { return s.up(ctx, listen) })
}

// ready is the line that says that a gateway or a device can serve.
type ready struct {
	Ready     bool     `json:"ready"`
	Tree      string   `json:"tree"`
	ID        string   `json:"id"`
	Addresses []string `json:"addresses"`
}

func (s *session) up(ctx context.Context, listen []string) (err error) {
	dir := gateway.Dir(s.dir)
	settings, err := readSettings(dir)
	if err != nil {
		return err
	}
	g, err := gateway.Open(ctx, gateway.Config{
		Dir: dir, Listen: where(listen, settings), Interval: time.Duration(settings.Interval), Log: s.log(slog.LevelWarn),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	n := g.Node()
	addresses := n.Addresses()
	if err := writeFile(filepath.Join(dir, addressesFile), []byte(strings.Join(addresses, "\n")+"\n")); err != nil {
		return err
	}
	id := n.Self().ID
	line := ready{true, id.Tree.String(), id.String(), addresses}
	if err := s.print(line, "Up: "+string(id.Path)+" at "+best(addresses)); err != nil {
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
