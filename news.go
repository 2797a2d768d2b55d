package kindred

import (
	"context"
	"errors"
	"fmt"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
)

// News asks the gateway of another home, for a gateway, what is new there, and waits for that a while. If something was
// taken away the answer has the proof that says so, verified and learnt from, and the sequence that it is of is returned.
func (n *Node) News(ctx context.Context, of identity.TreeID, q control.NewsQuery) (said control.News, sequence uint64, err error) {
	fail := func(err error) (control.News, uint64, error) {
		return control.News{}, 0, fmt.Errorf("kindred: asking for news of tree %s: %w", of, err)
	}
	h, err := n.other(ctx, of)
	if err != nil {
		return fail(err)
	}
	if said, err = n.gatewayOf(h).News(ctx, q); err != nil {
		return fail(err)
	}
	if said.Proof == nil {
		return said, 0, nil
	}
	p, err := credential.ParseProof(said.Proof)
	if err != nil {
		return fail(err)
	}
	live, err := n.verifyOf(ctx, h.trust, p)
	if err != nil {
		return fail(err)
	}
	return said, live.Sequence, nil
}

// hear learns what the node's own gateway passes on of homes whose members the node serves: by the recognition that an
// owner of the node's tree signed, and by what each home's own keeper and ledger signed. Streams of who was removed there
// end with it.
func (n *Node) hear(ctx context.Context, homes control.Homes) error {
	p, err := credential.ParseProof(homes.Proof)
	if err != nil {
		return err
	}
	here, err := n.verify(ctx, p)
	if err != nil {
		return err
	}
	if len(homes.News) > maxHomes {
		return fmt.Errorf("kindred: news of %d homes, of at most %d", len(homes.News), maxHomes)
	}
	var errs []error
	for _, raw := range homes.News {
		errs = append(errs, n.hearOf(ctx, here, raw))
	}
	return errors.Join(errs...)
}

// maxHomes is of how many homes the node hears at once.
const maxHomes = 64

func (n *Node) hearOf(ctx context.Context, here credential.Live, raw []byte) error {
	p, err := credential.ParseProof(raw)
	if err != nil {
		return err
	}
	of, err := p.Tree()
	if err != nil {
		return err
	}
	r, err := here.Recognition(of)
	if err != nil {
		return err
	}
	t, err := n.trustOf(ctx, of, r.Charter)
	if err != nil {
		return err
	}
	_, err = n.verifyOf(ctx, t, p)
	return err
}
