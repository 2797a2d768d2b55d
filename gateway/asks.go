package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/tree"
)

// asks are what members ask to be granted, kept until they are answered and a while longer.
type asks struct {
	turn sync.Mutex // held while they are counted and one is stored
}

const (
	askPrefix = "ask/"
	maxAsks   = 256 // of everybody
	maxAsksOf = 8   // of one subject that wait

	maxKeptMember = 32                  // of one subject of the home's own, answered or not
	maxKeptOf     = 16                  // of one subject of another tree, likewise
	maxKeptHome   = 24                  // of one other tree
	maxKeptAbroad = 64                  // of all of them
	askLife       = 30 * 24 * time.Hour // from when it was asked
	maxAnswered   = grant.MaxAskText
)

func askKey(id tree.GrantID) string { return askPrefix + id.String() }

// An ask is one with what it says.
type ask struct {
	control.AskState
	grant.Ask
	signer identity.Chain
}

// openAsk reads an ask of the home's own tree, or of one that is recognized.
func (g *Gateway) openAsk(raw []byte) (grant.Ask, identity.Chain, error) {
	of, err := grant.AskedIn(raw)
	if err != nil {
		return grant.Ask{}, identity.Chain{}, err
	}
	charter := g.keeper.Charter()
	return grant.OpenAsk(raw, func(chain [][]byte, at time.Time) (identity.Chain, error) {
		if of == charter.Tree {
			return identity.Verify(chain, of, charter.RootCertificate(), at)
		}
		r, err := g.recognized(of)
		if err != nil {
			return identity.Chain{}, err
		}
		return credential.VerifyChainIn(r, chain, at)
	})
}

// Ask files what the caller asks for, and tells the journal. Whether what it asks about exists it does not learn.
func (h *home) Ask(ctx context.Context, who credential.Principal, signed control.SignedAsk) (control.None, error) {
	var none control.None
	a, signer, err := h.openAsk(signed.Raw)
	now := h.cfg.Clock()
	switch {
	case err != nil:
		return none, invalid(err)
	case signer.Self().Digest != who.Self().Digest:
		return none, refused("somebody else signed this")
	case a.Terms.Tree != who.ID.Tree:
		return none, invalid(errors.New("it is about a thing of another tree"))
	case now.Sub(time.Unix(a.Terms.Time, 0)).Abs() > time.Hour:
		return none, invalid(errors.New("it was signed more than an hour ago, or in the future"))
	}
	h.asks.turn.Lock()
	defer h.asks.turn.Unlock()
	all, err := h.allAsks(ctx)
	if err != nil || slices.ContainsFunc(all, func(other ask) bool { return other.Terms.ID == a.Terms.ID }) {
		return none, err // or it is here already
	}
	return none, h.fileAsk(ctx, all, a, signed.Raw, signer)
}

// fileAsk keeps an ask that is new, if not too many wait, and tells the journal. What was read under an ID, and may be
// allowed by that, stays what it was. The caller holds the turn.
func (g *Gateway) fileAsk(ctx context.Context, all []ask, a grant.Ask, raw []byte, by identity.Chain) error {
	waiting, same, there, abroad := 0, 0, 0, 0
	for _, other := range all {
		if other.Terms.ID == a.Terms.ID {
			return &control.Error{Code: control.Conflict, Message: "there is another request of this ID"}
		}
		if o, t := other.Terms.Subject, a.Terms.Subject; o.Tree == t.Tree && o.Member == t.Member {
			same++
			if other.Answered.IsZero() {
				waiting++
			}
		}
		if other.signer.ID.Tree == by.ID.Tree {
			there++
		}
		if g.visits(other.signer) {
			abroad++
		}
	}
	often := same >= maxKeptMember // so that nobody crowds out others by asking, and taking that back, again and again
	if g.visits(by) {
		often = same >= maxKeptOf || there >= maxKeptHome || abroad >= maxKeptAbroad // a home has as many people as it likes
	}
	if waiting >= maxAsksOf || len(all) >= maxAsks || often {
		return &control.Error{Code: control.Unavailable, Message: "too many requests wait for an answer here", Hint: "wait until some are answered, or a month old"}
	}
	if err := g.keepAsk(ctx, a.Terms.ID, control.AskState{Raw: raw, Arrived: g.cfg.Clock()}); err != nil {
		return err
	}
	about, _ := (&home{g}).find(a.Path, "")
	g.tell(ctx, journal.Ask, by, party(about.Chain), journal.Party{}, tree.GrantID{})
	return nil
}

func (g *Gateway) keepAsk(ctx context.Context, id tree.GrantID, s control.AskState) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return g.db.Save(ctx, map[string][]byte{askKey(id): data})
}

// allAsks returns the asks there are, and forgets those that are old.
func (g *Gateway) allAsks(ctx context.Context) (all []ask, err error) {
	old := map[string][]byte{}
	err = g.db.Scan(ctx, askPrefix, func(key string, value []byte) error {
		var a ask
		if err := json.Unmarshal(value, &a.AskState); err != nil {
			return fmt.Errorf("gateway: reading %s: %w", key, err)
		}
		var err error
		a.Ask, a.signer, err = g.openAsk(a.Raw)
		if err != nil || g.cfg.Clock().Sub(time.Unix(a.Terms.Time, 0)) > askLife || !g.visits(a.signer) && !g.isLive(a.signer) {
			old[key] = nil // or whoever asked is a member no more
			return nil
		}
		all = append(all, a)
		return nil
	})
	if err == nil && len(old) > 0 {
		err = g.db.Save(ctx, old)
	}
	slices.SortFunc(all, func(a, b ask) int { return a.Arrived.Compare(b.Arrived) })
	return all, err
}

// Asks tells what is asked for: owners of everything, others of what they ask for themselves.
func (h *home) Asks(ctx context.Context, who credential.Principal, _ control.None) (control.Asks, error) {
	h.asks.turn.Lock()
	defer h.asks.turn.Unlock()
	all, err := h.allAsks(ctx)
	out := control.Asks{Asks: []control.AskState{}}
	for _, a := range all {
		theirs := a.signer.ID.Tree == who.ID.Tree && a.Terms.Subject.Member == who.ActsFor()
		if who.Owner() || theirs || a.signer.TreeMember() == who.TreeMember() {
			out.Asks = append(out.Asks, a.AskState)
		}
	}
	return out, err
}

// AnswerAsk notes what became of an ask. Owners answer; whoever asked may take it back, which turns it down.
func (h *home) AnswerAsk(ctx context.Context, who credential.Principal, answered control.AskAnswer) (control.None, error) {
	var none control.None
	id, err := tree.ParseGrantID(answered.ID)
	if err != nil || len(answered.Because) > maxAnswered {
		return none, invalid(errors.Join(err, errors.New("want an ID, and at most 256 bytes of reason")))
	}
	h.asks.turn.Lock()
	defer h.asks.turn.Unlock()
	all, err := h.allAsks(ctx)
	if err != nil {
		return none, err
	}
	i := slices.IndexFunc(all, func(a ask) bool { return a.Terms.ID == id })
	own := i >= 0 && all[i].signer.TreeMember() == who.TreeMember() && answered.Grant == ""
	switch {
	case i < 0 || !own && !who.Owner():
		return none, &control.Error{Code: control.NotFound, Message: "there is no such request"}
	case !all[i].Answered.IsZero():
		return none, &control.Error{Code: control.Conflict, Message: "it was answered already"}
	}
	s := all[i].AskState
	s.Answered, s.Grant, s.Because = h.cfg.Clock(), answered.Grant, answered.Because
	if err := h.keepAsk(ctx, id, s); err != nil {
		return none, err
	}
	if answered.Grant == "" {
		about, _ := h.find(all[i].Path, "")
		h.tell(ctx, journal.Deny, who.Chain, party(about.Chain), party(all[i].signer), tree.GrantID{})
	}
	return none, nil
}
