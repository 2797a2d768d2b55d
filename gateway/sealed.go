package gateway

import (
	"context"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
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
