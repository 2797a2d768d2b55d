package kindred

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/vault"
)

// seals are what the node's journal is sealed with, for those whose doings at its thing are private.
type seals struct {
	mu sync.Mutex
	of map[identity.MemberID]*sealing
}

// A sealing is how it is sealed to one person.
//
//	         an entry, and no seal      an hour is over, or an app was removed
//	none ─────────────────────────▶ sealed ───────────────────────▶ none
//	 │                                                               ▲
//	 └── nobody known to seal to: a minute in clear ─────────────────┘
type sealing struct {
	mu      sync.Mutex // held while asking, and making a seal
	readers readers
	seal    *journal.Seal // nil: none, until then
	until   time.Time
	to      []reader
	version uint64 // of what is trusted, when those were looked at
}

const (
	sealLasts   = time.Hour   // that entries are sealed with one seal
	sealPause   = time.Minute // until it is tried again, after there was nobody to seal to
	maxSealedTo = 8           // apps of one person, the ones that said last
)

// sealFor returns what an entry about somebody is sealed with; nil if it is not to be, or nobody is known who could open
// it: what happened is in the journal in any case. It may have to ask the gateway.
func (n *Node) sealFor(who credential.Principal) *journal.Seal {
	person := who.ActsFor()
	if person.IsZero() || who.ID.Tree != n.self.ID.Tree || !slices.Contains(n.proofs.entry().Private, person) {
		return nil
	}
	n.seals.mu.Lock()
	s := n.seals.of[person]
	if s == nil {
		s = &sealing{readers: readers{of: person}}
		if n.seals.of == nil {
			n.seals.of = map[identity.MemberID]*sealing{}
		}
		n.seals.of[person] = s
	}
	n.seals.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := n.cfg.Clock()
	if left := s.until.Sub(now); left > 0 && left <= sealLasts && n.sealStands(s) {
		return s.seal
	}
	err := n.makeSeal(context.Background(), s, now) // whoever hangs up does not have what it did stand there in clear
	if err != nil {
		n.log.Warn("what is private goes into the journal in clear", "who", who.ID.Path, "error", err)
		s.seal, s.until = nil, now.Add(sealPause)
	}
	return s.seal
}

// sealStands reports whether all whom the seal is for are members still.
func (n *Node) sealStands(s *sealing) bool {
	_, version := n.trust.versioned()
	if s.version == version {
		return true
	}
	for _, r := range s.to {
		if _, err := n.renewal(r.session, n.now()); err != nil {
			return false
		}
	}
	s.version = version
	return true
}

func (n *Node) makeSeal(ctx context.Context, s *sealing, now time.Time) error {
	_, version := n.trust.versioned()
	fresh, _ := n.proofs.entry().LimitFor("")
	known, err := n.askReaders(ctx, &s.readers, fresh)
	if err != nil {
		return err
	}
	to := slices.DeleteFunc(slices.Clone(known), func(r reader) bool {
		_, err := n.renewal(r.session, n.now())
		return err != nil || r.session.who.ActsFor() != s.readers.of || r.session.who.ID.Tree != n.self.ID.Tree
	})
	if len(to) == 0 {
		return errors.New("none of their apps has said to which key to seal")
	}
	slices.SortFunc(to, func(a, b reader) int { return cmp.Compare(b.dated, a.dated) })
	to = to[:min(len(to), maxSealedTo)]
	var recipients []vault.Recipient
	for _, r := range to {
		recipients = append(recipients, r.to)
	}
	seal, err := n.journal.NewSeal(ctx, now, n.party(n.self), func(secret []byte) ([]byte, error) {
		return vault.Seal(secret, recipients)
	})
	if err != nil {
		return err
	}
	s.seal, s.until, s.to, s.version = seal, now.Add(sealLasts), to, version
	return nil
}

// Conceal has what some people do at a thing sealed to them in its journal, instead of whoever it was before. An owner's
// app may.
func (n *Node) Conceal(ctx context.Context, thing identity.MemberID, people []identity.MemberID) error {
	p := control.Privacy{Member: thing.String()}
	for _, id := range people {
		p.People = append(p.People, id.String())
	}
	return n.Gateway().Conceal(ctx, p)
}

// History asks the gateway what happened, the oldest first, and opens what is sealed to the node: such an entry tells all
// and has Sealed set. One that is sealed to others says when and where, by the operation journal.Private.
func (n *Node) History(ctx context.Context, q control.HistoryQuery) ([]journal.Entry, error) {
	entries, err := n.told(ctx, q, n.Gateway().History)
	return entries[max(0, len(entries)-cmp.Or(q.Limit, journal.DefaultLimit)):], err
}

// WholeHistory is History of all that happened, however much that is.
func (n *Node) WholeHistory(ctx context.Context, q control.HistoryQuery) ([]journal.Entry, error) {
	q.Limit = control.MaxHistory
	return n.told(ctx, q, func(ctx context.Context, q control.HistoryQuery) (control.History, error) {
		return allPages(ctx, q, n.Gateway().History)
	})
}

// asked is how it is asked what happened.
type asked func(context.Context, control.HistoryQuery) (control.History, error)

// allPages asks for as many entries as the limit says, and again for those before, until there are no more.
func allPages(ctx context.Context, q control.HistoryQuery, ask asked) (all control.History, err error) {
	for {
		h, err := ask(ctx, q)
		if err != nil {
			return all, err
		}
		all.Seals = append(all.Seals, h.Seals...)
		if len(h.Entries) < q.Limit {
			all.Entries = append(h.Entries, all.Entries...)
			return all, nil
		}
		// What else there is of its first moment comes with the next, unless it is all of that moment.
		first := h.Entries[0].Time
		until := first
		if i := slices.IndexFunc(h.Entries, func(e journal.Entry) bool { return e.Time.After(first) }); i > 0 {
			h.Entries, until = h.Entries[i:], first.Add(time.Millisecond)
		}
		if !q.Until.IsZero() && !until.Before(q.Until) {
			return all, errors.New("kindred: asking what happened: the gateway tells the same again and again")
		}
		all.Entries, q.Until = append(h.Entries, all.Entries...), until
	}
}

// told returns what happened, opened.
func (n *Node) told(ctx context.Context, q control.HistoryQuery, ask asked) ([]journal.Entry, error) {
	h, err := ask(ctx, q)
	if err != nil {
		return nil, err
	}
	entries := n.opened(ctx, h)
	if q.Caller == "" || q.Sealed {
		return entries, nil
	}
	caller := q.Caller
	q.Caller, q.Sealed, q.Limit = "", true, control.MaxHistory // nobody but the node can tell which of them are the caller's
	if h, err = allPages(ctx, q, n.Gateway().History); err != nil {
		return nil, err
	}
	for _, e := range n.opened(ctx, h) {
		if e.Op != journal.Private && e.Caller.Member.String() == caller {
			entries = append(entries, e)
		}
	}
	slices.SortStableFunc(entries, func(a, b journal.Entry) int { return a.Time.Compare(b.Time) })
	return entries, nil
}

// opened opens what is sealed to the node, and leaves out sealed receipts: what they are for says that it was signed for.
func (n *Node) opened(ctx context.Context, h control.History) []journal.Entry {
	by := map[journal.SealID]*journal.Seal{}
	for _, sealed := range h.Seals {
		secret, err := n.vault.key.Open(sealed)
		if err != nil {
			continue // it is sealed to others
		}
		if s, err := journal.OpenSeal(secret); err == nil {
			by[s.ID()] = s
		}
	}
	type call struct {
		caller identity.MemberID
		number uint64
	}
	signed, keys := map[call]*journal.Exchange{}, n.MemberKeys(ctx)
	var entries []journal.Entry
	for _, e := range h.Entries {
		sealed := e.Sealed
		if sealed != nil && by[sealed.Seal] != nil {
			whole, err := by[sealed.Seal].Open(n.self.ID.Tree, e)
			if err != nil {
				n.log.Warn("an entry of a journal does not open", "at", e.Thing.ID.Path, "error", err)
			} else {
				e, e.Sealed = whole, sealed
			}
		}
		if e.Op == journal.Countersign && e.Outcome != journal.Refused { // or it tells of a receipt that is not right
			signed[call{e.Caller.Member, e.Call}] = e.Exchange
			continue
		}
		entries = append(entries, e)
	}
	for i, e := range entries {
		x := signed[call{e.Caller.Member, e.Call}]
		if e.Sealed == nil || e.Call == 0 || x == nil {
			continue
		}
		r, err := x.VerifyBy(keys)
		entries[i].Countersigned = err == nil && r.Node == e.Thing.Member && r.Caller == e.Caller.Member && r.Call == e.Call
	}
	return entries
}
