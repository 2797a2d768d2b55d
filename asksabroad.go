package kindred

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

// askedPrefix is under what the node keeps what it asked for in other homes: the ID, and a storedAsk.
const askedPrefix = "asked/"

// askedFor is how long that is kept.
const askedFor = 30 * 24 * time.Hour

type storedAsk struct {
	Raw   []byte
	State control.AskState // as it was last told
}

// AskAbroad asks the owners of another home for a right there, as Ask does at home. Whether there is such a thing the node
// is not told.
func (n *Node) AskAbroad(ctx context.Context, thing identity.ID, a grant.Ask) (grant.Ask, error) {
	fail := func(err error) (grant.Ask, error) {
		return a, fmt.Errorf("kindred: asking for a right to %s: %w", thing, err)
	}
	h, err := n.other(ctx, thing.Tree)
	if err != nil {
		return fail(err)
	}
	a.Path, a.Terms.Tree = thing.Path, thing.Tree
	a.Terms.Subject.Path = n.self.ID.Path
	if !n.self.ActsFor().IsZero() {
		a.Terms.Subject.Path = n.self.ID.Path.Parent()
	}
	raw, a, err := n.signAsk(a)
	if err != nil {
		return fail(err)
	}
	if _, err := n.askThere(ctx, h, storedAsk{Raw: raw}, a, false); err != nil {
		return fail(err)
	}
	return a, nil
}

// askThere asks another home's gateway, or asks it again what became of it, and keeps the answer.
func (n *Node) askThere(ctx context.Context, h *otherHome, s storedAsk, a grant.Ask, withdraw bool) (storedAsk, error) {
	if err := n.prepare(ctx, identity.MemberID{}); err != nil {
		return s, err
	}
	own, ok := n.proofs.get(identity.MemberID{})
	if !ok {
		return s, errors.New("there is no proof of this member yet")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*askGateway)
	defer cancel()
	state, err := n.gatewayOf(h).VisitorAsk(ctx, control.VisitorAsk{Raw: s.Raw, Proof: own.Evidence.Proof, Withdraw: withdraw})
	if err != nil {
		return s, err
	}
	if len(state.Because) > grant.MaxAskText || len(state.Grant) > grant.MaxAskText || state.Raw != nil {
		return s, errors.New("it answers more than it was asked")
	}
	s.State = state
	data, err := json.Marshal(s)
	if err != nil {
		return s, err
	}
	return s, n.db.Save(ctx, map[string][]byte{askedPrefix + a.Terms.ID.String(): data})
}

// AsksAbroad returns what the node asked for in other homes, the oldest first, and what has become of it. Where a home does
// not answer, it is what was told last.
func (n *Node) AsksAbroad(ctx context.Context) (asks []Ask, err error) {
	kept, err := n.keptAsks(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range kept {
		if k.s.State.Answered.IsZero() {
			h, err := n.other(ctx, k.Terms.Tree)
			if err == nil {
				k.s, err = n.askThere(ctx, h, k.s, k.Ask, false)
			}
			if err != nil {
				n.log.Info("what became of a request in another home is not to be had", "error", err)
			}
		}
		asks = append(asks, Ask{Ask: k.Ask, By: n.self, State: k.s.State, Waiting: k.s.State.Answered.IsZero()})
	}
	return asks, nil
}

// TakeBackAsk says, in another home, that something is not asked for any more.
func (n *Node) TakeBackAsk(ctx context.Context, a Ask) error {
	kept, err := n.keptAsks(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(kept, func(k keptAsk) bool { return k.Terms.ID == a.Terms.ID })
	if i < 0 {
		return &control.Error{Code: control.NotFound, Message: "there is no such request"}
	}
	h, err := n.other(ctx, a.Terms.Tree)
	if err == nil {
		_, err = n.askThere(ctx, h, kept[i].s, kept[i].Ask, true)
	}
	return err
}

type keptAsk struct {
	grant.Ask
	s storedAsk
}

// keptAsks reads what was asked for in other homes, and forgets what is old.
func (n *Node) keptAsks(ctx context.Context) (kept []keptAsk, err error) {
	old := map[string][]byte{}
	err = n.db.Scan(ctx, askedPrefix, func(key string, value []byte) error {
		var k keptAsk
		if err := json.Unmarshal(value, &k.s); err != nil {
			return fmt.Errorf("kindred: reading %s: %w", key, err)
		}
		var err error
		k.Ask, _, err = grant.OpenAsk(k.s.Raw, func(chain [][]byte, at time.Time) (identity.Chain, error) {
			return identity.Verify(chain, n.trust.tree(), n.Charter().RootCertificate(), at)
		})
		if err != nil || n.cfg.Clock().Sub(time.Unix(k.Terms.Time, 0)) > askedFor {
			old[key] = nil
			return nil
		}
		kept = append(kept, k)
		return nil
	})
	if err == nil && len(old) > 0 {
		err = n.db.Save(ctx, old)
	}
	slices.SortFunc(kept, func(a, b keptAsk) int { return int(a.Terms.Time - b.Terms.Time) })
	return kept, err
}

// verifyAsker verifies the certificates of whoever asks, of the node's own tree or of one that it recognizes.
func (n *Node) verifyAsker(ctx context.Context, of identity.TreeID, chain [][]byte, at time.Time) (identity.Chain, error) {
	if of == n.self.ID.Tree {
		return identity.Verify(chain, of, n.Charter().RootCertificate(), at)
	}
	h, err := n.other(ctx, of)
	if err != nil {
		return identity.Chain{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return credential.VerifyChainIn(h.known, chain, at)
}
