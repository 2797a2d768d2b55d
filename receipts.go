package kindred

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/thing"
)

// Headers that receipts travel in, each value base64 (RFC 4648, §5, without padding).
const (
	callHeader          = "Kindred-Call"          // of a request: by which number the caller knows it, decimal
	receiptHeader       = "Kindred-Receipt"       // of an answer: the receipt for it
	countersignedHeader = "Kindred-Countersigned" // of a request: a countersignature, for a receipt before
	owesHeader          = "Kindred-Owes"          // of a refusal: how many receipts the caller has to sign first
)

// receiptPatience is how long an action waits for the caller to sign for what it did before.
const receiptPatience = 2 * time.Second

const (
	maxOwed         = 64 // receipts that one caller has not signed, over which it gets no streams either
	maxCountersigns = 16 // countersignatures with one request
)

// receipts are what the node gives those who call its thing, for what they did, and what they have yet to sign.
//
//	         response, or the time      countersigned
//	done ─────────────────────────▶ owed ──────────────▶ in the journal, with both signatures
//	                                 │ ▲
//	                                 │ └─ asked for again, when a response got lost
//	                                 └──▶ who asked for the next action waits two seconds, and is refused
//
// What is owed is on disk before the response leaves, so it outlives the process.
type receipts struct {
	node *Node

	mu   sync.Mutex
	owed map[debtor]*debts
}

// A debtor is a caller, whatever it is called now.
type debtor struct {
	tree   identity.TreeID
	member identity.MemberID
}

func debtorOf(who identity.Chain) debtor { return debtor{who.ID.Tree, who.Member()} }

const owedPrefix = "owed/"

func (d debtor) name() string { return d.tree.String() + "/" + d.member.String() }
func (d debtor) key() string  { return owedPrefix + d.name() }

// debts are what one caller has to sign.
type debts struct {
	list    []debt        // oldest first
	settled chan struct{} // closed, and made anew, when some of it was signed
}

// A debt is one receipt.
type debt struct {
	journal.Receipt
	raw  []byte
	name signed.Digest
	due  time.Time // from when on nobody waits for it any more; zero: from the start
}

// load reads what was owed when the node ended.
func (rs *receipts) load(ctx context.Context, n *Node) error {
	rs.node, rs.owed = n, map[debtor]*debts{}
	return n.db.Scan(ctx, owedPrefix, func(key string, value []byte) error {
		var list receiptList
		if err := signed.Unmarshal(value, &list); err != nil {
			return fmt.Errorf("reading what is owed under %s: %w", key, err)
		}
		for _, raw := range list.Statements {
			r, name, err := journal.ReadReceipt(raw)
			if err != nil {
				return fmt.Errorf("reading what is owed under %s: %w", key, err)
			}
			d := rs.of(debtor{r.CallerTree, r.Caller})
			d.list = append(d.list, debt{Receipt: r, raw: raw, name: name})
		}
		return nil
	})
}

// of returns what a caller owes, made if need be. mu is held, or nobody else knows of rs yet.
func (rs *receipts) of(who debtor) *debts {
	d := rs.owed[who]
	if d == nil {
		d = &debts{settled: make(chan struct{})}
		rs.owed[who] = d
	}
	return d
}

// receiptList is how receipts travel and are kept: deterministic CBOR.
type receiptList struct {
	Statements [][]byte `cbor:"1,keyasint,omitempty"` // receipts, or countersignatures
	Reads      bool     `cbor:"2,keyasint,omitempty"` // of a question: give one for what was read, too
}

// outstanding returns what a caller owes now.
func (rs *receipts) outstanding(who debtor) []debt {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if d := rs.owed[who]; d != nil {
		return slices.Clone(d.list)
	}
	return nil
}

// issue signs a receipt, has it owed, and returns it. One about a stream takes the place of those before it.
func (rs *receipts) issue(ctx context.Context, r journal.Receipt) ([]byte, error) {
	n := rs.node
	raw, err := r.Sign(n.key)
	if err != nil {
		return nil, err
	}
	_, name, err := journal.ReadReceipt(raw)
	if err != nil {
		return nil, err
	}
	who := debtor{r.CallerTree, r.Caller}
	rs.mu.Lock()
	d := rs.of(who)
	if r.Part > 0 {
		d.list = slices.DeleteFunc(d.list, func(old debt) bool { return old.Part > 0 && old.Index == r.Index })
	}
	d.list = append(d.list, debt{r, raw, name, time.Now().Add(receiptPatience)})
	rs.mu.Unlock()
	return raw, rs.save(ctx, who)
}

// save has what a caller owes on disk.
func (rs *receipts) save(ctx context.Context, who debtor) error {
	rs.mu.Lock()
	defer rs.mu.Unlock() // while saving: what is saved last is what is owed last
	d := rs.of(who)
	if len(d.list) == 0 {
		delete(rs.owed, who)
		return rs.node.db.Save(ctx, map[string][]byte{who.key(): nil})
	}
	var list receiptList
	for _, debt := range d.list {
		list.Statements = append(list.Statements, debt.raw)
	}
	data, err := signed.Marshal(list)
	if err != nil {
		return err
	}
	return rs.node.db.Save(ctx, map[string][]byte{who.key(): data})
}

// take takes countersignatures from a caller, and notes them in the journal. It returns whether it took any. What is
// not owed, as when it comes a second time, and what is not the caller's, changes nothing.
func (rs *receipts) take(who credential.Principal, countersignatures [][]byte) (taken bool) {
	n := rs.node
	for _, raw := range countersignatures {
		c, err := journal.OpenCountersignature(raw, who.Key)
		if err != nil || c.Caller != who.Member() || c.Tree != who.ID.Tree {
			n.log.Warn("a countersignature is not its bearer's", "who", who.ID.Path, "error", err)
			continue
		}
		d, ok := rs.settle(debtorOf(who.Chain), c.Receipt)
		if !ok {
			continue
		}
		taken = true
		n.note(journal.Entry{
			Time: n.cfg.Clock(), Thing: n.party(n.self), Caller: n.party(who.Chain), Op: journal.Countersign,
			Affordance: d.Affordance, Outcome: journal.Served, Call: d.Call,
			Exchange: &journal.Exchange{Receipt: d.raw, Countersignature: raw},
		})
	}
	return taken
}

// settle ends a debt.
func (rs *receipts) settle(who debtor, name signed.Digest) (debt, bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	d := rs.owed[who]
	if d == nil {
		return debt{}, false
	}
	i := slices.IndexFunc(d.list, func(d debt) bool { return d.name == name })
	if i < 0 {
		return debt{}, false
	}
	settled := d.list[i]
	d.list = slices.Delete(d.list, i, i+1)
	close(d.settled)
	d.settled = make(chan struct{})
	return settled, true
}

// await waits until a caller has signed for all that it got receipts for before it asked. It returns what it has not
// signed when the time for that is up.
func (rs *receipts) await(ctx context.Context, who debtor) []debt {
	before := map[signed.Digest]bool{}
	var due time.Time
	for _, d := range rs.outstanding(who) {
		before[d.name] = true
		if d.due.After(due) {
			due = d.due
		}
	}
	if len(before) == 0 {
		return nil
	}
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
		left, settled := rs.left(who, before)
		if len(left) == 0 {
			return nil
		}
		select {
		case <-settled:
		case <-timer.C:
			return left
		case <-ctx.Done():
			return left
		}
	}
}

// left returns which of some receipts are still owed, and what is closed when some are signed.
func (rs *receipts) left(who debtor, of map[signed.Digest]bool) (left []debt, settled <-chan struct{}) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	d := rs.of(who)
	for _, debt := range d.list {
		if of[debt.name] {
			left = append(left, debt)
		}
	}
	return left, d.settled
}

// owes explains to a caller why it gets nothing done.
func owes(left []debt) *thing.Problem {
	d := left[0]
	return &thing.Problem{Status: http.StatusForbidden, Code: codeOwes, Detail: fmt.Sprintf(
		"what was done before has to be signed for first: %s, receipt of %s", strings.TrimSpace(string(d.Op)+" "+d.Affordance),
		d.Time.Format(time.RFC3339))}
}

// codeOwes is the code of a refusal to whoever has not signed for what it did before.
const codeOwes = "owes-receipt"

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
	c.entry.Call, _ = strconv.ParseUint(r.Header.Get(callHeader), 10, 64) // without one the caller does not know its call
	if c.session.vouched != nil {
		return nil // a tool, which has nothing to sign with but its handshake
	}
	if op == thing.OpConnect || lasts(op) {
		c.caller.Sent, c.began = new(thing.Sent), time.Now()
	}
	if !acts(op) {
		return nil
	}
	c.calls.node.receipts.take(c.session.who, statements(r.Header, countersignedHeader))
	if r.Body != http.NoBody {
		c.request = &digested{ReadCloser: r.Body, sum: sha256.New()}
		r.Body = c.request
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
	rs, who := &c.calls.node.receipts, debtorOf(c.session.who.Chain)
	var left []debt
	switch {
	case c.session.vouched != nil && acts(c.op) && !c.session.who.Self().Tool():
		return &thing.Problem{Status: http.StatusForbidden, Code: codeOwes,
			Detail: "whoever can sign receipts does so, and comes over the peer network: over HTTPS an exported key may do this"}
	case c.session.vouched != nil:
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
	e.Call, e.OneSided = c.entry.Call, acts(c.op) && c.session.vouched != nil
	c.entry = e
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
	if !lasts(c.op) {
		n.note(e)
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
	}
	w.call.giveReceipt(outcome, w.body.Bytes())
	if w.status == 0 {
		return // what serves it has said nothing, and net/http does
	}
	w.ResponseWriter.WriteHeader(w.status)
	_, _ = w.ResponseWriter.Write(w.body.Bytes()) // a caller who has gone away asks for its receipt later
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
	sum hash.Hash
	any bool
}

// Read reads, and has it in the digest.
func (b *digested) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.any = true
		b.sum.Write(p[:n])
	}
	return n, err
}

func (b *digested) digest() (d signed.Digest) {
	if b != nil && b.any {
		b.sum.Sum(d[:0])
	}
	return d
}

// giveReceipt puts the receipt for an action into the header of the response to it.
func (c *call) giveReceipt(outcome journal.Outcome, response []byte) {
	place := c.place.Load()
	if place == nil {
		return // nothing was done
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

// statements reads the values of a header that carries signed statements.
func statements(h http.Header, name string) [][]byte {
	var out [][]byte
	for _, value := range h.Values(name) {
		if raw, err := base64.RawURLEncoding.DecodeString(value); err == nil && len(raw) <= journal.MaxReceipt && len(out) < maxCountersigns {
			out = append(out, raw)
		}
	}
	return out
}

// receiptEvery is how often a stream has a receipt, once it has lasted so long.
const receiptEvery = time.Minute

// tellStreams gives those who have streams open that have lasted, and carried something, receipts for it so far.
func (cs *calls) tellStreams(lasted time.Duration) {
	cs.mu.Lock()
	var open []*call
	for c := range cs.open {
		if c.caller.Sent != nil && time.Since(c.began) >= lasted {
			open = append(open, c)
		}
	}
	cs.mu.Unlock()
	for _, c := range open {
		c.tellStream(journal.Served)
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
	r.Until, r.Count, r.Bytes = n.cfg.Clock(), sent.Events(), sent.Bytes()
	if outcome == journal.Served && r.Count == c.count && r.Bytes == c.bytes {
		return
	}
	c.count, c.bytes = r.Count, r.Bytes
	c.part++
	r.Part = c.part
	if _, err := n.receipts.issue(context.Background(), r); err != nil {
		n.log.Error("giving a receipt", "error", err)
	}
}
