package kindred

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/signed"
)

// accounts are what the node does at others' things: its own side of their journals. Before an action it writes down
// that it asks; the receipt it keeps, and signs if it fits what it asked. Reads are counted, and written down together.
//
//	asked ──▶ answered, with a receipt that fits ──▶ signed, in the journal; handed back with the next action,
//	  │              │                               or a moment later
//	  │              └── one that does not ──▶ in the journal, with the reason, and not signed
//	  └─────▶ no answer ──▶ the receipt is fetched when the thing says that one is owed
type accounts struct {
	node *Node
	wake chan struct{} // capacity 1: there is something to hand back

	handing chan struct{} // capacity 1: full while countersignatures are handed back, for once is enough

	mu    sync.Mutex
	at    map[string]*account // by the host of the URLs
	reads map[read]uint32     // since they were written down last
}

// An account is what the node did at one thing. accounts.mu guards it.
type account struct {
	base   string
	party  journal.Party // zero until it is known who that is
	signed [][]byte      // countersignatures to hand back
	calls  map[uint64]*known
	read   bool // since a receipt for it was asked for

	reads   *signedFor                 // the last receipt for reads that was signed
	refused map[signed.Digest]struct{} // receipts that are not signed, and of which the journal tells
}

// A read is a kind of reads.
type read struct {
	host, path string
	outcome    journal.Outcome
}

const (
	maxReads     = 1024 // kinds of reads that are counted before they are written down
	maxRemember  = 1024 // calls at one thing
	maxAccounts  = 1024
	handBackSoon = 50 * time.Millisecond // for the next action to take it along
	handBackLast = 2 * time.Second       // when the node closes
)

// start has the node hand back countersignatures, and write down what it read, until ctx ends.
func (as *accounts) start(ctx context.Context, n *Node) {
	as.node, as.wake, as.handing = n, make(chan struct{}, 1), make(chan struct{}, 1)
	as.at, as.reads = map[string]*account{}, map[read]uint32{}
	n.wait.Go(func() {
		minutes := time.NewTicker(receiptEvery)
		defer minutes.Stop()
		for {
			select {
			case <-as.wake:
				select {
				case <-time.After(handBackSoon):
					as.handBack(ctx)
				case <-ctx.Done():
				}
			case <-minutes.C:
				as.askForReceipts(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
}

// close hands back what is still to be, within a moment, and writes down what was read.
func (as *accounts) close() {
	if as.node == nil { // it never called anybody
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), handBackLast)
	defer cancel()
	as.handBack(ctx)
	as.writeReads()
}

// of returns the account with a host, made if need be. mu is held.
func (as *accounts) of(host string) *account {
	a := as.at[host]
	if a == nil {
		for old, other := range as.at { // any will do
			if len(as.at) < maxAccounts {
				break
			}
			if len(other.calls) == 0 {
				delete(as.at, old)
			}
		}
		a = &account{base: peer.Scheme + "://" + host, calls: map[uint64]*known{}, refused: map[signed.Digest]struct{}{}}
		as.at[host] = a
	}
	return a
}

// partyAt returns who is called under a host; zero where that is not known yet.
func (as *accounts) partyAt(ctx context.Context, host string) journal.Party {
	as.mu.Lock()
	a := as.of(host)
	p := a.party
	as.mu.Unlock()
	if !p.IsZero() {
		return p
	}
	if of, member, ok := as.node.memberAbroad(host); ok {
		return as.node.partyAbroad(ctx, of, member)
	}
	if member, err := as.node.memberOf(host); err == nil {
		if c, err := as.node.remembered(ctx, member); err == nil {
			p = as.node.party(c.Chain)
			as.mu.Lock()
			a.party = p
			as.mu.Unlock()
		}
	}
	return p
}

// remember keeps what is known of a call, in place of such as are answered, of which the journal tells.
func (a *account) remember(number uint64, k *known) {
	for old, other := range a.calls { // any will do
		if len(a.calls) < maxRemember {
			break
		}
		if !other.waiting {
			delete(a.calls, old)
		}
	}
	a.calls[number] = k
}

// amounts checks that a receipt says how much there was of nothing but streams and reads.
func amounts(r journal.Receipt) error {
	stream, reads := r.Part > 0, r.Entries > 0
	if stream && reads || !stream && r.Bytes > 0 || !stream && !reads && (r.Count > 0 || !r.Until.IsZero()) {
		return errors.New("it counts what is neither a stream nor read")
	}
	return nil
}

// handed forgets countersignatures that a thing has.
func (as *accounts) handed(host string, what [][]byte) {
	as.mu.Lock()
	defer as.mu.Unlock()
	a := as.of(host)
	a.signed = slices.DeleteFunc(slices.Clone(a.signed), func(raw []byte) bool {
		return slices.ContainsFunc(what, func(w []byte) bool { return &w[0] == &raw[0] })
	})
}

func (as *accounts) poke() {
	select {
	case as.wake <- struct{}{}:
	default:
	}
}

// sign signs a receipt that came in a response, if whoever sent that signed it, it is about this node, and it fits the
// call that of says it is for: nil for reads, which of has compared. The countersignature waits to be handed back. What was
// signed before stays as it was signed, and is not new. What is refused stands in the journal, with the reason.
func (as *accounts) sign(resp *http.Response, host string, raw []byte, of func(*account, journal.Receipt) (*known, error)) (
	x *journal.Exchange, fresh bool, err error) {
	n := as.node
	callee, ok := peer.Callee(resp)
	if !ok {
		return nil, false, errors.New("nobody knows who sent it")
	}
	r, name, err := journal.OpenReceipt(raw, callee.Key)
	if err != nil { // which proves nothing against anybody
		n.log.Error("a receipt is not signed", "from", host, "error", err)
		return nil, false, err
	}
	from := as.partyAt(resp.Request.Context(), host)
	s := signedFor{Receipt: r, name: name, exchange: &journal.Exchange{Receipt: raw}}
	if x, err = as.countersign(host, from, s, of); err == nil && x == nil {
		c := journal.Countersignature{Receipt: name, Caller: r.Caller, Tree: r.CallerTree, Time: n.clock()}
		if s.exchange.Countersignature, err = c.Sign(n.key); err != nil { // while nobody waits for as
			return nil, false, err
		}
		x, err = as.countersign(host, from, s, of)
	}
	if err != nil && !errors.Is(err, errLater) {
		as.refuse(host, from, r, name, raw, err)
	}
	return x, x == s.exchange, err
}

// countersign keeps what was signed for, if it fits, and returns it as it was signed first; nil if it is still to be.
func (as *accounts) countersign(host string, from journal.Party, s signedFor, of func(*account, journal.Receipt) (*known, error)) (*journal.Exchange, error) {
	n, r := as.node, s.Receipt
	switch {
	case r.Caller != n.self.Member() || r.CallerTree != n.self.ID.Tree:
		return nil, errors.New("it is for another caller")
	case !from.IsZero() && (r.Node != from.Member || r.Tree != from.ID.Tree):
		return nil, errors.New("it is in another's name")
	}
	if err := amounts(r); err != nil {
		return nil, err
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	a := as.of(host)
	if a.reads != nil && a.reads.name == s.name {
		return a.handBack(a.reads.exchange), nil
	}
	k, err := of(a, r)
	if err != nil {
		return nil, err
	}
	if k != nil {
		if x := k.before(s.name); x != nil {
			return a.handBack(x), nil
		}
		if err := k.fits(r, n.clock()); err != nil {
			return nil, err
		}
	}
	switch {
	case len(s.exchange.Countersignature) == 0:
		return nil, nil
	case k != nil:
		k.keep(&s)
	default:
		a.reads = &s
	}
	return a.handBack(s.exchange), nil
}

// handBack has a countersignature wait to be handed back, if it does not yet.
func (a *account) handBack(x *journal.Exchange) *journal.Exchange {
	if !slices.ContainsFunc(a.signed, func(raw []byte) bool { return bytes.Equal(raw, x.Countersignature) }) {
		a.signed = append(a.signed, x.Countersignature)
	}
	return x
}
