package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred/demo"
)

func newDemo(s *session) *cobra.Command {
	cfg := demo.Config{}
	c := &cobra.Command{
		Use:   "demo [FILE…]",
		Short: "Play a whole home on this machine, every member a process of its own",
		Long: `Play a whole home on this machine: a gateway, a meter, a doorbell, a lock, an owner with a
laptop and a phone, a guest, a neighbour, another who has a home of her own, an adviser, a
service that listens, and a stranger, every one a process with a directory of its own. It
tells a story, checking from outside that each step comes out as told, and then stays up for
you to try things. In the end everything is removed.

With --nat the home and the phones are in networks of their own, each behind a router that
lets nobody in, with a relay between. The same story is told, and each time which way a
phone reached a thing. That takes root, and the commands ip and nft.

The meter replays a made-up day, or the P1 telegrams in FILEs. With --json each step is
an object: {"step":…,"ok":…,"ms":…,"by":…}, where "by" names the process that observed it.`,
		Example: "  kindred demo\n  kindred demo --once telegrams.txt\n  sudo kindred demo --nat",
	}
	c.Flags().BoolVar(&cfg.Once, "once", false, "end after the story")
	c.Flags().BoolVar(&cfg.NAT, "nat", false, "put the home and the phones behind routers, with a relay between (as root)")
	c.Flags().BoolVar(&cfg.Keep, "keep", false, "leave the home's directory behind")
	return s.does(c, func(ctx context.Context, args []string) (err error) {
		if cfg.Binary, err = os.Executable(); err != nil {
			return err
		}
		cfg.Files, cfg.JSON, cfg.Out = args, s.json, os.Stdout
		cfg.Terminal, cfg.Colour = s.outTerm, s.colour
		err = demo.Run(ctx, cfg)
		if errors.Is(err, demo.ErrStory) {
			return &failure{Code: "story", Message: "the story did not come out as told", exit: exitFailed}
		}
		return err
	})
}
