package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred/gateway"
	"github.com/kindred-iot/kindred/identity"
)

func newInit(s *session) *cobra.Command {
	var o foundOptions
	c := &cobra.Command{
		Use:   "init NAME",
		Short: "Make a new tree: its root, an owner with an app on this machine, a first place with its gateway",
		Long: `Make a new tree in the directory, which becomes the owner's, and in it, in "gateway",
the directory of the first place's gateway. "kindred up" runs that.

NAME is what people call the home. The root key stays in the directory until you
move it away; "kindred status" says how.`,
		Example: `  kindred init "Birch Street"
  kindred init "Birch Street" --owner sam --place home --tz Europe/Berlin`,
		Args: cobra.ExactArgs(1),
	}
	c.Flags().StringVar(&o.owner, "owner", "", "the owner's `name` (default the user's)")
	c.Flags().StringVar(&o.app, "app", "", "the `name` of the owner's app on this machine (default the machine's)")
	c.Flags().StringVar(&o.place, "place", "home", "the first place's `name`")
	c.Flags().StringVar(&o.zone, "tz", "", "the place's time `zone` (default this machine's)")
	return s.does(c, func(ctx context.Context, args []string) error { return s.found(ctx, args[0], o) })
}

type foundOptions struct{ owner, app, place, zone string }

// complete fills in what was not said, and checks what was.
func (o *foundOptions) complete() error {
	if o.owner == "" {
		o.owner = userName()
	}
	if o.app == "" {
		o.app = machineName()
	}
	if o.zone == "" {
		o.zone = systemZone()
	}
	if o.zone == "" {
		o.zone = "UTC"
	}
	for _, name := range []string{o.owner, o.app, o.place} {
		if p, err := identity.ParsePath(name); err != nil || p.Parent() != "" {
			return usage("%q is no name: want lower-case letters, digits, dots, hyphens and underscores, a letter or digit first", name)
		}
	}
	if o.owner == o.place {
		return usage("the owner and the place cannot both be called %s", o.owner)
	}
	if err := checkZone(o.zone); err != nil {
		return usage("%s", err)
	}
	return nil
}

func (s *session) found(ctx context.Context, name string, o foundOptions) error {
	if err := o.complete(); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	listen := fmt.Sprintf(":%d", port)
	err = gateway.Found(ctx, s.dir, gateway.Founding{
		Label: name, Owner: o.owner, App: o.app, Place: identity.Path(o.place),
		Addresses: addressesOf(listen), Now: time.Now(),
	})
	if errors.Is(err, fs.ErrExist) {
		return hinted(conflict("%s is not empty", s.dir), "--dir names another directory")
	}
	if err != nil {
		return err
	}
	err = errors.Join(
		writeSettings(s.dir, Settings{Name: name, Zone: o.zone}),
		writeSettings(gateway.Dir(s.dir), Settings{Name: name, Zone: o.zone, Listen: []string{listen}}),
	)
	if err != nil {
		return err
	}
	s.say(`Made %q: owner %s, place %s. The root key is in this directory; "kindred status" says how to move it away.`, name, o.owner, o.place)
	if !s.json {
		return nil
	}
	return s.object(map[string]string{"name": name, "owner": o.owner, "app": o.owner + "/" + o.app, "place": o.place, "zone": o.zone, "dir": s.dir})
}

// freePort returns a UDP port that nobody uses now. The gateway keeps to it, so that its address can be written down.
func freePort() (int, error) {
	c, err := net.ListenPacket("udp", ":0")
	if err != nil {
		return 0, err
	}
	port := c.LocalAddr().(*net.UDPAddr).Port
	return port, c.Close()
}

// addressesOf returns the multiaddrs at which this machine will be reached when it listens on :PORT: those of its
// networks, then its own.
func addressesOf(listen string) []string {
	port := strings.TrimPrefix(listen, ":")
	var far, near []string
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		addrs = nil // then by loopback alone
	}
	for _, a := range addrs {
		ip, _, err := net.ParseCIDR(a.String())
		if err != nil || ip.To4() == nil {
			continue
		}
		text := "/ip4/" + ip.String() + "/udp/" + port + "/quic-v1"
		if ip.IsLoopback() {
			near = append(near, text)
		} else {
			far = append(far, text)
		}
	}
	if len(near) == 0 {
		near = []string{"/ip4/127.0.0.1/udp/" + port + "/quic-v1"}
	}
	return append(far[:min(len(far), 6)], near...)
}

// userName makes a member's name of the user's.
func userName() string {
	u, err := user.Current()
	if err != nil || u.Username == "root" {
		return "owner"
	}
	return nameOf(u.Username, "owner")
}

// machineName makes a member's name of the machine's.
func machineName() string {
	host, err := os.Hostname()
	if err != nil {
		return "app"
	}
	host, _, _ = strings.Cut(host, ".")
	return nameOf(host, "app")
}

// nameOf makes a member's name of a text, or takes another.
func nameOf(text, otherwise string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '-', r == '_', r == '.':
			return r
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, text)
	name = strings.Trim(name, "-_.")
	if len(name) > 63 {
		name = name[:63]
	}
	if _, err := identity.ParsePath(name); err != nil {
		return otherwise
	}
	return name
}
