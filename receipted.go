package kindred

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/thing"
)

// account prepares for telling of a request what has to be told of it, and returns what ends that; nil for nothing. It
// leaves reads alone: those are counted in the journal, and told of together.
func (c *call) account(w *http.ResponseWriter, r *http.Request) (end func()) {
	if isPlainRead(r) {
		return nil
	}
	op, _, ok := thing.Means(r.Method, r.URL.Path, r.Header.Get("Upgrade") != "")
	if !ok {
		return nil
	}
	c.number, _ = strconv.ParseUint(r.Header.Get(callHeader), 10, 64) // without one the caller does not know its call
	tool := c.session.vouched != nil                                  // which has nothing to sign with but its handshake
	switch {
	case tool:
		c.number = newCall() // by which the end of what it does is told
	case op == thing.OpConnect || lasts(op):
		c.caller.Sent, c.began = new(thing.Sent), time.Now()
	}
	if !acts(op) {
		return nil
	}
	if !tool {
		c.calls.node.receipts.take(c.session.who, statements(r.Header, countersignedHeader))
		if r.Body != http.NoBody {
			c.request = &digested{ReadCloser: r.Body, sum: sha256.New()}
			r.Body = c.request
		}
	}
	out := &receipted{ResponseWriter: *w, call: c}
	*w = out
	return out.end
}

// acts reports whether an operation changes the world, lasts whether it is a stream.
func acts(op thing.Op) bool {
	return op == thing.OpWriteProperty || op == thing.OpInvokeAction || op == thing.OpConnect
}

func lasts(op thing.Op) bool { return op == thing.OpObserveProperty || op == thing.OpSubscribeEvent }

// unsigned returns a problem if the caller has to sign for what it did before it gets more.
func (c *call) unsigned(ctx context.Context) error {
	if !c.counts || !acts(c.op) && !lasts(c.op) {
		return nil
	}
	rs, who := &c.calls.node.receipts, c.session.who.TreeMember()
	var left []debt
	switch {
	case c.session.vouched != nil && acts(c.op) && !c.session.who.Self().Tool():
		return &thing.Problem{Status: http.StatusForbidden, Code: codeOwes,
			Detail: "whoever can sign receipts does so, and comes over the peer network: over HTTPS an exported key may do this"}
	case c.session.vouched != nil:
	case rs.crowded(who):
		return &thing.Problem{Status: http.StatusForbidden, Code: codeOwes,
			Detail: fmt.Sprintf("%d others of your home have yet to sign for what they did here", maxDebtors)}
	case acts(c.op):
		left = rs.await(ctx, who)
	case lasts(c.op):
		if owed := rs.outstanding(who); len(owed) >= maxOwed {
			left = owed
		}
	}
	if len(left) == 0 {
		return nil
	}
	c.w.Header().Set(owesHeader, strconv.Itoa(len(left)))
	return owes(left)
}

// write puts the entry of a call that is allowed into the journal: of an action before it is done.
func (c *call) write(ctx context.Context, e journal.Entry) error {
	n := c.calls.node
	e.Call, e.OneSided = c.number, acts(c.op) && c.session.vouched != nil
	if !acts(c.op) && !lasts(c.op) {
		n.note(e)
		return nil
	}
	e.Time = n.clock()
	kept := e
	c.entry = &kept
	if acts(c.op) {
		place, err := n.journal.AppendAt(ctx, e)
		if err != nil {
			n.log.Error("nothing is done that cannot be written down", "error", err)
			return &thing.Problem{Status: http.StatusServiceUnavailable, Detail: "the journal cannot be written"}
		}
		c.place.Store(&place)
		n.link.poke()
		return nil
	}
	if err := n.journal.NoteAt(e, func(p journal.Place) { c.place.Store(&p) }); err != nil {
		n.log.Error("writing the journal", "error", err)
	}
	n.link.poke()
	return nil
}

// A receipted is the response to an action: it is held back until there is a receipt to send with it.
type receipted struct {
	http.ResponseWriter
	call   *call
	status int
	body   bytes.Buffer
	taken  bool // the stream, by a connection
}

// WriteHeader keeps the status.
func (w *receipted) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// Write keeps the body, which a servient bounds.
func (w *receipted) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// Unwrap gives what is beneath, for deadlines.
func (w *receipted) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// end sends the response, with the receipt if something was done.
func (w *receipted) end() {
	if w.taken {
		return
	}
	outcome := journal.Served
	if w.status < 200 || w.status > 299 {
		outcome = journal.Failed
		w.call.failed(w.body.Bytes())
	}
	w.call.giveReceipt(outcome, w.body.Bytes())
	if w.status == 0 {
		return // what serves it has said nothing, and net/http does
	}
	w.ResponseWriter.WriteHeader(w.status)
	_, _ = w.ResponseWriter.Write(w.body.Bytes()) // a caller who has gone away asks for its receipt later
}

// failed writes down that an action came to nothing, and why. The entry before it, written before anything was done, says
// that it was.
func (c *call) failed(response []byte) {
	if c.place.Load() == nil || mayLast(c.op) { // nothing was begun, or its end is told
		return
	}
	var p thing.Problem
	_ = json.Unmarshal(response, &p) // what gives no reason has none
	c.mu.Lock()
	e, seal := c.calls.node.entry(c.session.who, c.op, c.affordance, c.decision), c.seal
	c.mu.Unlock()
	e.Outcome, e.Reason, e.Call, e.Seal, e.OneSided = journal.Failed, p.Detail, c.number, seal, c.entry.OneSided
	c.calls.node.note(e)
}

// Hijack hands over the stream of a connection to a service, which has a receipt when it begins.
func (w *receipted) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.call.giveReceipt(journal.Served, nil)
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.taken = err == nil
	return conn, buffered, err
}

// A digested body tells the digest of what was read of it.
type digested struct {
	io.ReadCloser
	sum        hash.Hash
	any, whole bool
}

// Read reads, and has it in the digest.
func (b *digested) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.any = true
		b.sum.Write(p[:n])
	}
	b.whole = b.whole || err == io.EOF
	return n, err
}

// digest returns the digest of a body that was read to its end, and zero for none.
func (b *digested) digest() (d signed.Digest) {
	if b != nil && b.any && b.whole {
		b.sum.Sum(d[:0])
	}
	return d
}

// giveReceipt puts the receipt for an action into the header of the response to it.
func (c *call) giveReceipt(outcome journal.Outcome, response []byte) {
	place := c.place.Load()
	if place == nil || c.session.vouched != nil {
		return // nothing was done, or by a tool
	}
	n := c.calls.node
	r := c.receipt(*place, outcome)
	r.Request = c.request.digest()
	if len(response) > 0 {
		r.Response = signed.Sum(response)
	}
	raw, err := n.receipts.issue(context.Background(), r)
	if err != nil {
		n.log.Error("giving a receipt", "error", err)
	}
	if raw != nil {
		c.w.Header().Set(receiptHeader, base64.RawURLEncoding.EncodeToString(raw))
	}
}

// receipt returns what can be said of the call, by the entry at a place.
func (c *call) receipt(place journal.Place, outcome journal.Outcome) journal.Receipt {
	n, who, e := c.calls.node, c.session.who, c.entry
	return journal.Receipt{
		Tree: n.self.ID.Tree, Node: n.self.Member(), Caller: who.Member(), CallerTree: who.ID.Tree, Grant: e.Grant,
		Op: e.Op, Affordance: e.Affordance, Outcome: outcome, Time: e.Time, Index: place.Index, Leaf: place.Leaf, Call: e.Call,
	}
}

// receiptEvery is how often a stream has a receipt, once it has lasted so long.
const receiptEvery = time.Minute

// tellStreams gives those who have streams open that have lasted, and carried something, receipts for it so far, and tells
// of what leaves by them in clear.
func (cs *calls) tellStreams(lasted time.Duration) {
	cs.mu.Lock()
	var open []*call
	for c := range cs.open {
		if (c.caller.Sent != nil || c.copies != nil) && time.Since(c.began) >= lasted {
			open = append(open, c)
		}
	}
	cs.mu.Unlock()
	for _, c := range open {
		c.tellStream(journal.Served)
		c.tellCopies(true)
	}
}

// tellStream gives a receipt for a stream so far, or for all of it. One that ended before it had any has none: what
// did not last is told with what was read.
func (c *call) tellStream(outcome journal.Outcome) {
	c.telling.Lock()
	defer c.telling.Unlock()
	place, sent := c.place.Load(), c.caller.Sent
	if place == nil || sent == nil || c.told {
		return
	}
	if outcome == journal.Ended {
		c.told = true
		if c.part == 0 {
			return
		}
	}
	n := c.calls.node
	r := c.receipt(*place, outcome)
	r.Until, r.Count, r.Bytes = latest(n.clock(), c.until, r.Time), sent.Events(), sent.Bytes()
	if outcome == journal.Served && r.Count == c.count && r.Bytes == c.bytes {
		return
	}
	c.count, c.bytes, c.until = r.Count, r.Bytes, r.Until
	c.part++
	r.Part = c.part
	if _, err := n.receipts.issue(context.Background(), r); err != nil {
		n.log.Error("giving a receipt", "error", err)
	}
}

// latest returns the last of some times: clocks are set back, and receipts for a stream only go on.
func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }
