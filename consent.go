package kindred

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// accept has a service accept what was agreed on with it, where it has not yet: before that nothing is shown to it. It
// reports whether it accepted anything.
func (n *Node) accept(ctx context.Context, e control.Evidence) (accepted bool, err error) {
	if n.self.Kind() != identity.Service {
		return false, nil
	}
	for _, raw := range e.Grants {
		t, s, err := grant.Parse(raw)
		if err != nil || t.Agreement.IsZero() || t.Subject.Member != n.self.Member() || n.hasAccepted(e.Consents, s.Digest) {
			continue
		}
		if n.cfg.Agree != nil {
			if err := n.cfg.Agree(t); err != nil {
				n.log.Warn("what is offered is not accepted", "grant", t.ID, "error", err)
				continue
			}
		}
		consent := grant.Consent{Tree: t.Tree, Grant: t.ID, Statement: s.Digest, By: n.self.Member()}
		if err := n.consent(ctx, consent, false); err != nil {
			return accepted, fmt.Errorf("kindred: accepting %s: %w", t.ID, err)
		}
		accepted = true
	}
	return accepted, nil
}

func (n *Node) hasAccepted(consents [][]byte, statement signed.Digest) bool {
	return slices.ContainsFunc(consents, func(raw []byte) bool {
		c, _, err := grant.ParseConsent(raw)
		return err == nil && c.Statement == statement && c.By == n.self.Member()
	})
}

// consent signs a consent, with the root key if so asked, and hands it to the gateway.
func (n *Node) consent(ctx context.Context, c grant.Consent, root bool) error {
	c.Time = n.cfg.Clock().Unix()
	key, chain := n.key, n.self.Raw
	if root {
		var err error
		if key, err = n.keys.Open(KeyRoot); err != nil {
			return fmt.Errorf("kindred: the root key is not in this directory: %w", err)
		}
		chain = nil
	}
	raw, err := grant.SignConsent(key, chain, c)
	if err != nil {
		return err
	}
	return n.Gateway().Consent(ctx, raw)
}

// errOwnGrant says that whoever gave something cannot be the second one to stand behind it.
var errOwnGrant = errors.New("who gave it cannot approve it: another owner can, or the root key")

// Approve makes the owner that the node acts for, or the root key, the second one to stand behind what another owner
// signed: a grant, or, with the zero ID, what is set apart of a thing.
func (n *Node) Approve(ctx context.Context, id tree.GrantID, raw []byte, root bool) error {
	s, err := signed.Parse(raw)
	if err != nil {
		return err
	}
	c := grant.Consent{Tree: n.self.ID.Tree, Grant: id, Statement: s.Digest}
	if !root {
		c.By = n.self.ActsFor()
	}
	if t, _, err := grant.Parse(raw); err == nil && !root && t.Giver == c.By {
		return errOwnGrant
	}
	if t, _, err := grant.ParseClass(raw); err == nil && !root && t.Owner == c.By {
		return errOwnGrant
	}
	return n.consent(ctx, c, root)
}
