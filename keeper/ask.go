package keeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/tree"
)

// Admit puts members into the roster, the upper ones first, or gives live ones new certificates, labels or limits: all
// of them or none, at most 512; see tree.Admission. A live member keeps the label and the limits that an admission leaves
// empty. Admitting what is in the roster already changes nothing. by is the verified leaf that asks.
func (k *Keeper) Admit(ctx context.Context, by identity.Chain, admissions []tree.Admission) error {
	if err := k.admit(ctx, by, admissions); err != nil {
		return fmt.Errorf("keeper: admitting: %w", err)
	}
	return nil
}

func (k *Keeper) admit(ctx context.Context, by identity.Chain, admissions []tree.Admission) error {
	if n := len(admissions); n == 0 || n > maxAdmissions {
		return fmt.Errorf("%d members, want 1 to %d", n, maxAdmissions)
	}
	end, err := k.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := k.checkLive(by); err != nil {
		return err
	}
	u, event := tree.Update{By: by.Member()}, Event{}
	for _, a := range admissions {
		if err := checkAdmission(a, k.clock()); err != nil {
			return err
		}
		a, changed, err := k.admission(by, a)
		if err != nil {
			return err
		}
		if changed {
			u.Members = append(u.Members, a)
			event.Grants = append(event.Grants, k.leftBehind(a.Chain)...)
		}
	}
	if len(u.Members) == 0 {
		return nil
	}
	k.takeBack(&u, &event)
	return k.apply(ctx, u, event)
}

// admission checks that by may admit a member, and completes the admission of a live one. It reports whether it
// changes anything.
func (k *Keeper) admission(by identity.Chain, a tree.Admission) (_ tree.Admission, changed bool, err error) {
	id := a.Chain.Member()
	if err := k.mayAdmit(by, a.Chain); err != nil {
		return a, false, err
	}
	if k.gone[tree.MemberKey(id)] {
		return a, false, fmt.Errorf("%s, member %s: %w", a.Chain.ID.Path, id, ErrGone)
	}
	a.Limits, a.Private = ordered(a.Limits), nil
	old, ok := k.state.Member(id)
	if !ok {
		return a, true, nil
	}
	if err := k.mayAdmit(by, old.Chain); err != nil { // nobody takes over a member from elsewhere
		return a, false, err
	}
	if len(old.Chain.Line) == 1 { // an old certificate would do as well as a new one
		return a, false, denied("%s, of kind %s, stands right below the root, and its entry takes the root key", old.Path(), old.Chain.Kind())
	}
	if a.Stolen && a.Chain.Self().Digest != old.Certificate && identity.SameKey(a.Chain.Key, old.Chain.Key) {
		return a, false, fmt.Errorf("the key of %s was stolen, and it would keep it", a.Chain.ID.Path)
	}
	if a.Label == "" {
		a.Label = old.Label
	}
	a.Private = old.Private
	if len(a.Limits) == 0 {
		a.Limits = old.Limits
	}
	same := a.Chain.Self().Digest == old.Certificate && slices.EqualFunc(a.Chain.Raw, old.Chain.Raw, slices.Equal) &&
		a.Label == old.Label && slices.Equal(a.Limits, old.Limits)
	return a, !same, nil
}

// Grant admits a signed grant and returns its ID. by, the verified leaf that asks, must have signed it: for the owner it
// acts for, or to pass on a live grant that is for it and says that it may be passed on. What it is about must be a live
// member of this tree, and whom it is for one too, or of a tree that this one recognizes. Admitting a live grant again
// changes nothing: it is there already.
func (k *Keeper) Grant(ctx context.Context, by identity.Chain, raw []byte) (id tree.GrantID, already bool, err error) {
	if id, already, err = k.grant(ctx, by, raw, k.checkLive); err != nil {
		return tree.GrantID{}, false, fmt.Errorf("keeper: admitting a grant: %w", err)
	}
	return id, already, nil
}

func (k *Keeper) grant(ctx context.Context, by identity.Chain, raw []byte, check func(by identity.Chain) error) (id tree.GrantID, already bool, err error) {
	opened, err := k.openGrant(raw)
	if errors.Is(err, grant.ErrNoGiver) {
		err = denied("%v", err)
	}
	if err != nil {
		return id, false, err
	}
	end, err := k.begin(ctx)
	if err != nil {
		return id, false, err
	}
	defer end()
	if err := check(by); err != nil {
		return id, false, err
	}
	if s := opened.Signer(); s.Self().Digest != by.Self().Digest {
		return id, false, denied("%s asks for what %s signed", by.ID.Path, s.ID.Path)
	}
	t := opened.Terms()
	if old, live := k.state.Grant(t.ID); live && old.Statement == opened.Digest() {
		return t.ID, true, nil
	}
	if err := k.checkGiver(by, opened); err != nil {
		return id, false, err
	}
	if err := k.checkTerms(t); err != nil {
		return id, false, err
	}
	admitted := tree.Admitted{ID: t.ID, Raw: raw, Grant: tree.Grant{Statement: opened.Digest(), Giver: t.Giver, GiverTree: t.GiverTree}}
	return t.ID, false, k.apply(ctx, tree.Update{By: by.Member(), Grants: []tree.Admitted{admitted}}, Event{})
}

// checkTerms checks a grant against the roster and the clock.
func (k *Keeper) checkTerms(t grant.Terms) error {
	now := k.clock()
	thing, thingLive := k.state.Member(t.Thing.Member)
	subject := k.checkSubject(t.Subject)
	switch {
	case k.gone[tree.GrantKey(t.ID)]:
		return fmt.Errorf("grant %s: %w", t.ID, ErrGone)
	case subject != nil:
		return subject
	case !thingLive:
		return fmt.Errorf("it is about member %s, which is %w", t.Thing.Member, ErrNotLive)
	case thing.Chain.Kind() != identity.Device && thing.Chain.Kind() != identity.Place:
		return fmt.Errorf("it is about %s, a %s: want a device or a place", thing.Path(), thing.Chain.Kind())
	case time.Unix(t.Time, 0).After(now.Add(credential.MaxSkew)):
		return fmt.Errorf("it is dated %s, in the future", time.Unix(t.Time, 0).UTC().Format(time.RFC3339))
	case t.Until != 0 && now.Unix() >= t.Until:
		return fmt.Errorf("it ended at %s", time.Unix(t.Until, 0).UTC().Format(time.RFC3339))
	}
	return nil
}

// Resume lets a paused grant allow again what it says. by must act for an owner or, unless an owner paused it, for whoever
// gave it. Resuming what is not paused changes nothing: it is so already.
func (k *Keeper) Resume(ctx context.Context, by identity.Chain, id tree.GrantID) (already bool, err error) {
	if already, err = k.resume(ctx, by, id); err != nil {
		return false, fmt.Errorf("keeper: resuming: %w", err)
	}
	return already, nil
}

func (k *Keeper) resume(ctx context.Context, by identity.Chain, id tree.GrantID) (already bool, err error) {
	end, err := k.begin(ctx)
	if err != nil {
		return false, err
	}
	defer end()
	if err := k.checkLive(by); err != nil {
		return false, err
	}
	g, ok := k.state.Grant(id)
	switch {
	case !ok:
		return false, fmt.Errorf("grant %s is %w", id, ErrNotLive)
	case !by.Owner() && !g.GivenBy(by, k.signer.tree):
		return false, denied("%s neither gave grant %s nor acts for an owner", by.ID.Path, id)
	case !g.Paused:
		return true, nil
	case !by.Owner() && g.Held:
		return false, denied("an owner paused grant %s, and an owner has to resume it", id)
	}
	if !by.Owner() {
		if err := k.checkRoom(k.makers(id)); err != nil {
			return false, err
		}
	}
	return false, k.apply(ctx, tree.Update{By: by.Member(), Resume: []tree.GrantID{id}}, Event{})
}

// Revoke takes away what a revocation names: a grant, or only pauses it; or the recognition of another tree, with every
// grant to its members; or a member, with all below it, the tools it made, and every grant from, to or about any of them.
// With a grant goes every grant that passes it on. Who takes a member away means it, whatever its certificate or label has
// become since the entry that the revocation names; so does who takes a grant back that was paused and resumed since. What
// is taken away already is no error; nor is an entry that was revoked before and whose member has another one since,
// because its key was stolen or it moved. A grant that is not live, and whose entry the list does not name, is one: nobody
// can tell that from a grant that never was. Another tree that is recognized anew since is not forgotten by what was signed
// before. The gateway is not taken away, nor goes along; nor is the last app that an owner has.
func (k *Keeper) Revoke(ctx context.Context, p credential.Pending) (already bool, err error) {
	if already, err = k.revoke(ctx, p); err != nil {
		return false, fmt.Errorf("keeper: taking away: %w", err)
	}
	return already, nil
}

func (k *Keeper) revoke(ctx context.Context, p credential.Pending) (already bool, err error) {
	if p.Raw == nil || p.Tree != k.signer.tree {
		return false, fmt.Errorf("a revocation of tree %s", p.Tree)
	}
	end, err := k.begin(ctx)
	if err != nil {
		return false, err
	}
	defer end()
	if err := k.checkLive(p.Signer); err != nil {
		return false, err
	}
	listed := k.newest.revocations.Names(p.Leaf)
	u, event := tree.Update{By: p.Signer.Member()}, Event{Statement: p.Raw}
	switch {
	case !p.Grant.IsZero():
		g, ok := k.state.Grant(p.Grant)
		if !ok && listed {
			return true, nil
		}
		if !ok {
			return false, denied("grant %s is not live, and nothing says that this was its entry", p.Grant)
		}
		if !p.Signer.Owner() && !g.GivenBy(p.Signer, k.signer.tree) {
			return false, denied("%s neither gave grant %s nor acts for an owner", p.Signer.ID.Path, g.ID)
		}
		if p.Pause {
			now := k.isLive(p)
			holds := p.Signer.Owner() && !g.Held // whoever else paused it could resume it
			if listed || g.Paused && now && !holds {
				return true, nil // it is paused, or was and has been resumed since
			}
			if !now {
				return false, denied("the entry of grant %s is another one", g.ID)
			}
			u.Pause = []tree.GrantID{g.ID}
			return false, k.apply(ctx, u, event)
		}
		event.Grants = []tree.Admitted{g}
	case listed:
		return true, nil
	case !p.Other.IsZero():
		if !p.Signer.Owner() {
			return false, denied("%s does not act for an owner", p.Signer.ID.Path)
		}
		if _, ok := k.state.Recognized(p.Other); !ok {
			return true, nil
		}
		if !k.isLive(p) {
			return false, denied("tree %s is recognized anew since this was signed", p.Other)
		}
		u.Forget, event.Grants = []identity.TreeID{p.Other}, k.across(p.Other)
	default:
		target, ok := k.state.Member(p.Member)
		if !ok {
			return true, nil
		}
		if err := credential.MayRemove(p.Signer, target.Chain); err != nil {
			return false, denied("%v", err)
		}
		if p.Member == k.gateway {
			return false, denied("%s is the gateway, without which nobody could change anything here any more", target.Path())
		}
		k.takeOff(&u, &event, append([]tree.Entry{target}, k.toolsOf(target)...)...)
		if p.MadeSince > 0 {
			k.takeMade(&u, &event, p)
		}
		if !k.ownersStay(event.Members) {
			return false, denied("%s is the last app of an owner: nobody could change anything here any more", target.Path())
		}
	}
	k.takeBack(&u, &event)
	return false, k.apply(ctx, u, event)
}

// ownersStay reports whether an owner has an app, which is no tool, beside members that are taken away. The caller holds the
// turn.
func (k *Keeper) ownersStay(without []identity.Chain) bool {
	for e := range k.state.Members() {
		goes := slices.ContainsFunc(without, func(c identity.Chain) bool { return c.Member() == e.Chain.Member() })
		if e.Chain.Owner() && !e.Chain.Self().Tool() && !goes {
			return true
		}
	}
	return false
}

// isLive reports whether the entry that a revocation names is the one in the roster. The caller holds the turn.
func (k *Keeper) isLive(p credential.Pending) bool {
	value, ok := k.state.Value(p.Key())
	return ok && merkle.LeafHash(p.Key(), value) == p.Leaf
}

// takeOff has members taken away, each with all below it and every grant that concerns any of these.
func (k *Keeper) takeOff(u *tree.Update, event *Event, tops ...tree.Entry) {
	for _, top := range tops {
		below, grants := k.below(top)
		u.Remove = append(u.Remove, top.Chain.Member())
		for _, c := range below {
			if !slices.ContainsFunc(event.Members, func(gone identity.Chain) bool { return gone.Member() == c.Member() }) {
				event.Members = append(event.Members, c)
			}
		}
		event.Grants = append(event.Grants, grants...)
	}
}

// takeMade has that taken away, too, which was made since by those who are taken away, as far as the signer may take it.
func (k *Keeper) takeMade(u *tree.Update, event *Event, p credential.Pending) {
	var makings []tree.Making
	var take []func()
	for e := range k.state.Members() {
		own := slices.ContainsFunc(p.Signer.Line, func(l identity.Link) bool { return l.Member == e.Chain.Member() })
		if credential.MayRemove(p.Signer, e.Chain) == nil && !own && e.Chain.Member() != k.gateway {
			makings = append(makings, tree.Making{By: e.By, Since: e.Since, Made: e.Chain})
			take = append(take, func() { k.takeOff(u, event, e) })
		}
	}
	for g := range k.state.Grants() {
		if g.GiverTree.IsZero() {
			makings = append(makings, tree.Making{By: g.By, Since: g.Since})
			take = append(take, func() { event.Grants = append(event.Grants, g) })
		}
		for _, second := range g.Seconds {
			makings = append(makings, tree.Making{By: second.By, Since: second.Since})
			take = append(take, func() {
				u.Unsecond = append(u.Unsecond, tree.Seconding{Grant: g.ID, Consent: second.Consent})
			})
		}
	}
	for o := range k.state.Recognitions() {
		makings = append(makings, tree.Making{By: o.By, Since: o.Since})
		take = append(take, func() {
			u.Forget, event.Grants = append(u.Forget, o.Other), append(event.Grants, k.across(o.Other)...)
		})
	}
	for _, gone := range k.allGone() {
		makings = append(makings, gone)
		take = append(take, func() {})
	}
	var leaves []identity.MemberID
	for _, gone := range event.Members {
		leaves = append(leaves, gone.Member())
	}
	for _, i := range tree.MadeSince(makings, leaves, time.Unix(p.MadeSince, 0)) {
		take[i]()
	}
}

// below returns a member, all below it, and the grants that concern any of them.
func (k *Keeper) below(top tree.Entry) (members []identity.Chain, grants []tree.Admitted) {
	gone := map[identity.MemberID]bool{}
	for e := range k.state.Members() {
		if e.Path().Within(top.Path()) {
			members = append(members, e.Chain)
			gone[e.Chain.Member()] = true
		}
	}
	for g := range k.state.Grants() {
		if k.parties[g.ID].touches(gone) {
			grants = append(grants, g)
		}
	}
	return members, grants
}

// Limit sets how fresh a proof a device asks for, in place of the limits it has. by must be an owner's app.
func (k *Keeper) Limit(ctx context.Context, by identity.Chain, member identity.MemberID, limits []tree.Limit) error {
	err := k.revise(ctx, by, member, func(e tree.Entry) (tree.Admission, error) {
		a := tree.Admission{Chain: e.Chain, Label: e.Label, Limits: ordered(limits), Private: e.Private}
		return a, checkLimits(e.Chain.Kind(), limits)
	})
	if err != nil {
		return fmt.Errorf("keeper: setting limits: %w", err)
	}
	return nil
}

// Conceal says whose doings at a device are sealed to them in its journal, in place of what was said before: owners and
// persons. by must be an owner's app.
func (k *Keeper) Conceal(ctx context.Context, by identity.Chain, member identity.MemberID, private []identity.MemberID) error {
	private = slices.Compact(slices.SortedFunc(slices.Values(private), func(a, b identity.MemberID) int { return bytes.Compare(a[:], b[:]) }))
	err := k.revise(ctx, by, member, func(e tree.Entry) (tree.Admission, error) {
		a := tree.Admission{Chain: e.Chain, Label: e.Label, Limits: e.Limits, Private: private}
		return a, k.checkPrivate(e, private)
	})
	if err != nil {
		return fmt.Errorf("keeper: setting what is private: %w", err)
	}
	return nil
}

// checkPrivate checks what tree does not know: that it is about a device, and for people. Who was is no reason to refuse.
func (k *Keeper) checkPrivate(e tree.Entry, private []identity.MemberID) error {
	if kind := e.Chain.Kind(); kind != identity.Device {
		return fmt.Errorf("private at a %s: only devices have a journal of who used them", kind)
	}
	for _, id := range private {
		if slices.Contains(e.Private, id) {
			continue
		}
		m, ok := k.state.Member(id)
		if !ok {
			return fmt.Errorf("member %s is %w", id, ErrNotLive)
		}
		if kind := m.Chain.Kind(); kind != identity.Owner && kind != identity.Person {
			return fmt.Errorf("private for %s, of kind %s: only owners and persons have something to themselves", m.Path(), kind)
		}
	}
	return nil
}

// Label sets what people call a member; "" takes the label away. by must be an owner's app.
func (k *Keeper) Label(ctx context.Context, by identity.Chain, member identity.MemberID, label string) error {
	err := k.revise(ctx, by, member, func(e tree.Entry) (tree.Admission, error) {
		return tree.Admission{Chain: e.Chain, Label: label, Limits: e.Limits, Private: e.Private}, checkLabel(label)
	})
	if err != nil {
		return fmt.Errorf("keeper: setting a label: %w", err)
	}
	return nil
}

// revise gives a live member the entry that change makes of the one it has.
func (k *Keeper) revise(ctx context.Context, by identity.Chain, member identity.MemberID, change func(tree.Entry) (tree.Admission, error)) error {
	end, err := k.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := k.checkOwner(by); err != nil {
		return err
	}
	e, ok := k.state.Member(member)
	if !ok {
		return fmt.Errorf("member %s is %w", member, ErrNotLive)
	}
	a, err := change(e)
	if err != nil {
		return err
	}
	if a.Label == e.Label && slices.Equal(a.Limits, e.Limits) && slices.Equal(a.Private, e.Private) {
		return nil
	}
	return k.apply(ctx, tree.Update{By: by.Member(), Members: []tree.Admission{a}}, Event{})
}
