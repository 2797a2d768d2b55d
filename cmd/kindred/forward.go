package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tunnel"
)

func newForward(s *session) *cobra.Command {
	var udp bool
	c := &cobra.Command{
		Use:   "forward PATH[:PORT] [LOCALPORT]",
		Short: "Give a service of a thing a port on this machine, or list its services",
		Long: `Give a TCP or UDP service of a thing (see "kindred expose") a port on this machine until
stopped: LOCALPORT, or one that is free. What connects there is carried to the service with
the rights of this directory's member, many connections at once. Without a port, list the
services that the thing has.

Every program on this machine can use the port while it is there, also those of other
users; no other machine can. When the right to the service ends, so do its connections. For
UDP each program that sends something has a session of its own, which ends after two minutes
in which nothing was sent, or as the oldest of more than 48. The directory is in use meanwhile;
other commands take another one.`,
		Example:           "  kindred forward home/cam:8554\n  kindred forward home/cam:53/udp 5353\n  kindred forward home/cam",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: s.completeThing(nil),
	}
	c.Flags().BoolVar(&udp, "udp", false, "the port is one of UDP, as with PORT/udp")
	return s.does(c, func(ctx context.Context, args []string) error {
		f, err := s.forwarding(args, udp)
		if err != nil {
			return err
		}
		return s.with(ctx, func(n *kindred.Node) error {
			f.node = n
			if f.port == 0 {
				return s.use(ctx, n, f.path, func(t *thing.Client) error { return s.listOffers(ctx, t, "forward", f.path, serviceOffers) })
			}
			return f.run(ctx)
		})
	})
}

// serviceOffers returns the services that a thing has.
func serviceOffers(d thing.Description) (offers []offer) {
	for name, a := range d.Actions {
		if _, _, ok := a.Service(); ok {
			offers = append(offers, offer{Name: name, Description: a.Description})
		}
	}
	return offers
}

// forwarding is a service that is given a port here.
type forwarding struct {
	s       *session
	node    *kindred.Node
	path    string
	network string
	port    uint16 // 0: none was named
	local   uint16 // 0: any

	running sync.WaitGroup // connections

	mu   sync.Mutex
	said string // what the user was told last
}

// forwarding reads the arguments.
func (s *session) forwarding(args []string, udp bool) (*forwarding, error) {
	f := &forwarding{s: s, path: args[0], network: tunnel.TCP}
	if at := strings.LastIndexByte(args[0], ':'); at >= 0 && !strings.HasPrefix(args[0][at:], "://") {
		var err error
		if f.network, f.port, err = parsePort(args[0][at+1:]); err != nil {
			return nil, usage("%q is no port such as 8554 or 53/udp", args[0][at+1:])
		}
		f.path = args[0][:at]
	}
	if udp {
		f.network = tunnel.UDP
	}
	if f.port == 0 && (udp || len(args) > 1) {
		return nil, usage("which port of %s? kindred forward PATH:PORT", f.path)
	}
	if len(args) > 1 {
		n, err := strconv.ParseUint(args[1], 10, 16)
		if err != nil {
			return nil, usage("%q is no port of this machine", args[1])
		}
		f.local = uint16(n)
	}
	return f, nil
}

// run serves until ctx ends. A right that is not there ends it before it has begun.
func (f *forwarding) run(ctx context.Context) error {
	ask := func(t *thing.Client) error { return t.MayConnect(ctx, f.network, f.port) }
	err := f.s.use(ctx, f.node, f.path, func(t *thing.Client) error {
		err := ask(t)
		if !missing(err) {
			return err
		}
		d, derr := description(ctx, t)
		if derr != nil {
			return err
		}
		there := map[string]bool{}
		for _, a := range d.Actions {
			if network, port, ok := a.Service(); ok {
				there[thing.ServiceName(network, port)] = true
			}
		}
		return noOffer("service", f.path, thing.ServiceName(f.network, f.port), there)
	})
	if err != nil {
		return err
	}
	defer f.running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 2)
	at, closers, err := f.listen(ctx, ended)
	defer func() {
		for _, c := range closers {
			_ = c.Close() // nothing is left to be done there
		}
	}()
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s:%d", f.path, f.port)
	if f.network == tunnel.UDP {
		name += "/udp"
	}
	out := forwarded{f.path, f.network, f.port, at}
	if err := f.s.print(out, name+" at "+at); err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// forwarded is what "forward --json" prints.
type forwarded struct {
	Path    string `json:"path"`
	Network string `json:"network"`
	Port    uint16 `json:"port"`
	Local   string `json:"local"`
}

// loopbacks are where this machine alone can reach itself.
var loopbacks = []string{"127.0.0.1", "::1"}

// listen listens on the loopback addresses that there are, on the same port of each, and tells the first. A port that
// the user named must be free on both, for "localhost" is either.
func (f *forwarding) listen(ctx context.Context, ended chan<- error) (at string, closers []io.Closer, err error) {
	for _, host := range loopbacks {
		port := f.local
		if at != "" { // the port of the first, where it is free
			port = portOf(at)
		}
		c, here, lerr := f.listenAt(ctx, net.JoinHostPort(host, strconv.Itoa(int(port))), ended)
		switch {
		case lerr == nil:
			closers, at = append(closers, c), cmp.Or(at, here)
		case errors.Is(lerr, syscall.EADDRNOTAVAIL), errors.Is(lerr, syscall.EAFNOSUPPORT), at != "" && f.local == 0:
			err = lerr // this machine has no such address, or the port is another's there
		default:
			return "", closers, lerr
		}
	}
	if at == "" {
		return "", nil, err
	}
	return at, closers, nil
}

func portOf(at string) uint16 {
	_, text, _ := net.SplitHostPort(at)
	n, _ := strconv.ParseUint(text, 10, 16) // it was printed by package net
	return uint16(n)
}

// listenAt serves an address until that is closed.
func (f *forwarding) listenAt(ctx context.Context, address string, ended chan<- error) (io.Closer, string, error) {
	if f.network == tunnel.UDP {
		p, err := net.ListenPacket("udp", address)
		if err != nil {
			return nil, "", err
		}
		u := &udpPort{f: f, conn: p, sessions: map[string]*udpSession{}}
		f.running.Go(func() { ended <- u.serve(ctx) })
		return p, p.LocalAddr().String(), nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, "", err
	}
	f.running.Go(func() { ended <- f.serve(ctx, l) })
	return l, l.Addr().String(), nil
}

// serve carries each connection that is made.
func (f *forwarding) serve(ctx context.Context, l net.Listener) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err == nil {
			f.running.Go(func() { f.carry(ctx, c) })
			continue
		}
		f.tell(err) // too many files are open, say
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

// carry carries one connection, or session of UDP, to the service, and tells why if it could not, or not to the end.
func (f *forwarding) carry(ctx context.Context, local net.Conn) {
	defer local.Close()
	var far tunnel.Conn
	err := f.s.use(ctx, f.node, f.path, func(t *thing.Client) (err error) {
		far, err = t.Connect(ctx, f.network, f.port)
		return err
	})
	if err != nil {
		f.tell(err)
		return
	}
	err = tunnel.Carry(ctx, far, local)
	if err == nil || ctx.Err() != nil || errors.Is(err, tunnel.ErrLocal) || errors.Is(err, tunnel.ErrIdle) {
		return
	}
	// The thing does not say why it breaks a connection. It says why there is none.
	f.tell(f.s.use(ctx, f.node, f.path, func(t *thing.Client) error { return t.MayConnect(ctx, f.network, f.port) }))
}

// tell tells the user of a failure, once until there is another.
func (f *forwarding) tell(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	e := explain(err)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.said != e.Message {
		f.said = e.Message
		f.s.say("%s: %s", f.path, e.Message)
	}
}
