package kindred

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/thing"
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
	as.node, as.wake = n, make(chan struct{}, 1)
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

// An outgoing call is an action or a stream that the node asks for.
type outgoing struct {
	accounts *accounts
	host     string
	op       thing.Op
	entry    journal.Entry
	known    *known
	body     func() (io.ReadCloser, error) // what is sent, again; nil: it can be sent once
	handed   [][]byte                      // countersignatures that went along
	received lasting
}

// outgoingKey finds an outgoing call in the context of its request.
type outgoingKey struct{}

// begin prepares for telling of a request, and writes down that an action is asked for. It returns what to send. Where
// nothing is to be told of it yet, as of reads, the call is nil.
func (as *accounts) begin(req *http.Request) (*outgoing, *http.Request) {
	if isPlainRead(req) {
		return nil, req
	}
	op, affordance, ok := thing.Means(req.Method, req.URL.Path, req.Header.Get("Upgrade") != "")
	if !ok || !acts(op) && !lasts(op) {
		return nil, req
	}
	n := as.node
	o := &outgoing{accounts: as, host: req.URL.Host, op: op, entry: journal.Entry{
		Time: n.clock(), Thing: as.partyAt(req.Context(), req.URL.Host), Caller: n.party(n.self),
		Op: journalOps[actions[op]], Affordance: affordance, Outcome: journal.Asked, Call: newCall(),
	}}
	sent := o.prepare(req)
	o.known = &known{
		op: o.entry.Op, affordance: affordance, asked: o.entry.Time, request: o.entry.Body, tries: 1, waiting: true, live: &o.received,
	}
	as.mu.Lock()
	a := as.of(o.host)
	a.remember(o.entry.Call, o.known)
	if acts(op) {
		o.handed = a.signed[:min(len(a.signed), maxCountersigns)]
	}
	as.mu.Unlock()
	if acts(op) {
		// Whoever cannot write it down acts all the same: it is their own side, and the thing keeps its own.
		if err := n.journal.Append(req.Context(), o.entry); err != nil {
			n.log.Error("writing down what is asked for", "error", err)
		}
	}
	for _, raw := range o.handed {
		sent.Header.Add(countersignedHeader, base64.RawURLEncoding.EncodeToString(raw))
	}
	return o, sent
}

func isPlainRead(req *http.Request) bool {
	return req.Method == http.MethodGet && strings.HasPrefix(req.URL.Path, "/properties/") && !strings.HasSuffix(req.URL.Path, "/observe")
}

// prepare returns the request as it is sent: with the number of the call, and a body whose digest is known before it
// leaves, and of which it is known how often it does.
func (o *outgoing) prepare(req *http.Request) *http.Request {
	req = req.Clone(context.WithValue(req.Context(), outgoingKey{}, o))
	req.Header.Set(callHeader, strconv.FormatUint(o.entry.Call, 10))
	if req.GetBody == nil {
		keepBody(req)
	}
	if o.body = req.GetBody; o.body == nil {
		return req
	}
	if body, err := o.body(); err == nil {
		sum := &digested{ReadCloser: body, sum: sha256.New()}
		if _, err = io.Copy(io.Discard, sum); err != nil {
			o.accounts.node.log.Warn("reading what is sent", "error", err)
		}
		o.entry.Body = sum.digest()
		_ = body.Close()
	}
	req.GetBody = func() (io.ReadCloser, error) {
		o.askedAgain()
		return o.body()
	}
	return req
}

// askedAgain notes that a request is made once more because its answer was lost: there may be a receipt for each time.
func (o *outgoing) askedAgain() {
	o.accounts.mu.Lock()
	o.known.tries++
	o.accounts.mu.Unlock()
	if acts(o.op) {
		o.tell(journal.Asked, "it was asked for again, as no answer came", nil)
	}
}

// keepBody has a body be one that can be had again. One that a thing would not read is left as it is: nothing is done
// for it.
func keepBody(req *http.Request) {
	if req.Body == nil || req.Body == http.NoBody {
		req.GetBody = func() (io.ReadCloser, error) { return http.NoBody, nil }
		return
	}
	data, err := io.ReadAll(io.LimitReader(req.Body, thing.MaxInput+1))
	rest := req.Body
	if err != nil || len(data) > thing.MaxInput {
		req.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(data), failing{err}, rest), rest}
		return
	}
	_ = rest.Close()
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	req.Body, _ = req.GetBody()
}

// A failing reader gives an error, or nothing if there is none.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, cmp.Or(f.err, io.EOF) }

func (as *accounts) tries(k *known) uint32 {
	as.mu.Lock()
	defer as.mu.Unlock()
	return k.tries
}

// tell notes in the journal what came of the call.
func (o *outgoing) tell(outcome journal.Outcome, reason string, signed *journal.Exchange) {
	e := o.entry
	e.Time, e.Outcome, e.Reason, e.Exchange = o.accounts.node.clock(), outcome, reason, signed
	if e.Bytes = o.received.Bytes(); outcome != journal.Asked {
		e.Body = o.known.response
	} else if tries := o.accounts.tries(o.known); tries > 1 {
		e.Count = tries
	}
	o.accounts.node.note(e)
}

// end notes what came of the call, takes the receipt for it, and returns the response as it is to be read.
func (o *outgoing) end(resp *http.Response, err error) (*http.Response, error) {
	if err != nil {
		o.unanswered("no answer came")
		return resp, err
	}
	o.accounts.handed(o.host, o.handed)
	switch receipts := statements(resp.Header, receiptHeader); {
	case turnedDown(resp):
		if o.came(journal.Refused, nil); o.known.outcome == journal.Refused {
			o.tell(journal.Refused, "", nil)
		} else {
			o.tell(journal.Asked, "an answer was lost, and the next one was that it is refused", nil)
		}
	case resp.StatusCode == http.StatusSwitchingProtocols:
		o.take(resp, receipts, nil)
		o.received.began.Store(true)
		if conn, ok := resp.Body.(net.Conn); ok {
			resp.Body = &carried{Conn: conn, of: o}
		}
	case acts(o.op):
		var body []byte
		if body, err = io.ReadAll(io.LimitReader(resp.Body, thing.MaxValue+1)); err != nil {
			o.unanswered("the answer broke off")
			return nil, errors.Join(err, resp.Body.Close())
		}
		o.take(resp, receipts, body)
		resp.Body = &whole{bytes.NewReader(body), resp.Body}
	case resp.StatusCode == http.StatusOK:
		o.came(journal.Served, nil)
		o.tell(journal.Served, "", nil)
		o.received.began.Store(true)
		resp.Body = &counting{ReadCloser: resp.Body, of: o}
	default:
		o.came(journal.Failed, nil)
		o.tell(journal.Failed, "", nil)
	}
	return resp, nil
}

// unanswered notes that nobody here knows whether the call was served.
func (o *outgoing) unanswered(reason string) {
	o.accounts.mu.Lock()
	o.known.waiting = false
	o.accounts.mu.Unlock()
	o.tell(journal.Asked, reason, nil)
}

// came notes what the answer says. After an answer that was lost, a refusal does not say that nothing was done.
func (o *outgoing) came(outcome journal.Outcome, body []byte) {
	o.accounts.mu.Lock()
	defer o.accounts.mu.Unlock()
	k := o.known
	k.waiting = false
	if outcome == journal.Refused && k.tries > 1 {
		return
	}
	if k.outcome, k.answered = outcome, o.accounts.node.clock(); len(body) > 0 {
		k.response = signed.Sum(body)
	}
}

// take keeps and signs the receipt that a response carries, if it fits.
func (o *outgoing) take(resp *http.Response, receipts [][]byte, body []byte) {
	outcome := journal.Served
	if resp.StatusCode > 299 {
		outcome = journal.Failed
	}
	o.came(outcome, body)
	if len(receipts) == 0 {
		o.tell(outcome, "", nil)
		return
	}
	x, _, err := o.accounts.sign(resp, o.host, receipts[0], func(_ *account, r journal.Receipt) (*known, error) {
		if r.Call != o.entry.Call {
			return nil, fmt.Errorf("it is of call %d; asked was call %d", r.Call, o.entry.Call)
		}
		return o.known, nil
	})
	if err != nil {
		o.tell(outcome, "the receipt that came does not fit", nil)
		return
	}
	o.tell(outcome, "", x)
	o.accounts.poke()
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
	callee, ok := peer.Callee(resp)
	if !ok {
		return nil, false, errors.New("nobody knows who sent it")
	}
	r, name, err := journal.OpenReceipt(raw, callee.Key)
	if err != nil { // which proves nothing against anybody
		as.node.log.Error("a receipt is not signed", "from", host, "error", err)
		return nil, false, err
	}
	from := as.partyAt(resp.Request.Context(), host)
	as.mu.Lock()
	x, fresh, err = as.countersign(as.of(host), from, signedFor{Receipt: r, name: name, exchange: &journal.Exchange{Receipt: raw}}, of)
	as.mu.Unlock()
	if err != nil && !errors.Is(err, errLater) {
		as.refuse(host, from, r, name, raw, err)
	}
	return x, fresh, err
}

// countersign is sign for what was opened. mu is held.
func (as *accounts) countersign(a *account, from journal.Party, s signedFor, of func(*account, journal.Receipt) (*known, error)) (
	x *journal.Exchange, fresh bool, err error) {
	n, r := as.node, s.Receipt
	switch {
	case r.Caller != n.self.Member() || r.CallerTree != n.self.ID.Tree:
		return nil, false, errors.New("it is for another caller")
	case !from.IsZero() && (r.Node != from.Member || r.Tree != from.ID.Tree):
		return nil, false, errors.New("it is in another's name")
	}
	if err := amounts(r); err != nil {
		return nil, false, err
	}
	if a.reads != nil && a.reads.name == s.name {
		return a.handBack(a.reads.exchange), false, nil
	}
	k, err := of(a, r)
	if err != nil {
		return nil, false, err
	}
	now := n.clock()
	if k != nil {
		if x := k.before(s.name); x != nil {
			return a.handBack(x), false, nil
		}
		if err := k.fits(r, now); err != nil {
			return nil, false, err
		}
	}
	c := journal.Countersignature{Receipt: s.name, Caller: r.Caller, Tree: r.CallerTree, Time: now}
	if s.exchange.Countersignature, err = c.Sign(n.key); err != nil {
		return nil, false, err
	}
	if k != nil {
		k.keep(&s)
	} else {
		a.reads = &s
	}
	return a.handBack(s.exchange), true, nil
}

// handBack has a countersignature wait to be handed back, if it does not yet.
func (a *account) handBack(x *journal.Exchange) *journal.Exchange {
	if !slices.ContainsFunc(a.signed, func(raw []byte) bool { return bytes.Equal(raw, x.Countersignature) }) {
		a.signed = append(a.signed, x.Countersignature)
	}
	return x
}
