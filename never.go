package kindred

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/thing"
)

// apart is which affordances of the node's own thing are of the never class: those of which the thing's description
// says so, but for what owners said since. It is remembered, so that whoever has the gateway cannot have it forgotten.
type apart struct {
	mu   sync.Mutex
	said map[string]grant.Class // by owners, by affordance
	own  func(affordance string) bool
}

const apartPrefix = "apart/"

func (a *apart) load(ctx context.Context, db *store.DB) error {
	a.said = map[string]grant.Class{}
	return db.Scan(ctx, apartPrefix, func(key string, value []byte) error {
		var c grant.Class
		if err := signed.Unmarshal(value, &c); err != nil {
			return fmt.Errorf("kindred: reading %s: %w", key, err)
		}
		a.said[c.Affordance] = c
		return nil
	})
}

// describes takes from a thing's description what it says itself.
func (a *apart) describes(d thing.Description) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.own = d.Never
}

// never reports whether an affordance is of the never class. Until there is a thing, everything is.
func (a *apart) never(affordance string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, ok := a.said[affordance]; ok {
		return c.Never
	}
	return a.own == nil || a.own(affordance)
}

// learn takes in what owners said, as far as it counts and is newer than what is known, once it is on disk.
func (a *apart) learn(ctx context.Context, db *store.DB, said []grant.Class) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	next, changes := maps.Clone(a.said), map[string][]byte{}
	for _, c := range said {
		if before, ok := next[c.Affordance]; ok && !c.Supersedes(before) {
			continue
		}
		value, err := signed.Marshal(c)
		if err != nil {
			return err
		}
		next[c.Affordance], changes[apartPrefix+c.Affordance] = c, value
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
		if err == nil && opened.Class().Thing != n.self.Member() {
			err = errors.New("it is about another thing")
		}
		if err == nil {
			err = opened.Stands(n.consented(c.Consents, live), live.IsMember, n.now())
		}
		if err != nil {
			n.log.Warn("what is set apart does not count", "error", err)
			continue
		}
		said = append(said, opened.Class())
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

// SetApart puts an affordance of a thing into the never class, or takes it out, which counts once another owner or the
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
