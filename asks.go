package kindred

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// An Ask is a member's wish to be granted something, and what became of it.
type Ask struct {
	grant.Ask
	By      identity.Chain // the leaf that signed it
	State   control.AskState
	Waiting bool
}

// Ask asks the home's owners for a right, for whom the node acts for or else for itself. Tree, ID, subject and time of
// the terms are filled in.
func (n *Node) Ask(ctx context.Context, a grant.Ask) (grant.Ask, error) {
	a.Terms.Tree = n.self.ID.Tree
	raw, a, err := n.signAsk(a)
	if err != nil {
		return a, err
	}
	return a, n.Gateway().Ask(ctx, raw)
}

// signAsk fills in what an ask has to say of itself and of who asks, and signs it.
func (n *Node) signAsk(a grant.Ask) ([]byte, grant.Ask, error) {
	var err error
	t := &a.Terms
	if t.ID, err = tree.NewGrantID(rand.Reader); err != nil {
		return nil, a, err
	}
	t.Time, t.Subject.Tree, t.Subject.Member = n.cfg.Clock().Unix(), n.self.ID.Tree, n.self.ActsFor()
	if t.Subject.Member.IsZero() {
		t.Subject.Member = n.self.Member()
	}
	raw, err := grant.SignAsk(n.key, n.self.Raw, a)
	return raw, a, err
}

// Asks fetches what is asked for: to owners' apps everything, to others what they asked for. Each is checked to be signed
// by whoever it says, so that a gateway cannot make one up.
func (n *Node) Asks(ctx context.Context) ([]Ask, error) {
	found, err := n.Gateway().Asks(ctx)
	if err != nil {
		return nil, err
	}
	var asks []Ask
	for _, s := range found.Asks {
		a := Ask{State: s, Waiting: s.Answered.IsZero()}
		of, err := grant.AskedIn(s.Raw)
		if err == nil {
			a.Ask, a.By, err = grant.OpenAsk(s.Raw, func(chain [][]byte, at time.Time) (identity.Chain, error) {
				return n.verifyAsker(ctx, of, chain, at)
			})
		}
		if errors.Is(err, credential.ErrStranger) {
			continue // its home is not known any more
		}
		if err != nil {
			return nil, fmt.Errorf("kindred: reading a request: %w", err)
		}
		asks = append(asks, a)
	}
	return asks, nil
}

// Allow grants terms, which may be others than were asked for, and answers the ask.
func (n *Node) Allow(ctx context.Context, a Ask, t grant.Terms) (grant.Terms, error) {
	t, err := n.Share(ctx, t)
	if err != nil {
		return t, err
	}
	return t, n.Gateway().AnswerAsk(ctx, control.AskAnswer{ID: a.Terms.ID.String(), Grant: t.ID.String()})
}

// TurnDown answers an ask with no.
func (n *Node) TurnDown(ctx context.Context, a Ask, because string) error {
	return n.Gateway().AnswerAsk(ctx, control.AskAnswer{ID: a.Terms.ID.String(), Because: because})
}
