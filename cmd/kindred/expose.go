package main

import (
	"context"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tunnel"
)

func newExpose(s *session) *cobra.Command {
	var o deviceOptions
	var to, title string
	c := &cobra.Command{
		Use:   "expose PORT[/udp][=HOST:PORT]…",
		Short: "Offer TCP and UDP services of this machine under grants, as a thing",
		Long: `Run this directory's member, a device that has joined, as a thing whose services are the
ports given, until stopped. Each leads to the same port of this machine (127.0.0.1), or to
HOST:PORT: where a service leads is said here and by nobody else. Elsewhere "kindred
forward" connects to it.

A service is named by its port: tcp-8554, udp-53. Owners may use all, others what was
shared with them; taking that back cuts off what is connected. Each connection is told in
the log. One person's app has at most 64 at once, the service ten seconds to answer, and UDP
ends after two minutes in which nothing was sent.`,
		Example: `  kindred expose 8554
  kindred expose 80 53/udp=192.168.1.1:53
  kindred share home/cam tcp-8554 --with sam/anna --allow use`,
		Args: cobra.MinimumNArgs(1),
	}
	o.flags(c, "all interfaces")
	c.Flags().StringVar(&to, "to", "", "where the one service given leads: `HOST:PORT` (default that port of 127.0.0.1)")
	c.Flags().StringVar(&title, "title", "Services", "what the thing is called, as free `text`")
	return s.does(c, func(ctx context.Context, args []string) error {
		if to != "" {
			if len(args) != 1 || strings.Contains(args[0], "=") {
				return usage("--to takes one service; PORT=HOST:PORT says where each of several leads")
			}
			args = []string{args[0] + "=" + to}
		}
		o.expose = args
		return s.serve(ctx, o, thing.New(title), nil)
	})
}

// offerServices declares the services that arguments name.
func offerServices(t *thing.Thing, args []string) error {
	declared := map[string]bool{}
	for _, arg := range args {
		what, to, given := strings.Cut(arg, "=")
		network, port, err := parsePort(what)
		if err != nil {
			return usage("%q: want PORT[/udp][=HOST:PORT], such as 8554 or 53/udp=192.168.1.1:53", arg)
		}
		if !given {
			to = net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
		} else if _, at, err := net.SplitHostPort(to); err != nil || !isPort(at) {
			return usage("%q: %q is not HOST:PORT", arg, to)
		}
		name := thing.ServiceName(network, port)
		if declared[name] {
			return usage("%q: %s is there already", arg, name)
		}
		declared[name] = true
		thing.Service(t, network, port, serviceTitle(network, port), thing.DialTo(network, to))
	}
	return nil
}

// serviceTitle says what a service is, for all that a port tells.
func serviceTitle(network string, port uint16) string {
	return strings.ToUpper(network) + " port " + strconv.Itoa(int(port))
}

// parsePort reads "8554", "8554/tcp" or "53/udp".
func parsePort(text string) (network string, port uint16, err error) {
	number, network, given := strings.Cut(text, "/")
	if !given {
		network = tunnel.TCP
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err == nil && (n == 0 || tunnel.Token(network) == "") {
		err = net.InvalidAddrError(text)
	}
	return network, uint16(n), err
}

func isPort(text string) bool {
	network, _, err := parsePort(text)
	return err == nil && network == tunnel.TCP && !strings.Contains(text, "/")
}
