package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/keeper"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/tree"
)

// home answers control calls. Who calls is verified, and looked up in the roster for every call: what was taken away
// a moment ago is refused here whatever its proof says.
type home struct{ *Gateway }

var _ control.Home = (*home)(nil)

// handler serves the control API to verified callers.
func (h *home) handler(caller func(context.Context) (credential.Principal, bool)) http.Handler {
	members := control.Handler(h, func(ctx context.Context) (credential.Principal, bool) {
		who, ok := caller(ctx)
		return who, ok && h.isLive(who.Chain)
	}, h.cfg.Log)
	others := control.VisitorHandler(visitors{h.Gateway}, func(ctx context.Context) (credential.Principal, bool) {
		who, ok := caller(ctx)
		return who, ok && h.welcome(who) == nil
	}, h.cfg.Log)
	mux := http.NewServeMux()
	mux.Handle("POST "+control.VisitorAskPath, asksAbroad{h.Gateway})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if who, ok := caller(r.Context()); ok && h.visits(who.Chain) {
			others.ServeHTTP(w, r)
			return
		}
		members.ServeHTTP(w, r)
	})
	return mux
}

// isLive reports whether a member and all above it are in the roster with these certificates.
func (g *Gateway) isLive(c identity.Chain) (live bool) {
	g.keeper.View(func(s *tree.State) {
		live = !slices.ContainsFunc(c.Line, func(l identity.Link) bool {
			e, ok := s.Member(l.Member)
			return !ok || e.Certificate != l.Digest
		})
	})
	return live
}

// checkLive is isLive with a reason.
func (g *Gateway) checkLive(c identity.Chain) error {
	if !g.isLive(c) {
		return fmt.Errorf("%s is not a member any more", c.ID.Path)
	}
	return nil
}

// live proves the members on a chain that a caller shows, for the gateway's own node: callers need no proof here. The
// heads that they show are looked at all the same: one that is newer than the roster tells that this gateway was
// restored from an old copy.
func (g *Gateway) live(ctx context.Context, hello credential.Hello) (credential.Proof, error) {
	charter := g.keeper.Charter()
	if p, ok, err := g.liveVisitor(ctx, hello); ok {
		return p, err
	}
	c, err := identity.Verify(hello.Chain, charter.Tree, charter.RootCertificate(), g.cfg.Clock())
	if err != nil {
		return credential.Proof{}, err
	}
	for _, p := range hello.Proofs {
		if id, err := p.Tree(); err != nil || id != charter.Tree {
			continue
		}
		if err := g.keeper.Seen(ctx, p.Head); err != nil {
			g.cfg.Log.Warn("a caller showed a head that is not this roster's", "who", c.ID.Path, "error", err)
		}
	}
	if !g.isLive(c) {
		return credential.Proof{}, fmt.Errorf("gateway: %s is not in the roster: %w", c.ID.Path, credential.ErrRevoked)
	}
	return g.keeper.Prove(ctx, line(c), nil, 0)
}

// line returns the members on a chain.
func line(c identity.Chain) []identity.MemberID {
	ids := make([]identity.MemberID, len(c.Line))
	for i, l := range c.Line {
		ids[i] = l.Member
	}
	return ids
}

// Resolve says where a member is, to whoever has some right to it.
func (h *home) Resolve(_ context.Context, who credential.Principal, q control.Lookup) (control.Contact, error) {
	e, err := h.find(q.Path, q.Member)
	if err != nil {
		return control.Contact{}, err
	}
	if !h.concerns(who.Chain, e.Chain) {
		if q.Path != "" && h.passesOn(who.Chain) {
			return control.Contact{Chain: e.Chain.Raw}, nil // who it is, to be given something, and not where
		}
		return control.Contact{}, notFound(q.Path) // whether it exists is nobody else's business
	}
	return h.contact(e.Chain), nil
}

func (h *home) find(path identity.Path, member string) (e tree.Entry, err error) {
	var ok bool
	if member != "" {
		id, err := identity.ParseMemberID(member)
		if err != nil {
			return e, invalid(err)
		}
		e, ok = h.member(id)
	} else {
		h.keeper.View(func(s *tree.State) { e, ok = s.At(path) })
	}
	if !ok {
		return e, notFound(path)
	}
	return e, nil
}

// concerns reports whether a leaf has some right to a member: to itself, to those above it, to the gateway, as an
// owner to everybody, or by a grant.
func (h *home) concerns(who, member identity.Chain) bool {
	if who.Owner() || member.Member() == h.started().Self().Member() || who.ID.Path.Within(member.ID.Path) {
		return true
	}
	return len(h.grantsFor(who, member)) > 0
}

// Roster lists what of the tree the caller may see.
func (h *home) Roster(_ context.Context, who credential.Principal, _ control.None) (control.Roster, error) {
	return h.roster(who.Chain), nil
}

func (g *Gateway) roster(who identity.Chain) control.Roster {
	var r control.Roster
	var entries []tree.Entry
	var ids []tree.GrantID
	values := map[identity.MemberID][]byte{}
	grants, parties := g.visible(who)
	g.keeper.View(func(s *tree.State) {
		entries = slices.Collect(s.Members())
		for _, e := range entries {
			values[e.Chain.Member()], _ = s.Value(tree.MemberKey(e.Chain.Member()))
		}
		for _, a := range grants {
			if value, ok := s.Value(tree.GrantKey(a.ID)); ok {
				r.Grants = append(r.Grants, control.Grant{Raw: a.Raw, Value: value})
				ids = append(ids, a.ID)
			}
		}
		for o := range s.Recognitions() {
			if value, ok := s.Value(tree.RecognitionKey(o.Other)); ok && !who.ActsFor().IsZero() {
				r.Others = append(r.Others, control.Other{Value: value})
			}
		}
	})
	for i, id := range ids {
		r.Grants[i].Consents, _ = g.keeper.Consents(id)
	}
	if who.Owner() {
		for _, m := range g.keeper.GoneMakers() {
			r.Gone = append(r.Gone, control.Gone{Member: m.Gone.String(), By: m.By.String(), Since: m.Since})
		}
	}
	h := &home{g}
	for _, e := range entries {
		id := e.Chain.Member()
		if !h.concerns(who, e.Chain) {
			if parties[id] {
				r.Members = append(r.Members, control.Member{Chain: e.Chain.Raw, Path: e.Path(), Kind: e.Chain.Kind().String()})
			}
			continue
		}
		m := control.Member{
			Chain: e.Chain.Raw, Value: values[id], Path: e.Path(), Kind: e.Chain.Kind().String(),
			Label: e.Label, Since: time.Unix(e.Since, 0), Limits: e.Limits,
		}
		if who.Owner() {
			m.Address, _ = g.keeper.Address(id)
			m.Classes = g.classes(e.Chain)
		}
		if e.Chain.Kind() == identity.Device {
			online := id == g.started().Self().Member() || g.watchers.online(id)
			m.Online = &online
		}
		r.Members = append(r.Members, m)
	}
	return r
}

// Grant admits a grant.
func (h *home) Grant(ctx context.Context, who credential.Principal, g control.SignedGrant) (control.None, error) {
	id, already, err := h.keeper.Grant(ctx, who.Chain, g.Raw)
	if err != nil {
		return control.None{}, answer(err)
	}
	if t, _, err := grant.Parse(g.Raw); err == nil && !already {
		thing, _ := h.member(t.Thing.Member)
		var with journal.Party
		h.keeper.View(func(s *tree.State) { with = subjectOf(s, t) })
		h.tell(ctx, journal.Share, who.Chain, party(thing.Chain), with, id)
	}
	return control.None{}, nil
}

// Limit changes how fresh a proof a thing asks for.
func (h *home) Limit(ctx context.Context, who credential.Principal, l control.Limits) (control.None, error) {
	e, err := h.find("", l.Member)
	if err != nil {
		return control.None{}, err
	}
	if err := h.keeper.Limit(ctx, who.Chain, e.Chain.Member(), l.Limits); err != nil {
		return control.None{}, answer(err)
	}
	h.tell(ctx, journal.Limit, who.Chain, party(e.Chain), journal.Party{}, tree.GrantID{})
	return control.None{}, nil
}

// Announce files where the caller can be reached.
func (h *home) Announce(ctx context.Context, who credential.Principal, a control.SignedAddress) (control.Contact, error) {
	if err := h.keeper.SetAddress(ctx, who.Chain, a.Address); err != nil {
		return control.Contact{}, answer(err)
	}
	return h.contact(h.started().Self()), nil
}

// clocksApart is how far ahead the clock of a thing may be for what it tells to be among what happened lately.
const clocksApart = time.Hour

// History tells owners what happened, and others what concerns them, or what is sealed where something of theirs is.
func (h *home) History(ctx context.Context, who credential.Principal, q control.HistoryQuery) (control.History, error) {
	if q.Limit < 0 {
		return control.History{}, invalid(fmt.Errorf("the newest %d of what happened", q.Limit))
	}
	if q.Sealed {
		return h.sealedHistory(ctx, who, q)
	}
	if q.Until.IsZero() { // else whoever dates what it tells ahead would crowd out all others for as long
		q.Until = h.cfg.Clock().Add(clocksApart)
	}
	f := journal.Filter{Since: q.Since, Until: q.Until, Limit: min(q.Limit, control.MaxHistory), Keys: h.memberKeys(ctx)}
	for id, to := range map[string]*journal.Party{q.Caller: &f.Who, q.Thing: &f.Thing} {
		if id == "" {
			continue
		}
		member, err := identity.ParseMemberID(id)
		if err != nil {
			return control.History{}, invalid(err)
		}
		*to = journal.Party{Member: member, ID: identity.ID{Tree: who.ID.Tree}}
	}
	if err := h.started().Journal().Sync(ctx); err != nil {
		return control.History{}, err
	}
	match := func(journal.Item) (bool, error) { return true, nil }
	if !who.Owner() {
		c, err := h.concernOf(ctx, who, q)
		if err != nil {
			return control.History{}, err
		}
		match = c.only()
	}
	f.Match = func(i journal.Item) (bool, error) {
		if !h.mayTell(i) && !isFault(i, f.Keys) {
			return false, nil
		}
		return match(i)
	}
	items, err := h.replica.Query(ctx, f)
	if err != nil {
		return control.History{}, err
	}
	var out control.History
	for _, item := range slices.Backward(items) { // the newest so many, the oldest first
		out.Entries = append(out.Entries, item.Entry)
	}
	out.Seals, err = h.replica.Seals(ctx, items)
	return out, err
}

// tell writes a change of the tree into the gateway's journal.
func (g *Gateway) tell(ctx context.Context, op journal.Op, by identity.Chain, thing, with journal.Party, id tree.GrantID) {
	g.tellOf(ctx, op, by, thing, with, id, "")
}

// tellOf is tell about something that has a name alone: another tree.
func (g *Gateway) tellOf(ctx context.Context, op journal.Op, by identity.Chain, thing, with journal.Party, id tree.GrantID, name string) {
	e := journal.Entry{
		Time: g.cfg.Clock(), Caller: party(by), Op: op, Outcome: journal.Served, Thing: thing, With: with, Reason: name,
	}
	if !id.IsZero() {
		e.Grant = id.String()
	}
	err := g.started().Journal().Append(ctx, e)
	if err == nil {
		err = g.bindOwn(ctx)
	}
	if err != nil {
		g.cfg.Log.Error("writing the journal", "error", err)
	}
}

func party(c identity.Chain) journal.Party {
	if len(c.Line) == 0 {
		return journal.Party{}
	}
	return journal.Party{Member: c.Member(), ID: c.ID}
}

// The errors that callers are told.

func refused(message string) error { return &control.Error{Code: control.Refused, Message: message} }

func invalid(err error) error { return &control.Error{Code: control.Invalid, Message: err.Error()} }

func notFound(path identity.Path) error {
	if path == "" {
		return &control.Error{Code: control.NotFound, Message: "there is no such member, or it is not shared with you"}
	}
	return &control.Error{Code: control.NotFound, Message: fmt.Sprintf("there is no %s, or it is not shared with you", path)}
}

// answer turns what the keeper says into what the caller, a member, is told.
func answer(err error) error {
	e := &control.Error{Code: control.Conflict, Message: err.Error()}
	switch {
	case errors.Is(err, keeper.ErrDenied):
		e.Code = control.Refused
	case errors.Is(err, keeper.ErrNotLive):
		e.Code = control.NotFound
	case errors.Is(err, keeper.ErrBehind), errors.Is(err, store.ErrFull), errors.Is(err, context.DeadlineExceeded):
		e.Code = control.Unavailable
	}
	return e
}
