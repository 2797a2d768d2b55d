package kindred

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// KeyRoot is the key of the tree's root, in the directory where the tree was made until its owner moves it away.
const KeyRoot = "root"

// leafLife is how long the certificates of new members last.
const leafLife = 5 * 365 * 24 * time.Hour

// An Invitee is a member to be let in.
type Invitee struct {
	Kind    identity.Kind
	Path    identity.Path
	Label   string
	Parents bool          // make the places above it that are missing
	Life    time.Duration // of the invitation; 0: pairing.DefaultLife
}

const invitePrefix = "invite/"

// Invite makes an invitation and makes it known to the gateway. The line of text is for the new member and nobody
// else; it is kept here until the member is in.
func (n *Node) Invite(ctx context.Context, who Invitee) (pairing.Invitation, string, error) {
	inv, text, err := n.invite(ctx, who)
	if err != nil {
		return inv, "", fmt.Errorf("kindred: inviting %s: %w", who.Path, err)
	}
	return inv, text, nil
}

func (n *Node) invite(ctx context.Context, who Invitee) (pairing.Invitation, string, error) {
	var none pairing.Invitation
	if who.Kind == identity.Owner {
		if _, err := n.authorityAbove(who.Path); err != nil {
			return none, "", err
		}
	}
	if _, err := n.lookUp(ctx, control.Lookup{Member: n.gateway.Member.String()}); err != nil { // where it is by now
		n.log.Info("the gateway does not say where it is", "error", err)
	}
	n.tellRecipient(ctx) // before there is anybody who seals to it
	gateway, err := n.contactFor(ctx, n.gateway.Member)
	if err != nil {
		return none, "", err
	}
	charter := n.Charter()
	addresses := bare(gateway.Addresses)
	inv, text, err := pairing.NewInvitation(n.key, pairing.Terms{
		Tree: n.self.ID.Tree, Epoch: charter.Epoch, Charter: charter.Digest,
		Gateway: n.gateway.Member, GatewayKey: gateway.Key, Addresses: addresses[:min(len(addresses), 8)],
		Kind: who.Kind, Path: who.Path, Life: who.Life,
	}, n.cfg.Clock())
	if err != nil {
		return none, "", err
	}
	if err := n.db.Save(ctx, map[string][]byte{invitePrefix + inv.ID().String(): []byte(text)}); err != nil {
		return none, "", err
	}
	return inv, text, n.Gateway().Invite(ctx, inv.Offer(who.Label, who.Parents))
}

// bare drops the name of the key at the end of addresses, and what is then there twice. The names of relays stay.
func bare(addresses []string) []string {
	var out []string
	for _, a := range addresses {
		if at := strings.LastIndex(a, "/p2p/"); at >= 0 && !strings.HasSuffix(a, "/p2p-circuit") {
			a = a[:at]
		}
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// AwaitClaim waits until somebody has claimed an invitation, or it is over.
func (n *Node) AwaitClaim(ctx context.Context, inv pairing.Invitation, after pairing.Stage) (pairing.Request, error) {
	for {
		r, err := n.Gateway().Join(ctx, control.JoinQuery{ID: inv.ID(), After: after})
		var e *control.Error
		switch {
		case ctx.Err() != nil:
			return r, context.Cause(ctx)
		case errors.As(err, &e) && e.Code != control.Unavailable:
			return r, err
		case err == nil && r.Stage > after:
			return r, nil
		}
	}
}

// Waiting returns the invitation that a request belongs to, if this node made it.
func (n *Node) Waiting(ctx context.Context, r pairing.Request) (pairing.Invitation, error) {
	text, err := n.db.Load(ctx, invitePrefix+r.ID.String())
	if err != nil || text == nil {
		return pairing.Invitation{}, errors.Join(err, fmt.Errorf("kindred: %s was invited from another device", r.Path))
	}
	return pairing.Read(string(text))
}

// Digits returns the six digits that the new member shows too if nobody came between.
func (n *Node) Digits(inv pairing.Invitation, r pairing.Request) (string, error) {
	if r.Claim == nil {
		return "", fmt.Errorf("kindred: nobody has claimed the invitation of %s", r.Path)
	}
	keys, err := r.Claim.Check(inv)
	if err != nil {
		return "", err
	}
	return inv.Digits(keys)
}

// Confirm lets in who claimed an invitation. It needs the key of whoever is right above the new member.
func (n *Node) Confirm(ctx context.Context, inv pairing.Invitation, r pairing.Request) error {
	fail := func(err error) error { return fmt.Errorf("kindred: confirming %s: %w", r.Path, err) }
	if r.Claim == nil {
		return fail(errors.New("nobody has claimed the invitation"))
	}
	keys, err := r.Claim.Check(inv)
	if err != nil {
		return fail(err)
	}
	authority, err := n.authorityAbove(inv.Path)
	if err != nil {
		return fail(err)
	}
	now := n.cfg.Clock()
	chain, err := pairing.Issue(authority, inv.Kind, inv.Path, keys, now, now.Add(leafLife))
	if err != nil {
		return fail(err)
	}
	if err := n.Gateway().Answer(ctx, control.JoinAnswer{ID: inv.ID(), Chain: chain}); err != nil {
		return fail(err)
	}
	return nil
}

// Forget drops what is kept of an invitation that is over.
func (n *Node) Forget(ctx context.Context, id pairing.ID) error {
	return n.db.Save(ctx, map[string][]byte{invitePrefix + id.String(): nil})
}

// authorityAbove returns the authority that signs the member at a path, if its key is here.
func (n *Node) authorityAbove(path identity.Path) (*identity.Authority, error) {
	above := path.Parent()
	if above == "" {
		key, err := n.keys.Open(KeyRoot)
		if err != nil {
			return nil, fmt.Errorf("what stands right below the root takes the root key: %w", err)
		}
		return identity.RootAuthority(n.self.ID.Tree, n.Charter().Root, key)
	}
	a, err := n.Authority()
	if err != nil || a.Path() != above {
		return nil, fmt.Errorf("%s is signed by %s, whose key is not on this device", path, above)
	}
	return a, nil
}

// Share gives a grant for the owner or person that the node acts for, and returns its ID. Tree, ID, giver and time of
// the terms are filled in.
func (n *Node) Share(ctx context.Context, t grant.Terms) (grant.Terms, error) {
	t.Tree, t.Giver = n.self.ID.Tree, n.self.ActsFor()
	return n.give(ctx, t)
}

// give signs a grant and hands it in.
func (n *Node) give(ctx context.Context, t grant.Terms) (_ grant.Terms, err error) {
	t.Time = n.cfg.Clock().Unix()
	if t.ID, err = tree.NewGrantID(rand.Reader); err != nil {
		return t, err
	}
	raw, err := grant.Sign(n.key, n.self.Raw, t)
	if err != nil {
		return t, err
	}
	return t, n.Gateway().Grant(ctx, raw)
}

// A Roster is the tree as the node may see it.
type Roster struct {
	Tree    identity.TreeID
	Members []RosterMember // by path
	Grants  []RosterGrant
	Others  []RosterOther // by name
	Fetched time.Time     // when the gateway said so

	gateway identity.MemberID
	gone    []tree.Making // members that are there no more, and what they made is
}

// A RosterMember is a member in a Roster.
type RosterMember struct {
	control.Member
	Who identity.Chain
}

// A RosterGrant is a grant in a Roster.
type RosterGrant struct {
	control.Grant
	Terms     grant.Terms
	Statement signed.Digest // the signed grant's name, by which others pass it on
	Paused    bool
	At        identity.ID // of a grant by another home: what there it is about
}

const rosterKey = "roster"

// Roster fetches what of the tree the node may see. Owners' apps keep a copy for when the gateway is out of reach.
func (n *Node) Roster(ctx context.Context) (Roster, error) {
	soon, cancel := context.WithTimeout(ctx, askGateway)
	defer cancel()
	r, err := n.home.Roster(soon)
	n.link.tried(n.cfg.Clock(), err)
	if err != nil {
		kept, kerr := n.keptRoster(ctx)
		if kerr != nil || kept.Fetched.IsZero() {
			return Roster{}, err
		}
		n.log.Info("the gateway is out of reach, showing what was known", "error", err)
		return kept, nil
	}
	roster, err := n.readRoster(r, n.cfg.Clock())
	if err != nil || !n.self.Owner() {
		return roster, err
	}
	return roster, n.keepRoster(ctx, r, roster)
}

type storedRoster struct {
	Roster  control.Roster
	Fetched time.Time
}

func (n *Node) keptRoster(ctx context.Context) (Roster, error) {
	data, err := n.db.Load(ctx, rosterKey)
	if err != nil || data == nil {
		return Roster{}, err
	}
	var s storedRoster
	if err := json.Unmarshal(data, &s); err != nil {
		return Roster{}, fmt.Errorf("kindred: reading the copy of the roster: %w", err)
	}
	return n.readRoster(s.Roster, s.Fetched)
}

// keepRoster stores a copy, and where the members are.
func (n *Node) keepRoster(ctx context.Context, r control.Roster, roster Roster) error {
	data, err := json.Marshal(storedRoster{r, roster.Fetched})
	if err != nil {
		return err
	}
	if err := n.db.Save(ctx, map[string][]byte{rosterKey: data}); err != nil {
		return err
	}
	for _, m := range roster.Members {
		if m.Address == nil {
			continue
		}
		found := control.Contact{Chain: m.Chain, Address: m.Address}
		if m.Who.Member() == n.gateway.Member { // whose relays it tells with its address, and not here
			if known, err := n.remembered(ctx, n.gateway.Member); err == nil {
				found.Relays = known.Relays
			}
		}
		c, err := n.contactOf(found, roster.Fetched)
		if err == nil {
			err = n.remember(ctx, found, c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readRoster checks the certificates and reads the grants.
func (n *Node) readRoster(r control.Roster, at time.Time) (Roster, error) {
	out := Roster{Tree: n.self.ID.Tree, Fetched: at, gateway: n.gateway.Member}
	for _, m := range r.Members {
		from, err := identity.ValidFrom(m.Chain)
		if err != nil {
			return out, err
		}
		chain, err := identity.Verify(m.Chain, n.trust.tree(), n.Charter().RootCertificate(), from)
		if err != nil {
			return out, err
		}
		out.Members = append(out.Members, RosterMember{m, chain})
	}
	slices.SortFunc(out.Members, func(a, b RosterMember) int { return cmp.Compare(a.Who.ID.Path, b.Who.ID.Path) })
	for _, g := range r.Grants {
		t, s, err := grant.Parse(g.Raw)
		if err != nil {
			return out, err
		}
		var entry tree.Grant
		if err := signed.Unmarshal(g.Value, &entry); err != nil {
			return out, err
		}
		out.Grants = append(out.Grants, RosterGrant{Grant: g, Terms: t, Statement: s.Digest, Paused: entry.Paused})
	}
	for _, g := range r.Gone {
		gone, err := identity.ParseMemberID(g.Member)
		if err != nil {
			return out, err
		}
		by, err := identity.ParseMemberID(g.By)
		if err != nil {
			return out, err
		}
		out.gone = append(out.gone, tree.Making{By: by, Since: g.Since, Gone: gone})
	}
	var err error
	out.Others, err = n.readOthers(r.Others)
	return out, err
}

// At returns the member at a path.
func (r Roster) At(path identity.Path) (RosterMember, bool) {
	for _, m := range r.Members {
		if m.Who.ID.Path == path {
			return m, true
		}
	}
	return RosterMember{}, false
}

// Stands reports whether a leaf is a member with the certificates given.
func (r Roster) Stands(who identity.Chain) bool {
	m, ok := r.At(who.ID.Path)
	return ok && slices.EqualFunc(m.Who.Line, who.Line, func(a, b identity.Link) bool { return a.Digest == b.Digest })
}

// Name returns the path of a member, with the name of its home if it is of another that was given something; or its ID if
// it is not in the roster any more.
func (r Roster) Name(member identity.TreeMember) string {
	for _, m := range r.Members {
		if m.Who.TreeMember() == member {
			return string(m.Who.ID.Path)
		}
	}
	for _, g := range r.Grants {
		if s := g.Terms.Subject; s.TreeMember() == member && s.Path != "" {
			return r.Elsewhere(identity.ID{Tree: s.Tree, Path: s.Path})
		}
	}
	return member.Member.String()
}

// GrantsNamed returns the grants whose ID begins with a prefix such as "g-7kqm".
func (r Roster) GrantsNamed(prefix string) []RosterGrant {
	var found []RosterGrant
	for _, g := range r.Grants {
		if strings.HasPrefix(g.Terms.ID.String(), prefix) {
			found = append(found, g)
		}
	}
	return found
}

// ShortID returns as much of a grant's ID as tells it from the others, and four characters at least.
func (r Roster) ShortID(id tree.GrantID) string {
	full := id.String()
	for n := len("g-") + 4; n < len(full); n++ {
		if len(r.GrantsNamed(full[:n])) <= 1 {
			return full[:n]
		}
	}
	return full
}

// isThing reports whether somebody has to be told of what is taken away. The gateway is told anyhow.
func (r Roster) isThing(m RosterMember) bool {
	return m.Who.Kind() == identity.Device && !r.IsGateway(m)
}

// IsGateway reports whether a member is the home's gateway, which is never taken away.
func (r Roster) IsGateway(m RosterMember) bool { return m.Who.Member() == r.gateway }

// Grant returns what takes a grant away, and the things to tell.
func (r Roster) Grant(g RosterGrant) Target {
	t := Target{Grant: g.Terms.ID, Value: g.Value}
	for _, m := range r.Members {
		if r.isThing(m) && g.Terms.On(m.Who) {
			t.Things = append(t.Things, m.Who.Member())
		}
	}
	return t
}

// Member returns what takes a member off the tree, and the things to tell: those it has grants for, and for somebody
// who acts for an owner all of them.
func (r Roster) Member(m RosterMember) Target {
	t := Target{Member: m.Who.Member(), Value: m.Value, Chain: m.Chain}
	below := map[identity.TreeMember]bool{}
	for _, other := range r.Members {
		below[other.Who.TreeMember()] = other.Who.ID.Path.Within(m.Who.ID.Path)
	}
	for _, d := range r.Members {
		concerned := m.Who.Owner() || slices.ContainsFunc(r.Grants, func(g RosterGrant) bool {
			t := g.Terms
			return (below[t.Subject.TreeMember()] || below[t.GiverMember()]) && t.On(d.Who)
		})
		if r.isThing(d) && concerned && !below[d.Who.TreeMember()] {
			t.Things = append(t.Things, d.Who.Member())
		}
	}
	return t
}

// SetLimits changes how fresh a proof a thing asks for.
func (n *Node) SetLimits(ctx context.Context, thing identity.MemberID, limits []tree.Limit) error {
	return n.Gateway().Limit(ctx, control.Limits{Member: thing.String(), Limits: limits})
}

// Current reads a member's roster entry.
func (m RosterMember) Current() (entry tree.Member, err error) {
	err = signed.Unmarshal(m.Value, &entry)
	return entry, err
}
