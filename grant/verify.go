package grant

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// Opened is a grant whose signer was entitled to give it. Whether it still stands is another matter: see Verify. Only
// Open makes one.
type Opened struct {
	rules  *rules
	signer identity.Chain
}

// Terms returns what the grant says.
func (o Opened) Terms() Terms { return o.rules.terms }

// Signer returns the leaf that signed the grant for its giver.
func (o Opened) Signer() identity.Chain { return o.signer }

// Digest returns the name of the signed statement, which the roster's entry holds.
func (o Opened) Digest() signed.Digest { return o.rules.statement }

// Open checks that a grant was signed by an owner's app, for that owner, in the tree that it is about. Chains are
// checked by verify, as of the moment the grant was signed: credential.Live.VerifyChain, or whatever knows the root.
func Open(raw []byte, verify func(chain [][]byte, at time.Time) (identity.Chain, error)) (Opened, error) {
	o, err := open(raw, verify)
	if err != nil {
		return Opened{}, fmt.Errorf("grant: opening: %w", err)
	}
	return o, nil
}

func open(raw []byte, verify func([][]byte, time.Time) (identity.Chain, error)) (Opened, error) {
	t, s, err := parse(raw)
	if err != nil {
		return Opened{}, err
	}
	signer, err := verify(s.Chain, time.Unix(t.Time, 0))
	if err != nil {
		return Opened{}, err
	}
	if err := s.Open(signer.Key, Type, &t); err != nil {
		return Opened{}, err
	}
	switch path := signer.ID.Path; {
	case signer.ID.Tree != t.Tree:
		err = fmt.Errorf("signed by %s, and about a thing of tree %s", signer.ID, t.Tree)
	case signer.ActsFor() != t.Giver:
		err = fmt.Errorf("signed by %s, which does not act for the giver %s", path, t.Giver)
	case !signer.Owner():
		err = fmt.Errorf("signed by %s, which acts for no owner: %w", path, ErrDelegated)
	}
	return Opened{rules: &rules{terms: t, statement: s.Digest}, signer: signer}, err
}

// A Grant is a grant that stood at a moment. Only Verify makes one; the zero Grant allows nothing.
type Grant struct {
	rules  *rules
	asOf   time.Time
	paused bool

	accepted, seconded bool // see With
}

// Terms returns what the grant says; a zero Grant has zero terms.
func (g Grant) Terms() Terms {
	if g.rules == nil {
		return Terms{}
	}
	return g.rules.terms
}

// Paused reports whether the grant stands, and allows nothing until it is resumed.
func (g Grant) Paused() bool { return g.paused }

// links returns the rules that all have to allow a request, from the owner's on.
func (g Grant) links() []*rules { return []*rules{g.rules} }

// AsOf returns the newest moment at which the grant, and its giver, are known to have been live.
func (g Grant) AsOf() time.Time { return g.asOf }

// Verify checks that a grant was given by an owner of the tree (see Open), that the roster's entry is for this very
// statement, and that the giver is still a member. A zero now says that the clock was not set since boot.
func Verify(raw []byte, live credential.Live, now time.Time) (Grant, error) {
	o, err := Open(raw, live.VerifyChain)
	if err != nil {
		return Grant{}, err
	}
	return o.rules.verify(live, now)
}

// Renew returns the grant as of what live says, such as a credential.Live that was itself renewed, if it still stands.
func (g Grant) Renew(live credential.Live, now time.Time) (Grant, error) {
	if g.rules == nil {
		return Grant{}, errors.New("grant: renewing: there is none")
	}
	return g.rules.verify(live, now)
}

func (r *rules) verify(live credential.Live, now time.Time) (Grant, error) {
	t := &r.terms
	fail := func(err error) (Grant, error) { return Grant{}, fmt.Errorf("grant: verifying %s: %w", t.ID, err) }
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
	case entry.Giver != t.Giver:
		return fail(fmt.Errorf("the live grant of this ID is from %s, shown was one from %s", entry.Giver, t.Giver))
	}
	if _, ok := live.Member(t.Giver); !ok {
		return fail(fmt.Errorf("its giver %s is not proved to be live", t.Giver))
	}
	return Grant{rules: r, asOf: live.AsOf, paused: entry.Paused}, nil
}

// A Cache spares the dear part of Verify, signatures and compiling, for grants seen before. It remembers what cannot
// change: that these bytes are a grant from an owner. Whether the grant is live is checked each time. A Cache is for
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
	key := signed.Sum(raw)
	o, ok := c.find(key)
	if !ok {
		var err error
		if o, err = Open(raw, live.VerifyChain); err != nil {
			return Grant{}, err
		}
		c.keep(key, o)
	}
	return o.rules.verify(live, now)
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
