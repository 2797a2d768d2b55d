package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/relay"
	"github.com/kindred-iot/kindred/store"
)

// relayOptions are the flags of "relay".
type relayOptions struct {
	listen     []string
	metrics    string
	limits     peer.RelayLimits
	rate, each int64 // Mbit/s
}

func newRelay(s *session) *cobra.Command {
	var o relayOptions
	c := &cobra.Command{
		Use:   "relay",
		Short: "Carry calls between members of any home, without being able to read them",
		Long: `Run a relay until stopped, for homes behind routers that let nobody in. Anyone can run
one, and needs no home for it: a machine that everybody can reach is enough. It carries what
is encrypted from end to end, and holds sealed notes that say where members are. It sees who
connects from where, when, and how much; never what is said, or which home it is of.

It listens on port 4712, UDP and TCP; on UDP port 4713, by which members learn what their
routers do; and where it may on TCP port 443, which most networks let through that block
UDP. Its key, which is its name, is made on the first start and kept in its directory: --dir,
else KINDRED_DIR, else what systemd gives it in STATE_DIRECTORY, else a directory
"kindred-relay" beside that of members.

A line on standard output says when it is ready. Homes use it with "kindred up --relay ADDRESS".`,
		Example: "  kindred relay\n  kindred relay --listen :4712 --metrics 127.0.0.1:9100 --rate 500",
		Args:    cobra.NoArgs,
		PreRun: func(*cobra.Command, []string) {
			if s.dir == "" && os.Getenv("KINDRED_DIR") == "" {
				s.dir, _, _ = strings.Cut(os.Getenv("STATE_DIRECTORY"), ":")
				s.beside = "kindred-relay"
			}
		},
	}
	f := c.Flags()
	f.StringSliceVar(&o.listen, "listen", nil, "where to be reached: `IP:PORT`, :PORT or a multiaddr (default :4712, UDP port 4713, TCP port 443)")
	f.StringVar(&o.metrics, "metrics", "", "serve numbers for Prometheus at `127.0.0.1:PORT`, to this machine alone")
	f.IntVar(&o.limits.Reservations, "max-members", 1024, "how many `members` can be called through it at a time")
	f.IntVar(&o.limits.PerAddress, "max-per-address", 64, "how many `members` of those from one IP address")
	f.IntVar(&o.limits.PerHousehold, "max-per-home", 64, "how many `members` of those of one home")
	f.IntVar(&o.limits.Circuits, "max-calls", 64, "how many `calls` of one member at a time")
	f.IntVar(&o.limits.CallsPerAddress, "max-calls-per-address", 32, "how many `calls` made from one IP address at a time")
	f.Int64Var(&o.each, "rate-each", 64, "how much is carried for one member, in `Mbit/s`")
	f.Int64Var(&o.rate, "rate", 0, "how much is carried in all, in `Mbit/s`, shared fairly among addresses and homes (default: no limit)")
	return s.does(c, func(ctx context.Context, _ []string) error { return s.relay(ctx, o) })
}

// mbit is a megabit in bytes.
const mbit = 1_000_000 / 8

// check reads what flags say.
func (o *relayOptions) check() (metrics netip.AddrPort, err error) {
	for _, n := range []struct {
		flag string
		n    int64
		min  int64
	}{
		{"max-members", int64(o.limits.Reservations), 1}, {"max-per-address", int64(o.limits.PerAddress), 1},
		{"max-per-home", int64(o.limits.PerHousehold), 1}, {"max-calls", int64(o.limits.Circuits), 1},
		{"max-calls-per-address", int64(o.limits.CallsPerAddress), 1},
		{"rate-each", o.each, 1}, {"rate", o.rate, 0},
	} {
		if n.n < n.min || n.n > 1_000_000 {
			return metrics, usage("--%s: %d is not between %d and 1000000", n.flag, n.n, n.min)
		}
	}
	o.limits.HolderRate, o.limits.Rate = o.each*mbit, o.rate*mbit
	if o.metrics == "" {
		return metrics, nil
	}
	metrics, err = netip.ParseAddrPort(o.metrics)
	if err != nil || !metrics.Addr().IsLoopback() {
		return metrics, usage("--metrics: %q is not 127.0.0.1:PORT or [::1]:PORT, and what a relay does is for no other machine to see", o.metrics)
	}
	return metrics, nil
}

// relayReady is the line that says that a relay carries.
type relayReady struct {
	Ready     bool     `json:"ready"`
	Addresses []string `json:"addresses"`
	Metrics   string   `json:"metrics,omitempty"` // a URL
}

func (s *session) relay(ctx context.Context, o relayOptions) (err error) {
	at, err := o.check()
	if err != nil {
		return err
	}
	lock, key, err := relayKey(s.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	r, err := relay.Start(relay.Config{Key: key, Listen: relayListen(o.listen), Limits: o.limits, Log: s.log(slog.LevelWarn)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	line := relayReady{Ready: true, Addresses: r.Addresses()}
	serve := func(ctx context.Context) error { <-ctx.Done(); return nil }
	if o.metrics != "" {
		l, err := net.Listen("tcp", at.String())
		if err != nil {
			return err
		}
		line.Metrics = "http://" + l.Addr().String() + "/metrics"
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", r.Metrics())
		serve = func(ctx context.Context) error { return serveProxy(ctx, l, localOnly(mux)) }
	}
	if err := s.print(line, "Relay at "+strings.Join(line.Addresses, "\n         ")); err != nil {
		return err
	}
	if use := forHomes(line.Addresses); len(use) > 0 {
		s.say("A home uses it with: kindred up --relay %s", strings.Join(use, ","))
	}
	if err := tellSystemd("READY=1"); err != nil {
		return err
	}
	err = serve(ctx)
	return errors.Join(err, tellSystemd("STOPPING=1"))
}

// forHomes returns the addresses that a home is to be told: the best, and the best of TCP for networks that drop UDP.
func forHomes(addresses []string) (use []string) {
	if len(addresses) > 0 {
		use = addresses[:1:1]
	}
	if i := slices.IndexFunc(addresses, func(a string) bool { return strings.Contains(a, "/tcp/") }); i > 0 {
		use = append(use, addresses[i])
	}
	return use
}

// keyRelay is the relay's key in its directory.
const keyRelay = "relay"

// relayKey takes a directory for this process, and returns the relay's key, which is made if there is none.
func relayKey(dir string) (_ *store.DirLock, _ ed25519.PrivateKey, err error) {
	if exists(filepath.Join(dir, kindred.StoreFile)) {
		return nil, nil, hinted(conflict("%s is a member's directory", dir), "a relay has a directory of its own: --dir")
	}
	lock, err := store.Lock(dir)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Release())
		}
	}()
	keys := identity.KeyDir(filepath.Join(dir, kindred.KeysDir))
	signer, err := keys.Open(keyRelay)
	if errors.Is(err, fs.ErrNotExist) {
		signer, err = keys.Create(keyRelay)
	}
	if err != nil {
		return nil, nil, err
	}
	key, ok := signer.(ed25519.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("the relay's key is a %T, want Ed25519", signer)
	}
	return lock, key, nil
}

// relayListen returns where to listen: as the flag says, else on a port of its own, and if this process may and nobody else
// does, on another of UDP and on TCP port 443.
func relayListen(flag []string) []string {
	if len(flag) > 0 {
		return flag
	}
	listen := []string{":4712"}
	if l, err := net.ListenPacket("udp4", ":4713"); err == nil && l.Close() == nil {
		listen = append(listen, "/ip4/0.0.0.0/udp/4713/quic-v1")
	}
	for _, all := range []struct{ network, at string }{{"tcp4", "/ip4/0.0.0.0/tcp/443"}, {"tcp6", "/ip6/::/tcp/443"}} {
		if l, err := net.Listen(all.network, ":443"); err == nil && l.Close() == nil {
			listen = append(listen, all.at)
		}
	}
	return listen
}

// tellSystemd tells whoever started the process how it stands, if they asked (sd_notify(3), Type=notify).
func tellSystemd(state string) error {
	at := os.Getenv("NOTIFY_SOCKET")
	if at == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: at, Net: "unixgram"}) // "@" begins an abstract name
	if err != nil {
		return fmt.Errorf("telling systemd: %w", err)
	}
	_, err = conn.Write([]byte(state))
	return errors.Join(err, conn.Close())
}
