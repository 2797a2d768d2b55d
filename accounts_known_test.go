package kindred

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/signed"
)

var called = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fitting returns how a receipt fits, in the words of the error: "" if it is right, "later" if that is not to be known yet.
func fitting(k *known, r journal.Receipt, now time.Time) string {
	switch err := k.fits(r, now); {
	case err == nil:
		return ""
	case errors.Is(err, errLater):
		return "later"
	default:
		return err.Error()
	}
}

func TestWhenAReceiptIsOf(t *testing.T) {
	for _, test := range []struct {
		what          string
		at            time.Duration // after the call was made
		answered, now time.Duration
		right         bool
	}{
		{"at once", 0, time.Second, time.Second, true},
		{"by a clock that is behind", -slack, time.Second, time.Second, true},
		{"by one that is further behind", -slack - time.Millisecond, time.Second, time.Second, false},
		{"by a clock that is ahead", slack + time.Second, time.Second, time.Second, true},
		{"by one that is further ahead", slack + 2*time.Second, time.Second, time.Second, false},
		{"days after it was answered", 48 * time.Hour, time.Second, 72 * time.Hour, false},
		{"of an action that took an hour", time.Hour, time.Hour, 24 * time.Hour, true},
		{"of what was never answered", 23 * time.Hour, 0, 24 * time.Hour, true},
		{"of what was never answered, and is still to come", 24*time.Hour + slack + time.Second, 0, 24 * time.Hour, false},
	} {
		k := &known{op: journal.Invoke, affordance: "unlock", asked: called, tries: 1}
		if test.answered > 0 {
			k.outcome, k.answered = journal.Served, called.Add(test.answered)
		}
		r := journal.Receipt{Op: k.op, Affordance: k.affordance, Outcome: journal.Served, Time: called.Add(test.at)}
		if got := fitting(k, r, called.Add(test.now)); (got == "") != test.right {
			t.Errorf("%s: %q", test.what, got)
		}
	}
}

func TestReceiptsForAStreamGoOn(t *testing.T) {
	k := &known{op: journal.Observe, affordance: "state", asked: called, tries: 1, outcome: journal.Served, answered: called, live: new(lasting)}
	k.live.bytes.Store(1000)
	minute := func(n int) time.Time { return called.Add(time.Duration(n) * time.Minute) }
	part := func(n int, bytes uint64, say ...func(*journal.Receipt)) journal.Receipt {
		r := journal.Receipt{
			Op: k.op, Affordance: k.affordance, Outcome: journal.Served, Time: called, Until: minute(n), Index: 3, Part: uint32(n), Bytes: bytes,
			Count: uint64(n),
		}
		for _, s := range say {
			s(&r)
		}
		return r
	}
	now := minute(9)
	for i, step := range []struct {
		r    journal.Receipt
		want string
	}{
		{part(0, 0), "it is of an action"},
		{part(1, 500, func(r *journal.Receipt) { r.Until = called.Add(-time.Second) }), "it is until"},
		{part(1, 500, func(r *journal.Receipt) { r.Until = now.Add(slack + time.Second) }), "it is until"},
		{part(1, 500, func(r *journal.Receipt) { r.Request[0]++; r.Op = journal.Read }), "it is of read"},
		{part(1, 500), ""},
		{part(1, 501), "there is a receipt for as much already"},
		{part(2, 499), "it says less"},
		{part(2, 500, func(r *journal.Receipt) { r.Count = 0 }), "it says less"},
		{part(2, 500, func(r *journal.Receipt) { r.Until = minute(0) }), "it says less"},
		{part(2, 500, func(r *journal.Receipt) { r.Leaf[0]++ }), "there is a receipt for it already, of another entry"},
		{part(2, 500, func(r *journal.Receipt) { r.Index++ }), "there is a receipt for it already, of another entry"},
		{part(2, 1000+onItsWay+1), "later"},
		{part(2, 500, func(r *journal.Receipt) { r.Count = 1000 + onItsWay + 1 }), "later"},
		{part(4, 1000+onItsWay), ""},
		{part(3, 700), "later"}, // as good as signed: the one that takes its place is
		{part(5, 1000+onItsWay, func(r *journal.Receipt) { r.Outcome = journal.Ended }), ""},
		{part(6, 1000+onItsWay), "there is a receipt for all of it already"},
	} {
		got := fitting(k, step.r, now)
		if !strings.HasPrefix(got, step.want) || step.want == "" && got != "" {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
		if got == "" {
			k.keep(&signedFor{Receipt: step.r, name: signed.Digest{byte(i)}, exchange: new(journal.Exchange)})
		}
	}
	if k.before(signed.Digest{15}) == nil || k.before(signed.Digest{99}) != nil {
		t.Error("what was signed is not known by its name")
	}
}

// What a stream carried is known once it is over, and by half where the node was killed.
func TestHowMuchAStreamCarried(t *testing.T) {
	ended := new(lasting)
	ended.bytes.Store(1000)
	ended.ended.Store(&called)
	for what, test := range map[string]struct {
		k    *known
		most uint64
	}{
		"it ended":                          {&known{live: ended}, 1000 + onItsWay},
		"it ended before a restart":         {&known{carried: 1000, over: true}, 1000 + onItsWay},
		"the node was killed soon":          {&known{}, onItsWay + onItsWay},
		"the node was killed after it grew": {&known{carried: 3 * onItsWay}, 6*onItsWay + onItsWay},
	} {
		k := test.k
		k.op, k.affordance, k.asked, k.tries = journal.Invoke, "tcp-22", called, 1
		r := journal.Receipt{Op: k.op, Affordance: k.affordance, Outcome: journal.Served, Time: called, Until: called, Part: 1, Bytes: test.most}
		if got := fitting(k, r, called); got != "" {
			t.Errorf("%s: %q", what, got)
		}
		if r.Bytes++; !strings.HasPrefix(fitting(k, r, called), "it is of") {
			t.Errorf("%s: one byte more is taken, or waited for", what)
		}
	}
}

// Whoever asks again, because an answer was lost, gets a receipt for each time; who does not, for one.
func TestReceiptsForWhatWasAskedForTwice(t *testing.T) {
	for tries := uint32(1); tries <= 3; tries++ {
		k := &known{op: journal.Invoke, affordance: "unlock", asked: called, tries: tries, outcome: journal.Served, answered: called}
		r := journal.Receipt{Op: k.op, Affordance: k.affordance, Outcome: journal.Served, Time: called}
		for ; fitting(k, r, called) == "" && r.Index < 9; r.Index++ {
			k.keep(&signedFor{Receipt: r, name: signed.Digest{byte(r.Index)}})
		}
		if r.Index != int64(tries) {
			t.Errorf("asked %d times, it signs %d receipts", tries, r.Index)
		}
	}
	k := &known{op: journal.Invoke, affordance: "unlock", asked: called, tries: 1, waiting: true}
	r := journal.Receipt{Op: k.op, Affordance: k.affordance, Outcome: journal.Served, Time: called}
	if got := fitting(k, r, called); got != "later" {
		t.Errorf("before the answer: %q", got)
	}
	if k.tries++; fitting(k, r, called) != "" {
		t.Error("a receipt whose answer was lost is not signed")
	}
}

func TestWhatAJournalTellsOfACall(t *testing.T) {
	sent, answer := signed.Sum([]byte("7")), signed.Sum([]byte("true"))
	entry := func(seconds int, outcome journal.Outcome, say ...func(*journal.Entry)) journal.Entry {
		e := journal.Entry{Time: called.Add(time.Duration(seconds) * time.Second), Op: journal.Invoke, Affordance: "unlock", Outcome: outcome, Call: 9}
		for _, s := range say {
			s(&e)
		}
		return e
	}
	asked := entry(0, journal.Asked, func(e *journal.Entry) { e.Body = sent })
	watched := func(e *journal.Entry) { e.Op, e.Affordance = journal.Observe, "state" }
	another := func(e *journal.Entry) { e.Call = 8 }
	bytes := func(n uint64) func(*journal.Entry) { return func(e *journal.Entry) { e.Bytes = n } }
	k := known{op: journal.Invoke, affordance: "unlock", asked: called, request: sent, tries: 1}
	for what, test := range map[string]struct {
		entries []journal.Entry
		want    func(*known)
	}{
		"asked": {[]journal.Entry{asked, entry(1, journal.Served, another)}, func(*known) {}},
		"answered": {[]journal.Entry{asked, entry(2, journal.Served, func(e *journal.Entry) { e.Body = answer })}, func(k *known) {
			k.outcome, k.answered, k.response = journal.Served, called.Add(2*time.Second), answer
		}},
		"refused": {[]journal.Entry{asked, entry(2, journal.Refused)}, func(k *known) {
			k.outcome, k.answered = journal.Refused, called.Add(2*time.Second)
		}},
		"no answer": {[]journal.Entry{asked, entry(2, journal.Asked, func(e *journal.Entry) { e.Body = sent })}, func(*known) {}},
		"asked for twice": {[]journal.Entry{asked, entry(2, journal.Asked, func(e *journal.Entry) { e.Count = 2 })}, func(k *known) {
			k.tries = 2
		}},
		"a stream, and the node was killed": {[]journal.Entry{entry(0, journal.Served, watched), entry(9, journal.Served, watched, bytes(70))}, func(k *known) {
			k.op, k.affordance, k.request, k.outcome, k.answered, k.carried = journal.Observe, "state", signed.Digest{}, journal.Served, called, 70
		}},
		"a stream that ended": {[]journal.Entry{entry(0, journal.Served, watched), entry(9, journal.Ended, watched, bytes(70))}, func(k *known) {
			k.op, k.affordance, k.request, k.outcome, k.answered, k.carried, k.over = journal.Observe, "state", signed.Digest{}, journal.Served, called, 70, true
		}},
	} {
		p := past{calls: map[uint64]*known{9: nil, 10: nil}}
		for _, e := range test.entries {
			p.read(e)
		}
		want := k
		test.want(&want)
		if got := p.calls[9]; got == nil || !reflect.DeepEqual(*got, want) || p.calls[10] != nil {
			t.Errorf("%s: %+v\nwant %+v", what, got, want)
		}
	}
}
