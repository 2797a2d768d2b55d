package kindred

import (
	"bytes"
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
//	  │                                              or a moment later
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
	calls  map[uint64]*outgoing
	read   bool // since a receipt for it was asked for
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
		a = &account{base: peer.Scheme + "://" + host, calls: map[uint64]*outgoing{}}
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

// An outgoing call is an action or a stream that the node asks for.
type outgoing struct {
	accounts *accounts
	host     string
	op       thing.Op
	request  signed.Digest
	unread   bool            // the request's body can be read once, and its digest is not known
	came     journal.Outcome // by the answer; 0 as long as there is none. Guarded by accounts.mu
	entry    journal.Entry
	handed   [][]byte // countersignatures that went along
	received lasting
}

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
		Time: n.cfg.Clock(), Thing: as.partyAt(req.Context(), req.URL.Host), Caller: n.party(n.self),
		Op: journalOps[actions[op]], Affordance: affordance, Outcome: journal.Asked, Call: newCall(),
	}}
	as.mu.Lock()
	a := as.of(o.host)
	for old := range a.calls { // any will do
		if len(a.calls) < maxRemember {
			break
		}
		delete(a.calls, old)
	}
	a.calls[o.entry.Call] = o
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
	return o, o.send(req)
}

func isPlainRead(req *http.Request) bool {
	return req.Method == http.MethodGet && strings.HasPrefix(req.URL.Path, "/properties/") && !strings.HasSuffix(req.URL.Path, "/observe")
}

// send returns the request with what the thing is told beside it.
func (o *outgoing) send(req *http.Request) *http.Request {
	if req.GetBody != nil {
		if body, err := req.GetBody(); err == nil {
			sum := &digested{ReadCloser: body, sum: sha256.New()}
			_, err = io.Copy(io.Discard, io.LimitReader(sum, thing.MaxValue))
			if o.request = sum.digest(); err != nil {
				o.accounts.node.log.Warn("reading what is sent", "error", err)
			}
			_ = body.Close()
		}
	}
	o.unread = req.GetBody == nil && req.Body != nil && req.Body != http.NoBody
	req = req.Clone(req.Context())
	req.Header.Set(callHeader, strconv.FormatUint(o.entry.Call, 10))
	for _, raw := range o.handed {
		req.Header.Add(countersignedHeader, base64.RawURLEncoding.EncodeToString(raw))
	}
	return req
}

// tell notes in the journal what came of the call.
func (o *outgoing) tell(outcome journal.Outcome, reason string, signed *journal.Exchange) {
	e := o.entry
	e.Time, e.Outcome, e.Reason, e.Exchange = o.accounts.node.cfg.Clock(), outcome, reason, signed
	e.Bytes = o.received.Bytes()
	o.accounts.node.note(e)
}

// end notes what came of the call, takes the receipt for it, and returns the response as it is to be read.
func (o *outgoing) end(resp *http.Response, err error) (*http.Response, error) {
	if err != nil {
		o.tell(journal.Failed, "no answer came", nil)
		return resp, err
	}
	o.accounts.handed(o.host, o.handed)
	switch {
	case resp.StatusCode == http.StatusForbidden:
		o.tell(journal.Refused, "", nil)
	case resp.StatusCode == http.StatusSwitchingProtocols:
		o.take(resp, nil)
		o.received.began = time.Now()
		if conn, ok := resp.Body.(net.Conn); ok {
			resp.Body = &carried{Conn: conn, of: o}
		}
	case acts(o.op):
		var body []byte
		if body, err = io.ReadAll(io.LimitReader(resp.Body, thing.MaxValue+1)); err != nil {
			o.tell(journal.Failed, "the answer broke off", nil)
			return nil, errors.Join(err, resp.Body.Close())
		}
		o.take(resp, body)
		resp.Body = &whole{bytes.NewReader(body), resp.Body}
	case resp.StatusCode == http.StatusOK:
		o.tell(journal.Served, "", nil)
		o.received.began = time.Now()
		resp.Body = &counting{ReadCloser: resp.Body, of: o}
	default:
		o.tell(journal.Failed, "", nil)
	}
	return resp, nil
}

// take keeps and signs the receipt that a response carries, if it fits.
func (o *outgoing) take(resp *http.Response, body []byte) {
	outcome := journal.Served
	if resp.StatusCode > 299 {
		outcome = journal.Failed
	}
	o.accounts.mu.Lock()
	o.came = outcome
	o.accounts.mu.Unlock()
	given := statements(resp.Header, receiptHeader)
	if len(given) == 0 {
		o.tell(outcome, "", nil)
		return
	}
	x, err := o.accounts.sign(resp, o.host, given[0], func(r journal.Receipt) error { return o.fits(r, outcome, body) })
	if err != nil {
		o.accounts.node.log.Error("a receipt is not signed", "from", o.host, "error", err)
		o.tell(outcome, "the receipt that came does not fit", nil)
		return
	}
	o.tell(outcome, "", x)
	o.accounts.poke()
}

// fits checks that a receipt says of the call what it was, as the node knows it.
func (o *outgoing) fits(r journal.Receipt, outcome journal.Outcome, body []byte) error {
	var response signed.Digest
	if len(body) > 0 {
		response = signed.Sum(body)
	}
	switch {
	case r.Call != o.entry.Call:
		return fmt.Errorf("it is of call %d; asked was call %d", r.Call, o.entry.Call)
	case r.Outcome != outcome:
		return fmt.Errorf("it says that it %s, and the answer that it %s", r.Outcome, outcome)
	case r.Response != response:
		return errors.New("it is of another response")
	case r.Part > 0:
		return errors.New("it is of a stream")
	}
	return o.asked(r)
}

// asked checks that a receipt is of what was asked. What failed need not have been read.
func (o *outgoing) asked(r journal.Receipt) error {
	switch e := o.entry; {
	case r.Op != e.Op || r.Affordance != e.Affordance:
		return fmt.Errorf("it is of %s %q; asked was %s %q", r.Op, r.Affordance, e.Op, e.Affordance)
	case r.Entries > 0:
		return errors.New("it is of several entries")
	case r.Part > 0 && !lasts(o.op) && o.op != thing.OpConnect:
		return errors.New("it is of a stream")
	case r.Part == 0 && r.Outcome == journal.Served && r.Request != o.request && !o.unread:
		return errors.New("it is of another request")
	}
	return nil
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

// sign signs a receipt that came in a response, if whoever sent that signed it, it is about this node, and fits says
// that it is right. The countersignature waits to be handed back.
func (as *accounts) sign(resp *http.Response, host string, raw []byte, fits func(journal.Receipt) error) (*journal.Exchange, error) {
	n := as.node
	callee, ok := peer.Callee(resp)
	if !ok {
		return nil, errors.New("nobody knows who sent it")
	}
	r, name, err := journal.OpenReceipt(raw, callee.Key)
	if err != nil {
		return nil, err
	}
	from := as.partyAt(resp.Request.Context(), host)
	switch {
	case r.Caller != n.self.Member() || r.CallerTree != n.self.ID.Tree:
		return nil, errors.New("it is for another caller")
	case !from.IsZero() && (r.Node != from.Member || r.Tree != from.ID.Tree):
		return nil, errors.New("it is in another's name")
	}
	if err := amounts(r); err != nil {
		return nil, err
	}
	if err := fits(r); err != nil {
		return nil, err
	}
	c := journal.Countersignature{Receipt: name, Caller: r.Caller, Tree: r.CallerTree, Time: n.cfg.Clock()}
	signature, err := c.Sign(n.key)
	if err != nil {
		return nil, err
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	a := as.of(host)
	a.signed = append(a.signed, signature)
	return &journal.Exchange{Receipt: raw, Countersignature: signature}, nil
}
