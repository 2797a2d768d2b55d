package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/gateway"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/thing"
)

// addressesFile stands in a gateway's directory and says where the gateway is, one multiaddr a line, for the owner's
// directory around it: the gateway may listen elsewhere than it did when the tree was made.
const addressesFile = "addresses"

// patience is how long a command waits for another one that uses the directory at the moment.
const patience = 3 * time.Second

// log returns where a command's packages log: nowhere, unless the user wants to see it.
func (s *session) log(level slog.Level) *slog.Logger {
	if s.verbose {
		level = slog.LevelDebug
	}
	options := &slog.HandlerOptions{Level: level}
	if s.json {
		return slog.New(slog.NewJSONHandler(s.err, options))
	}
	return slog.New(slog.NewTextHandler(s.err, options))
}

const levelSilent = slog.LevelError + 4

// config returns how a member that only calls others is opened.
func (s *session) config() (kindred.Config, error) {
	cfg := kindred.Config{Dir: s.dir, Log: s.log(levelSilent)}
	data, err := os.ReadFile(filepath.Join(gateway.Dir(s.dir), addressesFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cfg, err
	}
	cfg.GatewayAddresses = strings.Fields(string(data))
	return cfg, nil
}

// with calls f with the directory's member on the network. If nobody answers, that is the gateway.
func (s *session) with(ctx context.Context, f func(*kindred.Node) error) (err error) {
	defer func() { err = s.unreached(err, "the gateway") }()
	cfg, err := s.config()
	if err != nil {
		return err
	}
	n, err := patient(ctx, func() (*kindred.Node, error) { return kindred.Open(ctx, cfg) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	return f(n)
}

// withThing is with for commands that use a thing. If nobody answers, that is the thing.
func (s *session) withThing(ctx context.Context, arg string, f func(*thing.Client) error) error {
	return s.with(ctx, func(n *kindred.Node) error { return s.use(ctx, n, arg, f) })
}

// use calls f with a client for the thing that an argument names.
func (s *session) use(ctx context.Context, n *kindred.Node, arg string, f func(*thing.Client) error) error {
	do := func(t *thing.Client) error {
		if t.Base.String() == n.Gateway().Base {
			return usage("%s is the home's gateway, and no thing", arg)
		}
		return s.unreached(f(t), arg)
	}
	if s.at != "" {
		t, err := s.thingAt(n, arg)
		if err != nil {
			return err
		}
		return do(t)
	}
	id, err := anywhere(ctx, n, arg)
	if err != nil {
		return err
	}
	err = n.UseID(ctx, id, do)
	if errors.Is(err, peer.ErrUnreachable) && id.Tree == n.Self().ID.Tree {
		if c, rerr := n.Resolve(ctx, id.Path); rerr == nil && c.Chain.Kind() != identity.Device {
			return usage("%s is of kind %s: devices are what can be used", id.Path, c.Chain.Kind())
		}
	}
	if id.Tree != n.Self().ID.Tree && errors.Is(err, credential.ErrStranger) {
		return hinted(notFound("%s is of a home that is not known here", arg), knownHint)
	}
	return err
}

// unreached names whom an error says to be unreachable.
func (s *session) unreached(err error, who string) error {
	var told *failure
	if errors.Is(err, thing.ErrLost) && !errors.As(err, &told) {
		return &failure{Code: "unreachable", Message: "the connection to " + who + " was lost and did not come back", Hint: unreachableHint, exit: exitUnreachable, cause: err}
	}
	if !errors.Is(err, peer.ErrUnreachable) && !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &told) {
		return err
	}
	s.log(levelSilent).Debug("nobody answers", "who", who, "error", err)
	return &failure{Code: "unreachable", Message: who + " cannot be reached", Hint: unreachableHint, exit: exitUnreachable, cause: err}
}

// patient repeats what fails because another command uses the directory, for a while.
func patient[T any](ctx context.Context, f func() (T, error)) (T, error) {
	deadline := time.Now().Add(patience)
	for {
		v, err := f()
		if !errors.Is(err, store.ErrInUse) || time.Now().After(deadline) {
			return v, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return v, context.Cause(ctx)
		}
	}
}

// path reads an argument that names a member of the node's own tree: its path, or its SPIFFE ID.
func path(n *kindred.Node, arg string) (identity.Path, error) {
	if !strings.Contains(arg, "://") {
		p, err := identity.ParsePath(arg)
		if err != nil {
			return "", usage("%q is no path such as home/lock", arg)
		}
		return p, nil
	}
	id, err := identity.ParseID(arg)
	if err != nil {
		return "", usage("%q is no ID such as spiffe://TREE/home/lock", arg)
	}
	if id.Tree != n.Self().ID.Tree {
		return "", notFound("%s is of another home, and this is for members of one's own", arg)
	}
	return id.Path, nil
}

// member finds the member that an argument names.
func member(n *kindred.Node, r kindred.Roster, arg string) (kindred.RosterMember, error) {
	p, err := path(n, arg)
	if err != nil {
		return kindred.RosterMember{}, err
	}
	m, ok := r.At(p)
	if !ok {
		return m, hinted(notFound("there is no %s on the tree", p), `"kindred tree" shows who and what there is`)
	}
	return m, nil
}

// thingAt calls whoever is at an address, which may be somebody of another tree.
func (s *session) thingAt(n *kindred.Node, arg string) (*thing.Client, error) {
	id, err := identity.ParseID(arg)
	if err != nil {
		p, err := path(n, arg)
		if err != nil {
			return nil, err
		}
		id = identity.ID{Tree: n.Self().ID.Tree, Path: p}
	}
	at, err := n.At(id, s.at)
	if err != nil {
		return nil, usage("--at: %s", err)
	}
	base, err := url.Parse(at)
	if err != nil {
		return nil, usage("--at: %s", err)
	}
	return n.Client(base), nil
}

// roster fetches the tree, and says so if it had to be taken from memory.
func (s *session) roster(ctx context.Context, n *kindred.Node) (kindred.Roster, error) {
	now := s.now()
	r, err := n.Roster(ctx)
	if err == nil && r.Fetched.Before(now) {
		s.say("The gateway is out of reach. This is how it was at %s.", stamp(r.Fetched, now))
		return r, nil
	}
	if err == nil { // what was taken back without the gateway, it hears of now
		err = n.Deliver(ctx)
	}
	return r, err
}

// stamp writes a moment as short as it can be told now: "14:03", "Sat 21 Nov 14:03", "21 Nov 2025 14:03".
func stamp(t, now time.Time) string {
	t = t.In(now.Location())
	switch {
	case t.Year() == now.Year() && t.YearDay() == now.YearDay():
		return t.Format("15:04")
	case t.Sub(now).Abs() < 180*24*time.Hour:
		return t.Format("Mon 2 Jan 15:04")
	}
	return t.Format("2 Jan 2006 15:04")
}
