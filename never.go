package kindred

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/thing"
)

// apart is which affordances of the node's own thing are of the never class: those of which the thing's description
// says so, but for what owners said since. It is remembered, so that whoever has the gateway cannot have it forgotten.
type apart struct {
	mu   sync.Mutex
	said []grant.Class // by owners: of the thing's affordances, and of all there is of it or of a place above
	own  func(affordance string) bool
}

const apartPrefix = "apart/"

func apartKey(c grant.Class) string { return apartPrefix + c.Thing.String() + "/" + c.Affordance }

func (a *apart) load(ctx context.Context, db *store.DB) error {
	a.said = nil
	return db.Scan(ctx, apartPrefix, func(key string, value []byte) error {
		var c grant.Class
		if err := signed.Unmarshal(value, &c); err != nil {
			return fmt.Errorf("kindred: reading %s: %w", key, err)
		}
		a.said, _ = take(a.said, c)
		return nil
	})
}

// take puts what was said in place of what was said before about the same, if it is newer.
func take(said []grant.Class, c grant.Class) (_ []grant.Class, news bool) {
	i := slices.IndexFunc(said, func(before grant.Class) bool { return before.Thing == c.Thing && before.Affordance == c.Affordance })
	switch {
	case i < 0:
		return append(said, c), true
	case !c.Supersedes(said[i]):
		return said, false
	}
	said[i] = c
	return said, true
}

// knows reports whether this was learnt before, and counts.
func (a *apart) knows(c grant.Class) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Contains(a.said, c)
}

// describes takes from a thing's description what it says itself.
func (a *apart) describes(d thing.Description) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.own = d.Never
}

// never reports whether an affordance is of the never class. Until there is a thing, everything is.
func (a *apart) never(self identity.Chain, affordance string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return grant.Apart(self, affordance, a.own == nil || a.own(affordance), a.said)
}

// learn takes in what owners said, as far as it counts and is newer than what is known, once it is on disk.
func (a *apart) learn(ctx context.Context, db *store.DB, said []grant.Class) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	next, changes := slices.Clone(a.said), map[string][]byte{}
	for _, c := range said {
		var news bool
		if next, news = take(next, c); !news {
			continue
		}
		value, err := signed.Marshal(c)
		if err != nil {
			return err
		}
		changes[apartKey(c)] = value
	}
	if len(changes) == 0 {
		return nil
	}
	if err := db.Save(ctx, changes); err != nil {
		return err
	}
	a.said = next
	return nil
}

// setApart learns what the home's owners said of the node's own thing, and has all that is served decided again.
func (n *Node) setApart(ctx context.Context, classes []control.Class, live credential.Live) error {
	if len(classes) == 0 {
		return nil
	}
	var said []grant.Class
	for _, c := range classes {
		opened, err := grant.OpenClass(c.Raw, live.VerifyChain)
		if err == nil && n.apart.knows(opened.Class()) {
			continue // whatever has become of who signed it
		}
		if err == nil && !slices.ContainsFunc(n.self.Line, func(l identity.Link) bool { return l.Member == opened.Class().Thing }) {
			err = errors.New("it is about another thing")
		}
		if err == nil {
			err = opened.Stands(n.consented(c.Consents, live), live.Check, n.now())
		}
		if err != nil {
			n.log.Warn("what is set apart does not count", "error", err)
			continue
		}
		said = append(said, opened.Class())
	}
	if len(said) == 0 {
		return nil
	}
	if err := n.apart.learn(ctx, n.db, said); err != nil {
		return err
	}
	n.trust.changed()
	return nil
}

// consented opens the consents that come with grants. What does not open counts for nothing.
func (n *Node) consented(raw [][]byte, live credential.Live) (opened []grant.Consented) {
	for _, r := range raw {
		c, err := grant.OpenConsent(r, live.VerifyChain, live.RootKey())
		if err != nil {
			n.log.Info("a consent does not count", "error", err)
			continue
		}
		opened = append(opened, c)
	}
	return opened
}

// SetApart puts an affordance of a thing, or all there is of a thing or place, into the never class, or takes it out, which counts once another owner or the
// root key consents (see Approve): then it reports that it waits. The class given has the time of what was said before
// about it, 0 if nothing was; this is said later.
func (n *Node) SetApart(ctx context.Context, c grant.Class) (waits bool, err error) {
	c.Tree, c.Owner, c.Time = n.self.ID.Tree, n.self.ActsFor(), max(n.cfg.Clock().Unix(), c.Time+1)
	raw, err := grant.SignClass(n.key, n.self.Raw, c)
	if err != nil {
		return false, err
	}
	said, err := n.Gateway().Classify(ctx, raw)
	return said.Waits, err
}
