package kindred

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
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

	saving sync.Mutex // held while what has changed is written, and before mu

	mu   sync.Mutex
	owed map[debtor]*debts
}

// A debtor is a caller, whatever it is called now.
type debtor = identity.TreeMember

const owedPrefix = "owed/"

func owedKey(who debtor) string { return owedPrefix + who.String() }

// debts are what one caller has to sign.
type debts struct {
	list    []debt        // oldest first
	changed bool          // since it was written
	settled chan struct{} // closed, and made anew, when some of it was signed
}

// A debt is one receipt.
type debt struct {
	journal.Receipt
	raw    []byte
	name   signed.Digest
	due    time.Time // from when on nobody waits for it any more; zero: from the start
	signed bool      // for: it is owed no more, and is kept until the journal is on disk that says so
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
			d := rs.of(debtor{Tree: r.CallerTree, Member: r.Caller})
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
	return rs.owing(who)
}

// owing is outstanding. The caller holds mu.
func (rs *receipts) owing(who debtor) []debt {
	if d := rs.owed[who]; d != nil {
		return slices.DeleteFunc(slices.Clone(d.list), func(d debt) bool { return d.signed })
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
	who := debtor{Tree: r.CallerTree, Member: r.Caller}
	rs.mu.Lock()
	d := rs.of(who)
	if r.Part > 0 {
		d.list = slices.DeleteFunc(d.list, func(old debt) bool { return old.Part > 0 && old.Index == r.Index })
	}
	d.list = append(d.list, debt{Receipt: r, raw: raw, name: name, due: time.Now().Add(receiptPatience)})
	d.changed = true
	rs.mu.Unlock()
	return raw, rs.save(ctx)
}

// save has on disk what is owed, if it has changed since it was written.
func (rs *receipts) save(ctx context.Context) error {
	rs.saving.Lock()
	defer rs.saving.Unlock()
	rs.mu.Lock()
	changes, changed, err := rs.changes()
	rs.mu.Unlock()
	if err != nil || len(changes) == 0 { // somebody else has written it along with its own
		return err
	}
	err = rs.node.db.Save(ctx, changes)
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for who, d := range changed {
		d.changed = d.changed || err != nil
		if len(d.list) == 0 && !d.changed {
			delete(rs.owed, who)
		}
	}
	return err
}

// changes returns what is to be written, and takes it to be. The caller holds mu.
func (rs *receipts) changes() (changes map[string][]byte, changed map[debtor]*debts, err error) {
	changes, changed = map[string][]byte{}, map[debtor]*debts{}
	for who, d := range rs.owed {
		if !d.changed {
			continue
		}
		var list receiptList
		for _, debt := range d.list {
			list.Statements = append(list.Statements, debt.raw)
		}
		var data []byte // none if nothing is owed
		if len(d.list) > 0 {
			if data, err = signed.Marshal(list); err != nil {
				return nil, nil, err
			}
		}
		changes[owedKey(who)], changed[who] = data, d
	}
	for _, d := range changed {
		d.changed = false
	}
	return changes, changed, nil
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
		d, ok := rs.settle(who.TreeMember(), c, n.clock())
		if !ok {
			continue
		}
		taken = true
		err = n.journal.NoteAt(journal.Entry{
			Time: n.cfg.Clock(), Thing: n.party(n.self), Caller: n.party(who.Chain), Op: journal.Countersign,
			Affordance: d.Affordance, Outcome: journal.Served, Call: d.Call, Seal: n.sealFor(who),
			Exchange: &journal.Exchange{Receipt: d.raw, Countersignature: raw},
		}, func(journal.Place) { rs.forget(who.TreeMember(), d.name) })
		if err != nil {
			n.log.Error("writing the journal", "error", err) // it is asked for again one day
		}
		n.link.poke()
	}
	return taken
}

// settle ends a debt, but keeps it until it is forgotten. A countersignature from before the receipt, or of a time to come,
// ends none: what it says would be worth what its date is.
func (rs *receipts) settle(who debtor, c journal.Countersignature, now time.Time) (debt, bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	d := rs.owed[who]
	if d == nil {
		return debt{}, false
	}
	i := slices.IndexFunc(d.list, func(d debt) bool { return d.name == c.Receipt && !d.signed })
	if i < 0 || c.Time.Before(d.list[i].Time.Add(-slack)) || c.Time.After(now.Add(slack)) {
		return debt{}, false
	}
	d.list[i].signed = true
	close(d.settled)
	d.settled = make(chan struct{})
	return d.list[i], true
}

// forget drops a debt that the journal on disk says was signed for. From the disk it goes with what is written next.
func (rs *receipts) forget(who debtor, name signed.Digest) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if d := rs.owed[who]; d != nil {
		d.list = slices.DeleteFunc(d.list, func(d debt) bool { return d.name == name })
		d.changed = true
	}
}

// await waits until a caller has signed for all that it got receipts for before it asked, but for reads: those are not held
// back, and a caller that was killed may know of fewer than there were. It returns what it has not signed when the time for
// that is up.
func (rs *receipts) await(ctx context.Context, who debtor) []debt {
	before := map[signed.Digest]bool{}
	var due time.Time
	for _, d := range rs.outstanding(who) {
		if d.Entries > 0 {
			continue
		}
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
		if of[debt.name] && !debt.signed {
			left = append(left, debt)
		}
	}
	return left, d.settled
}

// Another home makes as many members as it likes: with a new one for each thing that it does, none of them would ever have
// to sign. So of those of one home only so many owe at a time. What nobody signed in debtFor stands in nobody else's way:
// it may be of somebody who is gone.
const (
	maxDebtors = 64
	debtFor    = 7 * 24 * time.Hour
)

// crowded reports whether too many others of a caller's home, which is not the node's own, owe something.
func (rs *receipts) crowded(who debtor) bool {
	if who.Tree == rs.node.self.ID.Tree {
		return false
	}
	since, others := rs.node.clock().Add(-debtFor), 0
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for other, d := range rs.owed {
		if other.Tree == who.Tree && other != who &&
			slices.ContainsFunc(d.list, func(d debt) bool { return !d.signed && d.Time.After(since) }) {
			others++
		}
	}
	return others >= maxDebtors
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
