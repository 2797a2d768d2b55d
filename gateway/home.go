package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// grantsFor returns the live grants that are for a leaf and about a thing.
func (g *Gateway) grantsFor(who, thing identity.Chain) (found []tree.Admitted) {
	g.keeper.View(func(s *tree.State) {
		for a := range s.Grants() {
			if t, _, err := grant.Parse(a.Raw); err == nil && t.To(who) && t.On(thing) {
				found = append(found, a)
			}
		}
	})
	return found
}

// How many grants go into one hello, and how many members' entries beside them.
const (
	maxEvidence = 16
	maxMembers  = 44
)

// shown picks, of grants that are for a leaf, the newest that allow it something, each with all that it passes on: as many
// as go into one hello. It returns them with those who have to be proved to be members.
func (g *Gateway) shown(who identity.Chain, found []tree.Admitted, passedOn bool) (grants []tree.Admitted, givers []identity.MemberID) {
	lines := map[identity.MemberID]bool{}
	for _, id := range line(who) {
		lines[id] = true
	}
	trees := map[identity.TreeID]bool{g.keeper.Charter().Tree: true, who.ID.Tree: true} // a proof is shown of each
	for _, a := range slices.Backward(found) {
		if t, _, err := grant.Parse(a.Raw); err != nil || t.Actions == 0 && !passedOn {
			continue
		}
		all, from, more, through := slices.Clone(grants), slices.Clone(givers), maps.Clone(lines), maps.Clone(trees)
		for _, link := range g.keeper.Chain(a.ID) {
			if !slices.ContainsFunc(all, func(b tree.Admitted) bool { return b.ID == link.ID }) {
				all = append(all, link)
			}
			if !link.GiverTree.IsZero() {
				through[link.GiverTree] = true // which proves whom it is from
				continue
			}
			giver, _ := g.member(link.Giver)
			from = append(from, link.Giver)
			for _, id := range line(giver.Chain) {
				more[id] = true
			}
		}
		if len(all) <= maxEvidence && len(more) <= maxMembers && len(through) <= credential.MaxProofs {
			grants, givers, lines, trees = all, from, more, through
		}
	}
	return grants, givers
}

// Prove proves that the caller is live, and the grants it has for a thing.
func (h *home) Prove(ctx context.Context, who credential.Principal, q control.ProofQuery) (control.Evidence, error) {
	if q.Visitor != nil {
		return h.judged(ctx, who, q)
	}
	if q.Member == "" {
		return h.evidence(ctx, who.Chain, q)
	}
	e, err := h.find("", q.Member)
	switch {
	case err != nil:
		return control.Evidence{}, err
	case !who.Owner():
		return control.Evidence{}, refused("only owners ask how others stand")
	case !e.Chain.Kind().Leaf():
		return control.Evidence{}, invalid(fmt.Errorf("%s is of kind %s, and no app, device or service", e.Path(), e.Chain.Kind()))
	}
	return h.evidence(ctx, e.Chain, q)
}

func (g *Gateway) evidence(ctx context.Context, who identity.Chain, q control.ProofQuery) (control.Evidence, error) {
	rendezvous := g.keeper.Rendezvous() // before looking whether the caller is a member still
	self, ok := g.member(who.Member())
	if !ok {
		return control.Evidence{}, refused("you are not a member of this home any more")
	}
	e := control.Evidence{Chain: self.Chain.Raw, Rendezvous: rendezvous, Recipient: g.recipientNamed(who.Member())}
	members := line(self.Chain)
	var grants []tree.GrantID
	var from []identity.TreeID // trees of those who passed on what is shown
	size := 0                  // of what goes into a hello beside the proof
	if q.Thing != "" {
		id, err := identity.ParseMemberID(q.Thing)
		if err != nil {
			return e, invalid(err)
		}
		if thing, ok := g.member(id); ok {
			shown, givers := g.shown(self.Chain, g.grantsFor(self.Chain, thing.Chain), q.PassedOn)
			members = append(members, givers...)
			from, e.Beside = g.givers.prove(ctx, shown)
			for _, a := range shown {
				e.Grants = append(e.Grants, a.Raw)
				grants = append(grants, a.ID)
				raw, by := g.consentsFor(a, who.Member())
				for _, c := range raw {
					size += len(c)
				}
				if size += len(a.Raw); size <= maxShown {
					e.Consents = append(e.Consents, raw...)
					members = g.addOwners(members, by)
				}
			}
		}
	}
	demands := g.demands(self.Chain)
	e.Demands = demands[:min(len(demands), maxDemands)]
	if q.Thing == "" && self.Chain.Kind() == identity.Device {
		for _, id := range line(self.Chain) {
			classes, owners := g.keeper.Classes(id, false)
			for _, c := range classes {
				e.Classes = append(e.Classes, control.Class{Raw: c.Raw, Consents: c.Consents})
			}
			members = g.addOwners(members, owners)
		}
		homes, err := g.homes(ctx, self.Chain)
		if err != nil {
			return e, answer(err)
		}
		e.Homes = homes
	}
	others, err := g.known(q.Other)
	if err != nil {
		return e, err
	}
	also, err := g.also(q.Also)
	if err != nil {
		return e, err
	}
	members = append(members, also...)
	proof, err := g.keeper.Prove(ctx, members, grants, q.MaxAge, append(others, from...)...)
	if err != nil {
		return e, answer(err)
	}
	if e.Proof, err = proof.Marshal(); err != nil {
		return e, err
	}
	g.keeper.View(func(s *tree.State) { e.Self, _ = s.Value(tree.MemberKey(who.Member())) })
	return e, nil
}

// shownBy returns what of its evidence a member shows to others: of what is said to it about itself, nothing.
func shownBy(e control.Evidence) control.Evidence {
	return control.Evidence{Chain: e.Chain, Proof: e.Proof, Grants: e.Grants, Consents: e.Consents, Beside: e.Beside}
}

// maxShown is how many bytes grants and the consents to them may have for these to go into one hello, of which the proof
// takes the rest. Without them an agreement allows nothing: the newest have them.
const maxShown = credential.MaxHello * 3 / 4

// consentsFor returns the consents to a grant that a service has to show: that of its own, and one second of whoever is
// still an owner, the root key's before others.
func (g *Gateway) consentsFor(a tree.Admitted, service identity.MemberID) (raw [][]byte, by []identity.MemberID) {
	seconded := false
	all, who := g.keeper.Consents(a.ID)
	for i, id := range who {
		_, live := g.member(id)
		switch {
		case id == service:
		case seconded || !live && !id.IsZero():
			continue
		default:
			seconded = true
		}
		raw, by = append(raw, all[i]), append(by, id)
	}
	return raw, by
}

// maxDemands is how many demands a service is shown at a time: when it has answered these, it is shown the next.
const maxDemands = 4

// addOwners adds to members who is an owner and is not there: those whom consents rest on. One who is gone is left out.
func (g *Gateway) addOwners(members, owners []identity.MemberID) []identity.MemberID {
	for _, id := range owners {
		if e, ok := g.member(id); ok && e.Chain.Kind() == identity.Owner && !slices.Contains(members, id) {
			members = append(members, id)
		}
	}
	return members
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
	id, err := h.keeper.Grant(ctx, who.Chain, g.Raw)
	if err != nil {
		return control.None{}, answer(err)
	}
	if t, _, err := grant.Parse(g.Raw); err == nil {
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

// History tells owners what happened, and others what concerns them, or what is sealed where something of theirs is.
func (h *home) History(ctx context.Context, who credential.Principal, q control.HistoryQuery) (control.History, error) {
	if q.Sealed {
		return h.sealedHistory(ctx, who, q)
	}
	f := journal.Filter{Since: q.Since, Until: q.Until, Limit: min(q.Limit, control.MaxHistory)}
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
	if !who.Owner() {
		c, err := h.concernOf(ctx, who, q)
		if err != nil {
			return control.History{}, err
		}
		f.Match = c.only()
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
