package kindred

import (
	"context"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

// A Why asks whether a leaf may do something at a thing now.
type Why struct {
	By         identity.Chain // a leaf: anyone for owners' apps, and for others the node itself; or a person of another tree
	Thing      RosterMember
	Affordance string // "": the thing as such
	Action     grant.Action
	Purpose    string
}

// Apart reports whether an affordance of a thing is of the never class, as far as the node may see: owners see all that was
// said of it. Own is what the thing says itself.
func (m RosterMember) Apart(affordance string, own bool) bool {
	var said []grant.Class
	for _, c := range m.Classes {
		if class, _, err := grant.ParseClass(c.Raw); err == nil && !c.Waits {
			said = append(said, class)
		}
	}
	return grant.Apart(m.Who, affordance, own, said)
}

// Why answers with the decision that the thing would make, by the roster as it is now: the thing itself is not asked. What
// it alone knows is taken at its best: the caller is at home, and nothing of what was granted is used up.
func (n *Node) Why(ctx context.Context, w Why) (d grant.Decision, err error) {
	fail := func(err error) (grant.Decision, error) {
		return grant.Decision{}, fmt.Errorf("kindred: asking why %s may %s %s: %w", w.By.ID.Path, w.Action, w.Thing.Who.ID.Path, err)
	}
	entry, err := w.Thing.Current()
	if err != nil {
		return fail(err)
	}
	limit := grant.LimitFor(entry, w.Affordance)
	collect := n.evidenceOf
	if w.visits() {
		collect = n.visitorsEvidence
	}
	shown, err := collect(ctx, w, limit.Fresh)
	if err != nil {
		return fail(err)
	}
	req := grant.Request{Thing: w.Thing.Who, Affordance: w.Affordance, Action: w.Action, Purpose: w.Purpose}
	facts := bestFacts(limit, w.Thing.Apart(w.Affordance, false))
	err = n.trust.update(ctx, n.cfg.Clock, func(t credential.Trusted, now time.Time) (next credential.Trusted, err error) {
		facts.Now = now
		d, next, err = grant.Judge(shown, t, req, facts, n.trustedOthers()...)
		return next, err
	})
	if err != nil {
		return fail(err)
	}
	return d, nil
}

// bestFacts are what a thing alone knows, at its best.
func bestFacts(limit grant.Limit, never bool) grant.Facts {
	return grant.Facts{Limit: limit, Way: grant.AtHome, Usage: func(*grant.Terms) grant.Usage { return grant.Usage{} }, Never: never}
}

// evidenceOf returns what a member of the node's own tree would show at a thing.
func (n *Node) evidenceOf(ctx context.Context, w Why, maxAge time.Duration) (credential.Hello, error) {
	q := control.ProofQuery{Thing: w.Thing.Who.Member().String(), MaxAge: maxAge, PassedOn: true}
	if w.By.Member() != n.self.Member() {
		q.Member = w.By.Member().String()
	}
	e, err := n.home.Prove(ctx, q)
	n.link.tried(n.cfg.Clock(), err)
	if err != nil {
		return credential.Hello{}, err
	}
	return helloOf(e)
}
