package pairing

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/kindred-iot/kindred/identity"
)

// The steps of the drawing in the package documentation. Each is called by whoever has the record's turn, changes it
// in the store first, and leaves it as it was if that fails.

// claim binds an invitation to the keys of its first claim.
func (d *Desk) claim(ctx context.Context, id ID, e *entry, r *record, c Claim) error {
	keys, err := c.keys(r.Kind)
	if err != nil {
		return fmt.Errorf("%w: %w", errInvalid, err)
	}
	if len(c.Binding) != sha256.Size {
		return fmt.Errorf("%w: a binding of %d bytes, want %d", errInvalid, len(c.Binding), sha256.Size)
	}
	if r.Claim != nil {
		held, err := r.Claim.keys(r.Kind)
		if err != nil {
			return err
		}
		if !held.same(keys) {
			return ErrUsed
		}
		return nil
	}
	if r.Stage != StageOpen {
		return nil // refused before anybody claimed
	}
	now := d.cfg.Now()
	if now.After(claimableUntil(*r)) {
		return ErrExpired
	}
	next := *r
	next.Claim, next.Claimed, next.Stage, next.Until = &c, now.Unix(), StageWaiting, now.Add(PendingFor).Unix()
	if err := d.put(ctx, id, e, &next); err != nil {
		return err
	}
	*r = next
	d.cfg.Log.Info("invitation claimed", "invitation", id, "kind", r.Kind, "path", r.Path)
	return nil
}

// sign stores the certificates of a claimed member.
func (d *Desk) sign(ctx context.Context, id ID, e *entry, r *record, by identity.MemberID, chain [][]byte) error {
	charter, err := d.cfg.Gateway.Charter(ctx)
	if err != nil {
		return err
	}
	next := *r
	next.By, next.Chain, next.Stage = by, chain, StageSigned
	if _, _, err := next.verified(charter, d.cfg.Tree, d.cfg.Now()); err != nil {
		return err
	}
	if err := d.put(ctx, id, e, &next); err != nil {
		return err
	}
	*r = next
	return nil
}

func (d *Desk) refuse(ctx context.Context, id ID, e *entry, r *record, reason string) error {
	next := *r
	next.Stage, next.Reason, next.Until = StageRefused, clean(reason, maxReason), d.cfg.Now().Add(RememberedFor).Unix()
	if err := d.put(ctx, id, e, &next); err != nil {
		return err
	}
	*r = next
	d.cfg.Log.Info("member turned away", "invitation", id, "kind", r.Kind, "path", r.Path, "reason", r.Reason)
	return nil
}

// certifyApp stores the certificate that a new person made for its app. The first one stays.
func (d *Desk) certifyApp(ctx context.Context, id ID, e *entry, r *record, certificate []byte) error {
	if r.Stage != StageSigned || r.App != nil || !bringsCA(r.Kind) {
		return nil
	}
	charter, err := d.cfg.Gateway.Charter(ctx)
	if err != nil {
		return err
	}
	next := *r
	next.App = certificate
	if _, _, err := next.verified(charter, d.cfg.Tree, d.cfg.Now()); err != nil {
		return fmt.Errorf("%w: the app's certificate: %w", errInvalid, err)
	}
	if err := d.put(ctx, id, e, &next); err != nil {
		return err
	}
	*r = next
	return nil
}

// drive does what can be done without asking anybody. It returns a *RefusedError for a refused record.
func (d *Desk) drive(ctx context.Context, id ID, e *entry, r *record) error {
	var refused *RefusedError
	if r.Stage == StageWaiting && r.Kind == identity.Device {
		if err := d.signHere(ctx, id, e, r); errors.As(err, &refused) {
			return errors.Join(refused, d.refuse(ctx, id, e, r, refused.Reason))
		} else if err != nil {
			return err
		}
	}
	if r.admissible() {
		if err := d.admit(ctx, id, e, r); errors.As(err, &refused) {
			return errors.Join(refused, d.refuse(ctx, id, e, r, refused.Reason))
		} else if err != nil {
			return err
		}
	}
	if r.Stage == StageRefused {
		return &RefusedError{Reason: r.Reason}
	}
	return nil
}

// signHere has the gateway certify a device.
func (d *Desk) signHere(ctx context.Context, id ID, e *entry, r *record) error {
	keys, err := r.Claim.keys(r.Kind)
	if err != nil {
		return err
	}
	chain, err := d.cfg.Gateway.Sign(ctx, r.request(id), keys)
	if err != nil || chain == nil {
		return err
	}
	return d.sign(ctx, id, e, r, r.Inviter, chain)
}

// admit has the gateway put a member into the roster. When the process dies between that and the store, it is
// repeated, which Gateway.Admit allows for.
func (d *Desk) admit(ctx context.Context, id ID, e *entry, r *record) error {
	charter, err := d.cfg.Gateway.Charter(ctx)
	if err != nil {
		return err
	}
	member, app, err := r.verified(charter, d.cfg.Tree, d.cfg.Now())
	if err != nil {
		return err
	}
	welcome, err := d.cfg.Gateway.Admit(ctx, Entrance{By: r.By, Label: r.Label, Parents: r.Parents, Member: member, App: app})
	if err != nil {
		return err
	}
	next := *r
	next.Stage, next.Welcome, next.Until = StageJoined, &welcome, d.cfg.Now().Add(RememberedFor).Unix()
	if err := d.put(ctx, id, e, &next); err != nil {
		return err
	}
	*r = next
	d.cfg.Log.Info("member joined", "invitation", id, "kind", r.Kind, "path", r.Path, "member", member.Member())
	return nil
}
