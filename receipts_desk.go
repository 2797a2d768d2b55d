package kindred

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/thing"
)

// receiptsPath is where a caller sees what it owes (GET), and hands in countersignatures (POST): a receiptList each
// way. The answer to either is what it owes then.
const receiptsPath = "/kindred/v1/receipts"

const (
	receiptsType = "application/cbor"
	maxReceipts  = 256 << 10 // bytes of a receiptList
)

// show tells a caller what it owes.
func (rs *receipts) show(w http.ResponseWriter, r *http.Request) {
	who, ok := rs.node.caller(r.Context())
	if !ok {
		problem(w, &thing.Problem{Status: http.StatusForbidden, Code: codeRefused, Detail: "refused"})
		return
	}
	rs.answer(w, who.TreeMember())
}

// receive takes countersignatures. Where the caller asks, it gives a receipt for what it read since the last.
func (rs *receipts) receive(w http.ResponseWriter, r *http.Request) {
	n := rs.node
	who, ok := n.caller(r.Context())
	if !ok {
		problem(w, &thing.Problem{Status: http.StatusForbidden, Code: codeRefused, Detail: "refused"})
		return
	}
	var list receiptList
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReceipts))
	if err == nil {
		err = signed.Unmarshal(body, &list)
	}
	if err == nil && len(list.Statements) > maxOwed {
		err = fmt.Errorf("%d countersignatures", len(list.Statements))
	}
	if err != nil {
		problem(w, &thing.Problem{Status: http.StatusBadRequest, Code: "invalid", Detail: "these are no countersignatures"})
		return
	}
	if err := rs.settleAll(r.Context(), who, list); err != nil {
		n.log.Error("taking countersignatures", "error", err)
		problem(w, &thing.Problem{Status: http.StatusServiceUnavailable, Detail: "the journal cannot be written"})
		return
	}
	rs.answer(w, who.TreeMember())
}

func (rs *receipts) settleAll(ctx context.Context, who credential.Principal, list receiptList) error {
	if rs.take(who, list.Statements) {
		if err := rs.node.journal.Sync(ctx); err != nil { // what is forgotten below is written down
			return err
		}
		if err := rs.save(ctx); err != nil {
			return err
		}
	}
	if !list.Reads {
		return nil
	}
	return rs.tellReads(ctx, who)
}

func (rs *receipts) answer(w http.ResponseWriter, who debtor) {
	var list receiptList
	for _, d := range rs.outstanding(who) {
		list.Statements = append(list.Statements, d.raw)
	}
	data, err := signed.Marshal(list)
	if err != nil {
		rs.node.log.Error("telling what is owed", "error", err)
	}
	w.Header().Set("Content-Type", receiptsType)
	_, _ = w.Write(data) // a caller who has gone away asks again
}

const toldPrefix = "told/"

const (
	maxTold   = 1000    // entries that one receipt for reads is about
	maxLooked = 1 << 16 // entries that are looked through for it
)

// letGo is after how long a caller will not sign a receipt for reads any more: it was killed before it had counted all of
// them, and others that it made about then would make up for these (accounts.counted).
const letGo = 2 * slack

// tellReads gives a caller a receipt for what it read since the last one, unless it may still sign that. Of sealed reads
// it says nothing: which entries are whose, only who the seal is for can tell, and a list of them kept here in clear for the
// receipt's sake would undo the seal. What such a read was, its person reads in the log, where nobody can alter it, and in
// the account that the person's own app keeps.
func (rs *receipts) tellReads(ctx context.Context, who credential.Principal) error {
	n, reader := rs.node, who.TreeMember()
	if rs.crowded(reader) {
		return nil // it would be one more who owes
	}
	for _, d := range rs.outstanding(reader) {
		switch {
		case d.Entries == 0:
		case n.clock().Sub(d.Until) < letGo:
			return nil
		default:
			rs.forget(reader, d.name)
		}
	}
	key := toldPrefix + reader.String()
	from, err := n.db.Load(ctx, key)
	if err != nil {
		return err
	}
	var next int64
	if len(from) == 8 {
		next = int64(binary.BigEndian.Uint64(from))
	}
	r := journal.Receipt{
		Tree: n.self.ID.Tree, Node: n.self.Member(), Caller: who.Member(), CallerTree: who.ID.Tree,
		Op: journal.Read, Outcome: journal.Served,
	}
	var entries [][]byte
	next, err = n.journal.By(ctx, n.party(who.Chain), next, maxLooked, func(i journal.Item) bool {
		e := i.Entry
		if e.Outcome != journal.Served || e.Op != journal.Read && e.Op != journal.Observe {
			return true
		}
		if len(entries) == 0 {
			r.Index, r.Time = i.Index, e.Time
		}
		entries, r.Until = append(entries, i.Raw), e.Time
		r.Count += uint64(max(1, e.Count))
		return len(entries) < maxTold
	})
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		r.Entries, r.Leaf = uint32(len(entries)), journal.LeafOf(entries...)
		if _, err := rs.issue(ctx, r); err != nil {
			return err
		}
	}
	return n.db.Save(ctx, map[string][]byte{key: binary.BigEndian.AppendUint64(nil, uint64(next))})
}

// newCall draws the number by which a caller knows a call.
func newCall() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return max(1, binary.BigEndian.Uint64(b[:]))
}
