package kindred

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// visits reports whether it is asked about somebody of another tree.
func (w Why) visits() bool { return w.By.ID.Tree != w.Thing.Who.ID.Tree }

// visitorsEvidence returns what a member of another tree would show at a thing of the node's own: what the home proves of
// its grants, and what other homes prove of whom they rest on.
func (n *Node) visitorsEvidence(ctx context.Context, w Why, maxAge time.Duration) (hello credential.Hello, err error) {
	of := w.By.ID.Tree
	e, err := n.home.Prove(ctx, control.ProofQuery{
		Thing: w.Thing.Who.Member().String(), MaxAge: maxAge, PassedOn: true, Other: of.String(), Visitor: w.By.Raw,
	})
	n.link.tried(n.cfg.Clock(), err)
	if err != nil {
		return hello, err
	}
	theirs, err := n.ProveAbroad(ctx, of, givenIn(e.Grants, of), w.By.Member())
	if err != nil {
		return hello, err
	}
	e.Chain, e.Proof, e.Beside = w.By.Raw, theirs, append([][]byte{e.Proof}, e.Beside...)
	return helloOf(e)
}

// ProveAbroad has another home's gateway prove which of its members are live, and learns from that: those who gave the signed
// grants, and, as owners' apps alone may ask, those who are named. Gateways may ask, and owners' apps.
func (n *Node) ProveAbroad(ctx context.Context, of identity.TreeID, given [][]byte, named ...identity.MemberID) ([]byte, error) {
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("kindred: asking tree %s who is a member: %w", of, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*askGateway)
	defer cancel()
	h, err := n.other(ctx, of)
	if err != nil {
		return fail(err)
	}
	q := control.ProofQuery{Signed: given}
	for _, id := range named {
		q.Also = append(q.Also, id.String())
	}
	e, err := n.gatewayOf(h).Prove(ctx, q)
	if err != nil {
		return fail(err)
	}
	p, err := credential.ParseProof(e.Proof)
	if err == nil {
		_, err = n.verifyOf(ctx, h.trust, p)
	}
	if err != nil {
		return fail(err)
	}
	return e.Proof, nil
}

// trustedOthers returns what is trusted of other trees.
func (n *Node) trustedOthers() (others []credential.Trusted) {
	n.others.mu.Lock()
	defer n.others.mu.Unlock()
	for _, t := range n.others.trust {
		others = append(others, t.snapshot())
	}
	return others
}

// givenIn returns, of grants, one of each giver of a tree, who passed them on in another.
func givenIn(grants [][]byte, of identity.TreeID) (given [][]byte) {
	var givers []identity.MemberID
	for _, raw := range grants {
		t, _, err := grant.Parse(raw)
		if err == nil && t.GiverTree == of && !slices.Contains(givers, t.Giver) {
			givers, given = append(givers, t.Giver), append(given, raw)
		}
	}
	return given
}

// WhyAbroad asks whether the node may do something at a thing of another tree now. It answers with what the thing would
// decide, by what the node has to show there, and with the grants that it was given there. How fresh a proof the thing
// asks for the node does not know: the usual is taken. Otherwise see Why.
func (n *Node) WhyAbroad(ctx context.Context, thing identity.ID, affordance string, action grant.Action, purpose string) (d grant.Decision, granted []grant.Terms, err error) {
	fail := func(err error) (grant.Decision, []grant.Terms, error) {
		return grant.Decision{}, nil, fmt.Errorf("kindred: asking why this member may %s %s: %w", action, thing, err)
	}
	h, err := n.other(ctx, thing.Tree)
	if err != nil {
		return fail(err)
	}
	c, err := n.abroad(ctx, thing)
	if err == nil {
		err = n.prepare(ctx, identity.MemberID{})
	}
	if err == nil {
		err = n.proveAbroad(ctx, h, c.Member(), tree.DefaultFresh)
	}
	if err != nil {
		var said *control.Error
		if errors.As(err, &said) && (said.Code == control.NotFound || said.Code == control.Refused) {
			return grant.Decision{}, nil, nil // it is said to nobody who was given nothing
		}
		return fail(err)
	}
	hello, err := n.shownAbroad(h, c.Member())
	if err != nil {
		return fail(err)
	}
	for _, raw := range hello.Grants {
		t, _, err := grant.Parse(raw)
		if err != nil {
			return fail(err)
		}
		granted = append(granted, t)
	}
	req := grant.Request{Thing: c.Chain, Affordance: affordance, Action: action, Purpose: purpose}
	facts := bestFacts(grant.Limit{Fresh: tree.DefaultFresh, Offline: tree.DefaultOffline}, false)
	err = h.trust.update(ctx, n.now, func(t credential.Trusted, _ time.Time) (next credential.Trusted, err error) {
		facts.Now = n.now()
		d, next, err = grant.Judge(hello, t, req, facts, append(n.trustedOthers(), n.trust.snapshot())...)
		return next, err
	})
	if err != nil {
		return fail(err)
	}
	return d, granted, nil
}
