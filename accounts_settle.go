package kindred

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/thing"
)

// handBack hands all countersignatures back that are waiting. Those that no thing takes now go along with the next
// action there.
func (as *accounts) handBack(ctx context.Context) {
	select {
	case as.handing <- struct{}{}:
		defer func() { <-as.handing }()
	case <-ctx.Done():
		return
	}
	for _, host := range as.hosts(func(a *account) bool { return len(a.signed) > 0 }) {
		if err := as.settle(ctx, host, false); err != nil && ctx.Err() == nil {
			as.node.log.Info("a countersignature waits for the next action", "at", host, "error", err)
		}
	}
}

// askForReceipts fetches, and signs, receipts for what lasts and for what was read.
func (as *accounts) askForReceipts(ctx context.Context) {
	as.writeReads()
	for _, host := range as.hosts(func(a *account) bool {
		asks := a.read
		for _, k := range a.calls {
			asks = asks || k.live != nil && k.live.lasts()
		}
		a.read = false
		return asks
	}) {
		if err := as.settle(ctx, host, true); err != nil && ctx.Err() == nil {
			as.node.log.Info("no receipts are to be had", "at", host, "error", err)
		}
	}
}

func (as *accounts) hosts(which func(*account) bool) (hosts []string) {
	as.mu.Lock()
	defer as.mu.Unlock()
	for host, a := range as.at {
		if which(a) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// settle hands back the countersignatures for a thing, signs what else is owed there, and hands those back too. With
// reads it asks for a receipt for what was read, first.
func (as *accounts) settle(ctx context.Context, host string, reads bool) error {
	for range 2 {
		as.mu.Lock()
		a := as.of(host)
		list := receiptList{Statements: a.signed[:min(len(a.signed), maxOwed)], Reads: reads}
		base := a.base
		as.mu.Unlock()
		resp, owed, err := as.post(ctx, base, list)
		if err != nil {
			return err
		}
		as.handed(host, list.Statements)
		if as.signOwed(ctx, resp, host, owed.Statements) == 0 {
			return nil
		}
		reads = false
	}
	return nil
}

// signOwed signs what fits of the receipts that a thing says are owed, and returns how many countersignatures wait to be
// handed back for it.
func (as *accounts) signOwed(ctx context.Context, resp *http.Response, host string, receipts [][]byte) (signs int) {
	ofReads := false
	for _, raw := range as.recall(ctx, host, receipts) {
		r, _, err := journal.ReadReceipt(raw)
		if err != nil || r.Entries > 0 && ofReads { // of reads a thing gives one at a time
			continue
		}
		var counted uint64
		if ofReads = ofReads || r.Entries > 0; r.Entries > 0 {
			if counted, err = as.counted(ctx, host, r); err != nil {
				as.node.log.Error("reading what was read", "at", host, "error", err)
				continue
			}
		}
		x, fresh, err := as.sign(resp, host, raw, func(a *account, r journal.Receipt) (*known, error) {
			k := a.calls[r.Call]
			switch {
			case k != nil && r.Call != 0:
				return k, nil
			case r.Entries > 0:
				return nil, a.fitsReads(r, counted, as.node.clock())
			}
			return nil, errors.New("nothing of it is known here")
		})
		if err != nil {
			continue // which is told
		}
		if signs++; fresh {
			as.keep(ctx, host, x)
		}
	}
	return signs
}

// maxFaults bounds of how many receipts of one thing, which it did not sign, a node tells.
const maxFaults = 128

// refuse tells the journal, once, of a receipt that is not signed, and why. The receipt is the proof that it was given.
func (as *accounts) refuse(host string, at journal.Party, r journal.Receipt, name signed.Digest, raw []byte, why error) {
	n := as.node
	as.mu.Lock()
	a := as.of(host)
	_, before := a.refused[name]
	full := len(a.refused) >= maxFaults
	if !full {
		a.refused[name] = struct{}{}
	}
	as.mu.Unlock()
	if before || full {
		return
	}
	n.log.Error("a receipt is not signed", "from", host, "error", why)
	n.note(journal.Entry{
		Time: n.clock(), Thing: at, Caller: n.party(n.self), Op: journal.Countersign, Affordance: r.Affordance,
		Outcome: journal.Refused, Reason: why.Error(), Call: r.Call, Exchange: &journal.Exchange{Receipt: raw},
	})
}

// keep notes what was signed about a call before.
func (as *accounts) keep(ctx context.Context, host string, x *journal.Exchange) {
	n := as.node
	r, _, err := journal.ReadReceipt(x.Receipt)
	if err != nil {
		return // it was read before
	}
	n.note(journal.Entry{
		Time: n.clock(), Thing: as.partyAt(ctx, host), Caller: n.party(n.self), Op: journal.Countersign,
		Affordance: r.Affordance, Outcome: journal.Served, Call: r.Call, Exchange: x,
	})
}

// post asks a thing's desk for receipts.
func (as *accounts) post(ctx context.Context, base string, list receiptList) (*http.Response, receiptList, error) {
	var owed receiptList
	data, err := signed.Marshal(list)
	if err != nil {
		return nil, owed, err
	}
	ctx, cancel := context.WithTimeout(ctx, askGateway)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+receiptsPath, bytes.NewReader(data))
	if err != nil {
		return nil, owed, err
	}
	req.Header.Set("Content-Type", receiptsType)
	req.Header["Idempotency-Key"] = nil // net/http: may be repeated, and nothing is sent
	resp, err := as.node.http.Do(req)
	if err != nil {
		return nil, owed, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, owed, fmt.Errorf("it answered %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReceipts))
	if err == nil {
		err = signed.Unmarshal(body, &owed)
	}
	return resp, owed, err
}

// countRead counts a read, of which the journal is told later.
func (as *accounts) countRead(req *http.Request, resp *http.Response, err error) {
	r := read{req.URL.Host, req.URL.Path, journal.Failed}
	if err == nil && resp.StatusCode < 300 {
		r.outcome = journal.Served
	} else if err == nil && resp.StatusCode == http.StatusForbidden {
		r.outcome = journal.Refused
	}
	as.mu.Lock()
	full := len(as.reads) >= maxReads
	as.reads[r]++
	as.mu.Unlock()
	if full {
		as.writeReads()
	}
}

// writeReads notes in the journal what was read.
func (as *accounts) writeReads() {
	n := as.node
	as.mu.Lock()
	reads := as.reads
	as.reads = map[read]uint32{}
	for r := range reads {
		as.of(r.host).read = true
	}
	as.mu.Unlock()
	for r, count := range reads {
		_, affordance, ok := thing.Means(http.MethodGet, r.path, false)
		if !ok {
			continue
		}
		if count == 1 {
			count = 0
		}
		err := n.journal.Note(journal.Entry{
			Time: n.cfg.Clock(), Thing: as.partyAt(context.Background(), r.host), Caller: n.party(n.self),
			Op: journal.Read, Affordance: affordance, Outcome: r.outcome, Count: count,
		})
		if err != nil {
			n.log.Error("writing the journal", "error", err)
		}
	}
}
