package grant

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// Opened is a grant whose signer was entitled to give it. Whether it still stands is another matter: see Verify. Only
// Open makes one.
type Opened struct {
	rules  *rules
	above  *rules // what it allows those whom it is passed on to: what is handed on is among its actions
	signer identity.Chain
}

// Terms returns what the grant says.
func (o Opened) Terms() Terms { return o.rules.terms }

// Signer returns the leaf that signed the grant for its giver.
func (o Opened) Signer() identity.Chain { return o.signer }

// Digest returns the name of the signed statement, which the roster's entry holds.
func (o Opened) Digest() signed.Digest { return o.rules.statement }

// Open checks that a grant was signed by a leaf that acted for its giver then: for an owner of the tree that the grant
// is about or, if it passes on another one, for anybody. Whether that one allows it is another matter: see Under.
// Chains are checked by verify, as of the moment the grant was signed: credential.Live.VerifyChain, or whatever knows
// the root.
func Open(raw []byte, verify func(chain [][]byte, at time.Time) (identity.Chain, error)) (Opened, error) {
	return OpenAny(raw, func(_ identity.TreeID, chain [][]byte, at time.Time) (identity.Chain, error) {
		return verify(chain, at)
	})
}

// OpenAny is Open for grants whose giver may be of another tree: verify knows the roots of those that are recognized, as
// credential.Live.VerifyChainOf does.
func OpenAny(raw []byte, verify func(of identity.TreeID, chain [][]byte, at time.Time) (identity.Chain, error)) (Opened, error) {
	o, err := open(raw, verify)
	if err != nil {
		return Opened{}, fmt.Errorf("grant: opening: %w", err)
	}
	return o, nil
}

func open(raw []byte, verify func(identity.TreeID, [][]byte, time.Time) (identity.Chain, error)) (Opened, error) {
	t, s, err := parse(raw)
	if err != nil {
		return Opened{}, err
	}
	signer, err := verify(t.GivenIn(), s.Chain, time.Unix(t.Time, 0))
	if err != nil {
		return Opened{}, err
	}
	if err := s.Open(signer.Key, Type, &t); err != nil {
		return Opened{}, err
	}
	switch path := signer.ID.Path; {
	case signer.ID.Tree != t.GivenIn():
		err = fmt.Errorf("signed by %s, and about a thing of tree %s", signer.ID, t.Tree)
	case !signer.Kind().Leaf():
		err = fmt.Errorf("signed by %s, which is no leaf", path)
	case signer.ActsFor() != t.Giver && signer.Member() != t.Giver:
		err = fmt.Errorf("signed by %s, which does not act for the giver %s", path, t.Giver)
	case t.Parent.IsZero() && (!signer.Owner() || signer.ActsFor() != t.Giver):
		err = fmt.Errorf("signed by %s, %w", path, ErrNoGiver)
	}
	o := Opened{rules: &rules{terms: t, statement: s.Digest}, signer: signer}
	o.above = o.rules
	if t.HandOn != 0 {
		t.Actions |= t.HandOn
		o.above = &rules{terms: t, statement: s.Digest}
	}
	return o, err
}

// A Grant is a grant that stood at a moment, with those that it passes on. Only Verify and VerifyAll make one; the zero
// Grant allows nothing.
type Grant struct {
	rules  *rules
	above  []link // what it passes on: the nearest first, the one from an owner last
	asOf   time.Time
	givers time.Time // when those of other trees who passed it on were last known to be live; zero: there are none
	paused bool      // it, or one that it passes on
	entry  tree.Grant

	accepted, seconded bool // see With
}

// Terms returns what the grant says; a zero Grant has zero terms.
func (g Grant) Terms() Terms {
	if g.rules == nil {
		return Terms{}
	}
	return g.rules.terms
}

// Paused reports whether the grant stands, and allows nothing until it, or one that it passes on, is resumed.
func (g Grant) Paused() bool { return g.paused }

// AsOf returns the newest moment at which the grant, and its giver, are known to have been live.
func (g Grant) AsOf() time.Time { return g.asOf }

// Verify checks that a grant was given by an owner of the tree (see Open), that the roster's entry is for this very
// statement, and that the giver is still a member. A zero now says that the clock was not set since boot. For grants
// that pass on others there is VerifyAll.
func Verify(raw []byte, live credential.Live, now time.Time) (Grant, error) {
	return alone(VerifyAll([][]byte{raw}, live, now))
}

// Renew returns the grant as of what live says, such as a credential.Live that was itself renewed, if it, and all that it
// passes on, still stands.
func (g Grant) Renew(live credential.Live, now time.Time) (Grant, error) {
	if g.rules == nil {
		return Grant{}, errors.New("grant: renewing: there is none")
	}
	return g.verify(live, now)
}

// errNoGiver says that a grant is live, and its giver is not known to be.
var errNoGiver = errors.New("is not proved to be live")

// verify checks that one grant of a chain, for itself, is live, and so is its giver. It returns the roster's entry.
func (r *rules) verify(live credential.Live, now time.Time) (tree.Grant, error) {
	t := &r.terms
	fail := func(err error) (tree.Grant, error) {
		return tree.Grant{}, fmt.Errorf("grant: verifying %s: %w", t.ID, err)
	}
	if t.Tree != live.Tree {
		return fail(fmt.Errorf("it is of tree %s, the proof of tree %s", t.Tree, live.Tree))
	}
	if now.IsZero() {
		now = live.AsOf
	}
	if at := time.Unix(t.Time, 0); at.After(now.Add(credential.MaxSkew)) {
		return fail(fmt.Errorf("it is dated %s, in the future", at.UTC().Format(time.RFC3339)))
	}
	entry, ok := live.Grant(t.ID)
	switch {
	case !ok:
		return fail(errors.New("it is not proved to be live"))
	case entry.Statement != r.statement:
		return fail(fmt.Errorf("the live grant of this ID is statement %s, shown was %s", entry.Statement, r.statement))
	case entry.Giver != t.Giver || entry.GiverTree != t.GiverTree:
		return fail(fmt.Errorf("the live grant of this ID is from %s, shown was one from %s", entry.Giver, t.Giver))
	}
	if _, ok := live.MemberOf(t.GivenIn(), t.Giver); !ok {
		return fail(fmt.Errorf("its giver %s %w", t.Giver, errNoGiver))
	}
	return entry, nil
}

// A Cache spares the dear part of Verify, signatures and compiling, for grants seen before. It remembers what cannot
// change: that these bytes are a grant from their giver. Whether the grant is live is checked each time. A Cache is for
// one charter of one tree: who trusts a new charter takes a new Cache. It may be used by several goroutines.
type Cache struct {
	size int

	mu         sync.Mutex
	young, old map[signed.Digest]Opened // by the hash of all bytes, the signature included
}

// NewCache returns a cache that holds size grants, those used last. A grant takes about 10 KB.
func NewCache(size int) *Cache {
	return &Cache{size: max(size, 2), young: map[signed.Digest]Opened{}}
}

// Verify is the package's Verify.
func (c *Cache) Verify(raw []byte, live credential.Live, now time.Time) (Grant, error) {
	return alone(c.VerifyAll([][]byte{raw}, live, now))
}

// VerifyAll is the package's VerifyAll.
func (c *Cache) VerifyAll(raws [][]byte, live credential.Live, now time.Time) ([]Grant, error) {
	grants, errs := verifyAll(raws, live, now, c.open)
	return grants, errors.Join(errs...)
}

// open is Open, for grants that were signed in the tree of live.
func (c *Cache) open(raw []byte, live credential.Live) (Opened, error) {
	key := signed.Sum(raw)
	if o, ok := c.find(key); ok {
		return o, nil
	}
	o, err := OpenAny(raw, live.VerifyChainOf)
	if err == nil {
		c.keep(key, o)
	}
	return o, err
}

func (c *Cache) find(key signed.Digest) (Opened, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o, ok := c.young[key]; ok {
		return o, true
	}
	o, ok := c.old[key]
	if ok {
		c.keepLocked(key, o)
	}
	return o, ok
}

func (c *Cache) keep(key signed.Digest, o Opened) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keepLocked(key, o)
}

// keepLocked puts o among the young; when they are half of the cache they become the old, and the old are forgotten.
func (c *Cache) keepLocked(key signed.Digest, o Opened) {
	c.young[key] = o
	if len(c.young) >= (c.size+1)/2 {
		c.young, c.old = map[signed.Digest]Opened{}, c.young
	}
}
