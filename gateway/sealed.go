package gateway

import (
	"context"
	"fmt"
	"slices"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// Publish files to which key is sealed for the caller.
func (h *home) Publish(ctx context.Context, who credential.Principal, r control.SignedRecipient) (control.None, error) {
	if err := h.keeper.SetRecipient(ctx, who.Chain, r.Recipient); err != nil {
		return control.None{}, answer(err)
	}
	return control.None{}, nil
}

// recipientNamed returns the digest of a member's signed recipient, nil if there is none.
func (g *Gateway) recipientNamed(member identity.MemberID) []byte {
	raw, ok := g.keeper.Recipient(member)
	if !ok {
		return nil
	}
	s, err := signed.Parse(raw)
	if err != nil { // the keeper has verified it
		return nil
	}
	return s.Digest[:]
}

// mayBeSealedTo returns the members that a device may seal to: whoever has some right to it; or, for somebody whose doings
// there are private, their apps.
func (h *home) mayBeSealedTo(device identity.Chain, q control.ReadersQuery) (leaves []identity.Chain, err error) {
	var person identity.MemberID
	if q.For != "" {
		if person, err = identity.ParseMemberID(q.For); err != nil {
			return nil, invalid(err)
		}
		if e, ok := h.member(device.Member()); !ok || !slices.Contains(e.Private, person) {
			return nil, notFound("")
		}
	}
	h.keeper.View(func(s *tree.State) {
		for e := range s.Members() {
			leaves = append(leaves, e.Chain)
		}
	})
	return slices.DeleteFunc(leaves, func(leaf identity.Chain) bool {
		if !person.IsZero() {
			return leaf.ActsFor() != person || leaf.Kind() != identity.App
		}
		return !leaf.Owner() && len(h.grantsFor(leaf, device)) == 0
	}), nil
}

// Readers tells the calling device whom it may seal to: owners' apps, and whoever has a grant about it.
func (h *home) Readers(ctx context.Context, who credential.Principal, q control.ReadersQuery) (control.Readers, error) {
	if who.Kind() != identity.Device {
		return control.Readers{}, refused("only devices seal what they record")
	}
	q.MaxAge = h.young(who.Chain, q.MaxAge)
	leaves, err := h.mayBeSealedTo(who.Chain, q)
	if err != nil {
		return control.Readers{}, err
	}
	var found control.Readers
	for _, leaf := range leaves {
		recipient, ok := h.keeper.Recipient(leaf.Member())
		if !ok {
			continue
		}
		if len(found.Readers) == control.MaxReaders {
			return control.Readers{}, &control.Error{
				Code:    control.Conflict,
				Message: fmt.Sprintf("more than %d apps and services may read %s", control.MaxReaders, who.ID.Path),
				Hint:    "take back what is not used",
			}
		}
		e, err := h.evidence(ctx, leaf, control.ProofQuery{Thing: who.Member().String(), MaxAge: q.MaxAge})
		if _, live := h.member(leaf.Member()); !live {
			continue // it was taken away meanwhile
		}
		if err != nil {
			return control.Readers{}, err
		}
		found.Readers = append(found.Readers, control.Reader{Evidence: shownBy(e), Recipient: recipient})
	}
	return found, nil
}
