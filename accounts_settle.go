package kindred

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/thing"
)

// handBack hands all countersignatures back that are waiting. Those that no thing takes now go along with the next
// action there.
func (as *accounts) handBack(ctx context.Context) {
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
		for _, o := range a.calls {
			asks = asks || o.lasts()
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
		signs := 0
		for _, raw := range owed.Statements {
			x, err := as.sign(resp, host, raw, func(r journal.Receipt) error { return as.knows(ctx, host, r) })
			if errors.Is(err, errLater) {
				continue
			}
			if err != nil {
				as.node.log.Error("a receipt is not signed", "from", host, "error", err)
				continue
			}
			signs++
			as.keep(ctx, host, x)
		}
		if signs == 0 {
			return nil
		}
		reads = false
	}
	return nil
}

// keep notes what was signed about a call before.
func (as *accounts) keep(ctx context.Context, host string, x *journal.Exchange) {
	n := as.node
	r, _, err := journal.ReadReceipt(x.Receipt)
	if err != nil {
		return // it was read before
	}
	n.note(journal.Entry{
		Time: n.cfg.Clock(), Thing: as.partyAt(ctx, host), Caller: n.party(n.self), Op: journal.Countersign,
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

// errLater says that a receipt may be right, and that this is not to be known yet.
var errLater = errors.New("more is to come")

// slack is how far the clocks of two ends may be apart for one's account to be found in the other's.
const slack = 5 * time.Minute

// knows checks that a receipt which did not come with its response is of a call that the node made: by what it
// remembers, else by its own journal.
func (as *accounts) knows(ctx context.Context, host string, r journal.Receipt) error {
	as.mu.Lock()
	o := as.of(host).calls[r.Call]
	failed := o != nil && o.came == journal.Failed
	as.mu.Unlock()
	if o != nil && r.Call != 0 {
		err := o.asked(r)
		if failed && r.Part == 0 && r.Outcome == journal.Served {
			err = errors.New("it says that it was served, and the answer that it failed")
		}
		if err == nil && r.Part > 0 && r.Bytes > o.received.Bytes()+onItsWay {
			err = fmt.Errorf("it is of %d bytes, and %d came: %w", r.Bytes, o.received.Bytes(), errLater)
		}
		return err
	}
	found, err := as.recorded(ctx, as.partyAt(ctx, host), r)
	if err == nil && !found {
		err = errors.New("nothing of it is known here")
	}
	return err
}

// onItsWay is how much of a stream may be sent and not received yet.
const onItsWay = 1 << 20

// recorded reports whether the node's own journal tells of what a receipt is about.
func (as *accounts) recorded(ctx context.Context, at journal.Party, r journal.Receipt) (bool, error) {
	as.writeReads()
	n := as.node
	until := r.Until
	if until.IsZero() {
		until = r.Time
	}
	items, err := n.journal.Query(ctx, journal.Filter{
		Who: n.party(n.self), Thing: at, Since: r.Time.Add(-slack), Until: until.Add(slack), Limit: journal.MaxLimit, Accounts: true,
	})
	if err != nil {
		return false, err
	}
	var reads uint64
	for _, i := range items {
		e := i.Entry
		switch {
		case i.Node != n.self.Member() || e.Outcome != journal.Served && e.Outcome != journal.Asked:
		case r.Entries == 0 && e.Call == r.Call && e.Op == r.Op && e.Affordance == r.Affordance:
			return true, nil
		case r.Entries > 0 && (e.Op == journal.Read || e.Op == journal.Observe):
			reads += uint64(max(1, e.Count))
		}
	}
	return r.Entries > 0 && reads >= r.Count, nil
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
