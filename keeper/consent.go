package keeper

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

const (
	maxStatement = 16 << 10 // bytes of a consent or a class
	maxClasses   = 64       // affordances of a thing that somebody set apart
	byRoot       = "root"   // who signed, in a record's key, for the root key
)

// consents are what others than their givers signed about grants, by grant and signer. Whoever rests on one shows it. Of
// those of seconds the roster's entry of the grant holds the digests, as of what was signed by somebody who was live then.
type consents map[tree.GrantID]map[identity.MemberID][]byte

func consentKey(id tree.GrantID, by identity.MemberID) string {
	who := byRoot
	if !by.IsZero() {
		who = by.String()
	}
	return consentPrefix + id.String() + "/" + who
}

// A Class is what an owner signed about an affordance of a thing, and the consents to it.
type Class struct {
	Raw      []byte   `cbor:"1,keyasint" json:"raw"` // a signed grant.Class
	Consents [][]byte `cbor:"2,keyasint,omitempty" json:"consents,omitempty"`

	classed grant.Classed
}

// A classKey is an affordance of a thing. Waiting are those of which another owner has yet to say yes.
type classKey struct {
	thing      identity.MemberID
	affordance string
	waiting    bool
}

func (k classKey) record() string {
	prefix := classPrefix
	if k.waiting {
		prefix = waitingPrefix
	}
	return prefix + k.thing.String() + "/" + k.affordance
}

// Consent keeps a signed consent: of a service to a live grant that is for it; or of another owner than the giver, or
// the root key, to such a grant or to a class that waits for it. It counts by its signer, whoever brings it, and is on
// disk when Consent returns nil. There is a head for the second one to stand behind a grant, and for no other. Where it
// makes a class count, that of the thing apart is another one now. A second one of the same signer to a grant changes
// nothing: it is so already.
func (k *Keeper) Consent(ctx context.Context, raw []byte) (apart identity.MemberID, already bool, err error) {
	if apart, already, err = k.consent(ctx, raw); err != nil {
		return apart, false, fmt.Errorf("keeper: keeping a consent: %w", err)
	}
	return apart, already, nil
}

func (k *Keeper) consent(ctx context.Context, raw []byte) (apart identity.MemberID, already bool, err error) {
	if len(raw) > maxStatement {
		return apart, false, fmt.Errorf("%d bytes, of at most %d", len(raw), maxStatement)
	}
	c, err := k.openConsent(raw)
	if err != nil {
		return apart, false, err
	}
	end, err := k.begin(ctx)
	if err != nil {
		return apart, false, err
	}
	defer end()
	if err := k.checkConsent(c); err != nil {
		return apart, false, err
	}
	if c.Consent().Grant.IsZero() {
		apart, err = k.consentToClass(ctx, c)
		return apart, false, err
	}
	already, err = k.consentToGrant(ctx, c)
	return apart, already, err
}

// consentToGrant keeps a consent to a live grant. The caller holds the turn.
func (k *Keeper) consentToGrant(ctx context.Context, c grant.Consented) (already bool, err error) {
	said := c.Consent()
	g, ok := k.state.Grant(said.Grant)
	if !ok {
		return false, fmt.Errorf("grant %s is %w", said.Grant, ErrNotLive)
	}
	t, _, err := grant.Parse(g.Raw)
	seconds := err == nil && c.Seconds(t, k.isMember)
	switch {
	case err != nil:
		return false, err
	case g.Statement != said.Statement:
		return false, fmt.Errorf("grant %s is statement %s, and it is to %s", g.ID, g.Statement, said.Statement)
	case !c.Accepts(t) && !seconds:
		return false, denied("it is neither of the service that grant %s is for, nor of another owner than its giver", g.ID)
	}
	k.mu.RLock()
	old := k.consents[g.ID][said.By]
	k.mu.RUnlock()
	if old != nil { // one says as much as another
		return true, nil
	}
	if seconds {
		u := tree.Update{Second: []tree.Seconding{{Grant: g.ID, Consent: c.Digest(), Raw: c.Raw()}}}
		if len(c.Signer().Line) > 0 {
			u.By = c.Signer().Member()
		}
		return false, k.apply(ctx, u, Event{})
	}
	if err := k.store.Save(ctx, map[string][]byte{consentKey(g.ID, said.By): c.Raw()}); err != nil {
		return false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.consents.add(g.ID, said.By, c.Raw())
	return false, nil
}

func (cs consents) add(id tree.GrantID, by identity.MemberID, raw []byte) {
	if cs[id] == nil {
		cs[id] = map[identity.MemberID][]byte{}
	}
	cs[id][by] = raw
}

// second puts into s that consents are kept, or go. The caller holds the turn.
func (k *Keeper) second(s *step, u tree.Update) error {
	for _, in := range u.Second {
		c, _, err := grant.ParseConsent(in.Raw)
		if err != nil {
			return err
		}
		s.records[consentKey(in.Grant, c.By)] = in.Raw
		s.seconds = append(s.seconds, seconded{in.Grant, c.By, in.Raw})
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, out := range u.Unsecond {
		for by, raw := range k.consents[out.Grant] {
			if _, st, err := grant.ParseConsent(raw); err == nil && st.Digest == out.Consent {
				s.records[consentKey(out.Grant, by)] = nil
				s.seconds = append(s.seconds, seconded{out.Grant, by, nil})
			}
		}
	}
	return nil
}

// A seconded grant has another consent; or, if raw is nil, one less.
type seconded struct {
	grant tree.GrantID
	by    identity.MemberID
	raw   []byte
}

func (k *Keeper) openConsent(raw []byte) (grant.Consented, error) {
	return grant.OpenConsent(raw, k.verifyChain, k.signer.charter.RootCertificate().PublicKey)
}

func (k *Keeper) verifyChain(chain [][]byte, at time.Time) (identity.Chain, error) {
	return identity.Verify(chain, k.signer.tree, k.signer.charter.RootCertificate(), at)
}

// checkConsent checks that a leaf that signed is live, and when. The caller holds the turn.
func (k *Keeper) checkConsent(c grant.Consented) error {
	if at := time.Unix(c.Consent().Time, 0); at.After(k.clock().Add(credential.MaxSkew)) {
		return fmt.Errorf("it is dated %s, in the future", at.UTC().Format(time.RFC3339))
	}
	if len(c.Signer().Line) == 0 {
		return nil // the root key
	}
	return k.checkLive(c.Signer())
}

func (k *Keeper) isMember(id identity.MemberID) bool {
	_, ok := k.state.Member(id)
	return ok
}

// Consents returns the consents to a grant, those of the root key first, and who gave them: zero is the root.
func (k *Keeper) Consents(id tree.GrantID) (raw [][]byte, by []identity.MemberID) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	by = slices.SortedFunc(maps.Keys(k.consents[id]), func(a, b identity.MemberID) int { return bytes.Compare(a[:], b[:]) })
	for _, who := range by {
		raw = append(raw, k.consents[id][who])
	}
	return raw, by
}

// Classify keeps a signed class of an affordance of a live device, or of all there is of a device or place: it counts at once where it puts the affordance into
// the never class, and else once another owner or the root key consents to it. It reports whether it waits for that. What
// counts, or waits, already changes nothing.
func (k *Keeper) Classify(ctx context.Context, raw []byte) (waits, already bool, err error) {
	if waits, already, err = k.classify(ctx, raw); err != nil {
		return false, false, fmt.Errorf("keeper: keeping a class: %w", err)
	}
	return waits, already, nil
}

func (k *Keeper) classify(ctx context.Context, raw []byte) (waits, already bool, err error) {
	if len(raw) > maxStatement {
		return false, false, fmt.Errorf("%d bytes, of at most %d", len(raw), maxStatement)
	}
	opened, err := grant.OpenClass(raw, k.verifyChain)
	if err != nil {
		return false, false, err
	}
	end, err := k.begin(ctx)
	if err != nil {
		return false, false, err
	}
	defer end()
	if err := k.checkLive(opened.Signer()); err != nil {
		return false, false, err
	}
	c := opened.Class()
	thing, ok := k.state.Member(c.Thing)
	switch {
	case !ok:
		return false, false, fmt.Errorf("it is about member %s, which is %w", c.Thing, ErrNotLive)
	case thing.Chain.Kind() != identity.Device && (thing.Chain.Kind() != identity.Place || c.Affordance != ""):
		return false, false, fmt.Errorf("it is about %q of %s, a %s: want a device, or all of a place", c.Affordance, thing.Path(), thing.Chain.Kind())
	case time.Unix(c.Time, 0).After(k.clock().Add(credential.MaxSkew)):
		return false, false, fmt.Errorf("it is dated %s, in the future", time.Unix(c.Time, 0).UTC().Format(time.RFC3339))
	}
	for _, waits := range []bool{false, true} {
		if k.hasClass(opened, waits) {
			return waits, true, nil
		}
	}
	return !c.Never, false, k.keepClass(ctx, Class{Raw: raw, classed: opened}, !c.Never)
}

// hasClass reports whether a class counts, or waits.
func (k *Keeper) hasClass(c grant.Classed, waiting bool) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	there, ok := k.classes[classKey{c.Class().Thing, c.Class().Affordance, waiting}]
	return ok && there.classed.Digest() == c.Digest()
}

// keepClass writes down a class, in place of an older one. The caller holds the turn.
func (k *Keeper) keepClass(ctx context.Context, c Class, waiting bool) error {
	about := c.classed.Class()
	key := classKey{about.Thing, about.Affordance, waiting}
	k.mu.RLock()
	old, ok := k.classes[classKey{about.Thing, about.Affordance, false}]
	before, waits := k.classes[key]
	others := 0
	for other := range k.classes {
		if other.thing == about.Thing && other.waiting == waiting {
			others++
		}
	}
	k.mu.RUnlock()
	switch {
	case ok && !about.Supersedes(old.classed.Class()) && c.classed.Digest() != old.classed.Digest(),
		waits && !about.Supersedes(before.classed.Class()) && c.classed.Digest() != before.classed.Digest():
		return fmt.Errorf("%s was set apart later than %s", about.Affordance, time.Unix(about.Time, 0).UTC().Format(time.RFC3339))
	case !waits && others >= maxClasses:
		return fmt.Errorf("%d affordances of the thing are set apart, the most there may be", others)
	}
	value, err := signed.Marshal(c)
	if err != nil {
		return err
	}
	change := map[string][]byte{key.record(): value}
	waited := classKey{about.Thing, about.Affordance, true}
	if !waiting {
		change[waited.record()] = nil // what is newer counts
	}
	if err := k.store.Save(ctx, change); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.classes[key] = c
	if !waiting {
		delete(k.classes, waited)
	}
	return nil
}

// consentToClass makes a class count that waits for it, and returns of which thing. The caller holds the turn.
func (k *Keeper) consentToClass(ctx context.Context, by grant.Consented) (apart identity.MemberID, err error) {
	said := by.Consent()
	k.mu.RLock()
	var waiting Class
	for key, c := range k.classes {
		if key.waiting && c.classed.Digest() == said.Statement {
			waiting = c
		}
	}
	k.mu.RUnlock()
	if waiting.Raw == nil {
		return apart, fmt.Errorf("what it is to waits for nobody: %w", ErrNotLive)
	}
	if err := waiting.classed.Stands([]grant.Consented{by}, k.checkLive, k.clock()); err != nil {
		return apart, denied("%v", err)
	}
	waiting.Consents = [][]byte{by.Raw()}
	return waiting.classed.Class().Thing, k.keepClass(ctx, waiting, false)
}

// Classes returns what owners said about the affordances of a thing, by name: what counts, or what waits for another
// owner; and which leaves signed that.
func (k *Keeper) Classes(thing identity.MemberID, waiting bool) (classes []Class, signers []identity.MemberID) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for key, c := range k.classes {
		if key.thing == thing && key.waiting == waiting {
			classes = append(classes, c)
		}
	}
	slices.SortFunc(classes, func(a, b Class) int {
		return strings.Compare(a.classed.Class().Affordance, b.classed.Class().Affordance)
	})
	for _, c := range classes {
		signers = append(signers, c.classed.Signer().Member())
		for _, raw := range c.Consents {
			if said, err := k.openConsent(raw); err == nil && len(said.Signer().Line) > 0 {
				signers = append(signers, said.Signer().Member())
			}
		}
	}
	return classes, signers
}

// forget puts into s that what was said about a grant or a thing goes with it. The caller holds the turn.
func (k *Keeper) forget(s *step) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, g := range s.event.Grants {
		for by := range k.consents[g.ID] {
			s.records[consentKey(g.ID, by)] = nil
		}
	}
	for _, m := range s.event.Members {
		for key := range k.classes {
			if key.thing == m.Member() {
				s.records[key.record()] = nil
				s.classes = append(s.classes, key)
			}
		}
	}
}

// restoreConsents reads what was said about grants and things. What is about one that is gone is left, and so is a second
// that the roster does not name, as it was filed once: it counts for nothing, and another may take its place.
func (k *Keeper) restoreConsents(ctx context.Context) error {
	err := k.store.Scan(ctx, consentPrefix, func(name string, raw []byte) error {
		c, s, err := grant.ParseConsent(raw)
		if err != nil {
			return fmt.Errorf("record %q: %w", name, err)
		}
		g, _ := k.state.Grant(c.Grant)
		t, _, err := grant.Parse(g.Raw)
		if accepts := err == nil && t.Subject.Tree == t.Tree && t.Subject.Member == c.By; accepts || g.Seconded(s.Digest) {
			k.consents.add(c.Grant, c.By, raw)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, waiting := range []bool{false, true} {
		prefix := classPrefix
		if waiting {
			prefix = waitingPrefix
		}
		err := k.store.Scan(ctx, prefix, func(name string, value []byte) error {
			var c Class
			if err := signed.Unmarshal(value, &c); err != nil {
				return fmt.Errorf("record %q: %w", name, err)
			}
			var err error
			if c.classed, err = grant.OpenClass(c.Raw, k.verifyChain); err != nil {
				return fmt.Errorf("record %q: %w", name, err)
			}
			about := c.classed.Class()
			k.classes[classKey{about.Thing, about.Affordance, waiting}] = c
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
