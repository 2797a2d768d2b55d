package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/tree"
)

// asksAbroad takes what members of other trees ask for. They may be strangers otherwise, to whom nothing of this home is
// shown: they send what proves who they are with the ask, and are answered with what became of that and nothing else.
type asksAbroad struct{ *Gateway }

// errNotAsked is the one answer to whoever may not ask, whatever the reason is.
var errNotAsked = &control.Error{Code: control.Refused, Message: "refused"}

// ServeHTTP serves control.VisitorAskPath.
func (g asksAbroad) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(responseTime)) // not every server can
	var q control.VisitorAsk
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, control.MaxVisitorAsk))
	if err == nil {
		err = json.Unmarshal(body, &q)
	}
	var state control.AskState
	if err != nil {
		err = invalid(errors.New("the question cannot be read"))
	} else {
		state, err = g.answer(r.Context(), q)
	}
	if err != nil {
		var e *control.Error
		if !errors.As(err, &e) {
			g.cfg.Log.Error("an ask from abroad was not answered", "error", err)
			e = &control.Error{Code: control.Unavailable, Message: "the gateway could not do it"}
		}
		_ = control.Fail(w, e) // whoever has gone away asks again
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(state)
}

// answer files an ask that is new, and says of any how it stands.
func (g asksAbroad) answer(ctx context.Context, q control.VisitorAsk) (control.AskState, error) {
	a, signer, err := g.opened(ctx, q)
	if err != nil {
		g.cfg.Log.Info("an ask from abroad is refused", "error", err)
		return control.AskState{}, errNotAsked
	}
	g.asks.turn.Lock()
	defer g.asks.turn.Unlock()
	all, err := g.allAsks(ctx)
	if err != nil {
		return control.AskState{}, err
	}
	state := control.AskState{Arrived: g.cfg.Clock()}
	i := slices.IndexFunc(all, func(other ask) bool { return other.Terms.ID == a.Terms.ID && slices.Equal(other.Raw, q.Raw) })
	switch {
	case i >= 0:
		state = all[i].AskState
	case q.Withdraw || state.Arrived.Sub(time.Unix(a.Terms.Time, 0)).Abs() > time.Hour:
		return control.AskState{}, &control.Error{Code: control.NotFound, Message: "there is no such request"}
	default:
		if err := g.fileAsk(ctx, all, a, q.Raw, signer); err != nil {
			return control.AskState{}, err
		}
	}
	if q.Withdraw && state.Answered.IsZero() {
		state.Answered = g.cfg.Clock()
		if err := g.keepAsk(ctx, a.Terms.ID, state); err != nil {
			return control.AskState{}, err
		}
		about, _ := (&home{g.Gateway}).find(a.Path, "")
		g.tell(ctx, journal.Deny, signer, party(about.Chain), party(signer), tree.GrantID{})
	}
	state.Raw = nil
	return state, nil
}

// opened verifies who asks: somebody of a tree that is recognized, who was live there within the last day.
func (g asksAbroad) opened(ctx context.Context, q control.VisitorAsk) (a grant.Ask, signer identity.Chain, err error) {
	proof, err := credential.ParseProof(q.Proof)
	if err != nil {
		return a, signer, err
	}
	of, err := proof.Tree()
	if err != nil {
		return a, signer, err
	}
	r, err := g.recognized(of)
	if err != nil {
		return a, signer, err
	}
	if a, signer, err = g.openAsk(q.Raw); err != nil {
		return a, signer, err
	}
	if signer.ID.Tree != of || a.Terms.Tree != g.keeper.Charter().Tree || a.Terms.Subject.Path == "" {
		return a, signer, errors.New("gateway: it is of another tree than the proof, for a thing of another tree, or does not say who asks")
	}
	return a, signer, g.started().LiveAbroad(ctx, r, proof, signer)
}
