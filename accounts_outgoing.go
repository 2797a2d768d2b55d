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
	"strconv"
	"strings"

	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/thing"
)

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
