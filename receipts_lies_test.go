package kindred_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/thing"
)

// A lyingLock is a lock that answers what it is asked, and gives receipts as a test has it.
type lyingLock struct {
	*door

	mu     sync.Mutex // of what follows
	status int
	says   func(*journal.Receipt) // of the receipt that comes with an answer; nil: none does
	last   journal.Receipt        // what was so
}

func newLyingLock(t *testing.T) *lyingLock {
	t.Helper()
	l := &lyingLock{door: newDoor(t), status: http.StatusOK}
	if err := l.do(l.laptop, "lock"); err != nil { // the thing is offered by now
		t.Fatal(err)
	}
	l.lock.Lie(http.HandlerFunc(l.answer))
	return l
}

func (l *lyingLock) answer(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	call, err := strconv.ParseUint(r.Header.Get(kindred.CallHeader), 10, 64)
	if err != nil {
		l.t.Error(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		l.t.Error(err)
	}
	lock, caller := l.lock.Self(), l.laptop.Self()
	l.last = journal.Receipt{
		Tree: lock.ID.Tree, Node: lock.Member(), Caller: caller.Member(), CallerTree: caller.ID.Tree,
		Op: journal.Invoke, Affordance: "unlock", Outcome: journal.Served, Time: time.Now(), Call: call, Index: l.last.Index + 1,
		Request: signed.Sum(body), Response: signed.Sum([]byte("true")),
	}
	if l.status >= 300 {
		l.last.Outcome = journal.Failed
	}
	if l.says != nil {
		says := l.last
		l.says(&says)
		raw, err := l.lock.Owe(l.t.Context(), says)
		if err != nil {
			l.t.Error(err)
		}
		w.Header().Set(kindred.ReceiptHeader, base64.RawURLEncoding.EncodeToString(raw))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(l.status)
	_, _ = io.WriteString(w, "true")
}

// unlock makes a call, and returns what is so of it.
func (l *lyingLock) unlock(answer int, input string, says func(*journal.Receipt)) journal.Receipt {
	l.t.Helper()
	l.mu.Lock()
	l.status, l.says = answer, says
	l.mu.Unlock()
	err := l.laptop.Use(l.t.Context(), "home/lock", func(c *thing.Client) error {
		_, err := c.Invoke(l.t.Context(), "unlock", json.RawMessage(input))
		return err
	})
	if (err == nil) != (answer == http.StatusOK) {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// owe has the laptop owe receipts, and returns which of them it signs.
func (l *lyingLock) owe(receipts ...journal.Receipt) (signs []journal.Receipt) {
	l.t.Helper()
	for _, r := range receipts {
		if _, err := l.lock.Owe(l.t.Context(), r); err != nil {
			l.t.Fatal(err)
		}
	}
	before := len(l.countersigned(l.laptop))
	if err := l.laptop.Settle(l.t.Context(), l.lock.Self().Member()); err != nil {
		l.t.Fatal(err)
	}
	return l.countersigned(l.laptop)[before:]
}

// faults returns what the laptop's journal tells of receipts that it did not sign.
func (l *lyingLock) faults() []journal.Item {
	l.t.Helper()
	return slices.DeleteFunc(l.entries(l.laptop, journal.Countersign), func(i journal.Item) bool { return i.Entry.Outcome != journal.Refused })
}

// restart starts the laptop anew: what it knows then stands in its journal.
func (l *lyingLock) restart() { l.laptop = l.Reopen("laptop", l.laptop) }

// lies are what a receipt can say otherwise than it was, of a call that was served.
var lies = map[string]func(*journal.Receipt){
	"another input":     func(r *journal.Receipt) { r.Request[0]++ },
	"no input":          func(r *journal.Receipt) { r.Request = signed.Digest{} },
	"another answer":    func(r *journal.Receipt) { r.Response[0]++ },
	"that it failed":    func(r *journal.Receipt) { r.Outcome = journal.Failed },
	"that it ended":     func(r *journal.Receipt) { r.Outcome = journal.Ended },
	"another action":    func(r *journal.Receipt) { r.Affordance = "wait" },
	"another operation": func(r *journal.Receipt) { r.Op = journal.Write },
	"another call":      func(r *journal.Receipt) { r.Call++ },
	"no call":           func(r *journal.Receipt) { r.Call = 0 },
	"many entries":      func(r *journal.Receipt) { r.Entries, r.Count = 20, 20 },
	"bytes":             func(r *journal.Receipt) { r.Bytes = 1 << 40 },
	"times":             func(r *journal.Receipt) { r.Count = 20 },
	"an end":            func(r *journal.Receipt) { r.Until = r.Time.Add(time.Hour) },
	"a stream":          func(r *journal.Receipt) { r.Part, r.Bytes = 1, 1000 },
	"two days before":   func(r *journal.Receipt) { r.Time = r.Time.Add(-48 * time.Hour) },
	"two days after":    func(r *journal.Receipt) { r.Time = r.Time.Add(48 * time.Hour) },
	"in another's name": func(r *journal.Receipt) { r.Node[0]++ },
	"of another home":   func(r *journal.Receipt) { r.Tree[0]++ },
	"years ago":         func(r *journal.Receipt) { r.Time = time.UnixMilli(1) },
	"years from now":    func(r *journal.Receipt) { r.Time = time.UnixMilli(1 << 47) },
	"of what never was": func(r *journal.Receipt) { r.Call, r.Affordance = 77, "lock" },
}

// TestALyingThing has the lock give receipts for what was not so: with its answer, later, and once the caller was started
// anew. The caller signs none, writes each down once, with the reason, and signs what was so.
func TestALyingThing(t *testing.T) {
	l := newLyingLock(t)
	faults := 0
	for what, lie := range lies {
		l.unlock(http.StatusOK, `"with the answer"`, lie)
		l.laptop.HandBack(t.Context())
		faults++
		if got := len(l.faults()); got != faults || len(l.countersigned(l.laptop)) != 1 {
			t.Fatalf("%s, with the answer: the caller refused %d receipts, want %d, and signed %+v", what, got, faults, l.countersigned(l.laptop))
		}
	}
	for when, before := range map[string]func(){"later": func() {}, "after a restart": l.restart} {
		var truths []journal.Receipt
		said := map[string]journal.Receipt{}
		for what, lie := range lies {
			was := l.unlock(http.StatusOK, `"later"`, nil)
			says := was
			lie(&says)
			truths, said[what] = append(truths, was), says
		}
		before()
		for what, r := range said {
			faults++
			signs := l.owe(r)
			if got := len(l.faults()); got != faults || len(signs) != 0 {
				t.Fatalf("%s, %s: the caller refused %d receipts, want %d, and signed %+v", what, when, got, faults, signs)
			}
		}
		before()
		if signs := l.owe(truths...); len(signs) != len(truths) || len(l.faults()) != faults {
			t.Errorf("%s: of %d receipts that are right the caller signs %d, and refused %d, want %d", when, len(truths), len(signs), len(l.faults()), faults)
		}
	}
	for _, i := range l.faults() {
		if e := i.Entry; e.Reason == "" || e.Exchange == nil || len(e.Exchange.Countersignature) > 0 {
			t.Errorf("the journal tells of a receipt that was not signed %+v", e)
		}
	}
}

// Whatever a receipt says of when it was, and of which call: that it was refused is told once.
func TestALieIsToldOnce(t *testing.T) {
	for _, what := range []string{"years from now", "years ago", "no call", "of what never was", "many entries"} {
		l := newLyingLock(t)
		says := l.unlock(http.StatusOK, "7", nil)
		lies[what](&says)
		l.owe(says)
		for range 2 {
			l.restart()
			l.owe()
		}
		if got := len(l.faults()); got != 1 {
			t.Errorf("%s: it is told %d times", what, got)
		}
	}
}

// What failed, or was refused, was not done.
func TestReceiptsForWhatWasNotDone(t *testing.T) {
	l := newLyingLock(t)
	done := func(r *journal.Receipt) { r.Outcome = journal.Served }
	for status, want := range map[int]journal.Outcome{http.StatusConflict: journal.Failed, http.StatusForbidden: journal.Refused} {
		l.unlock(status, "7", done)
		later, restarted := l.unlock(status, "7", nil), l.unlock(status, "7", nil)
		later.Outcome, restarted.Outcome = journal.Served, journal.Served
		if signs := l.owe(later); len(signs) != 0 {
			t.Errorf("%s: the caller signs %+v", want, signs)
		}
		l.restart()
		if signs := l.owe(restarted); len(signs) != 0 {
			t.Errorf("%s, after a restart: the caller signs %+v", want, signs)
		}
	}
	failed := l.unlock(http.StatusConflict, "7", nil)
	failed.Request = signed.Digest{} // it was not read
	if signs := l.owe(failed); len(signs) != 1 {
		t.Errorf("of what failed the caller signs %+v", signs)
	}
}

// TestOneReceiptForACall has the lock tell two stories of one call. The first that fits is signed, as often as it is told,
// and no other.
func TestOneReceiptForACall(t *testing.T) {
	l := newLyingLock(t)
	for when, before := range map[string]func(){"at once": func() {}, "after a restart": l.restart} {
		was := l.unlock(http.StatusOK, "7", nil)
		if signs := l.owe(was); len(signs) != 1 {
			t.Fatalf("%s: the caller signs %+v", when, signs)
		}
		before()
		refused := len(l.faults())
		for what, say := range map[string]func(*journal.Receipt){
			"another entry":        func(r *journal.Receipt) { r.Index++ },
			"another leaf":         func(r *journal.Receipt) { r.Leaf[0]++ },
			"another time":         func(r *journal.Receipt) { r.Time = r.Time.Add(time.Second) },
			"another grant":        func(r *journal.Receipt) { r.Grant = "g-7kqm" },
			"another entry, later": func(r *journal.Receipt) { r.Index, r.Time = r.Index+1, r.Time.Add(time.Minute) },
		} {
			other := was
			say(&other)
			signs := l.owe(other)
			if refused++; len(signs) != 0 || len(l.faults()) != refused {
				t.Errorf("%s, %s: the caller signs %+v and refused %d, want %d", when, what, signs, len(l.faults()), refused)
			}
		}
		own := len(l.entries(l.laptop, journal.Countersign))
		before()
		if signs := l.owe(was); len(signs) != 1 {
			t.Errorf("%s: what was signed is not signed when it is asked for again: %+v", when, signs)
		}
		if got := len(l.entries(l.laptop, journal.Countersign)); got != own {
			t.Errorf("%s: the journal tells %d times of what was signed, want %d", when, got, own)
		}
		var given [][]byte
		for _, i := range l.entries(l.lock, journal.Countersign) {
			if i.Entry.Call == was.Call {
				given = append(given, i.Entry.Exchange.Countersignature)
			}
		}
		if len(given) != 2 || !bytes.Equal(given[0], given[1]) {
			t.Errorf("%s: asked twice, the caller gave %x", when, given)
		}
	}
}

// TestAnAnswerThatWasLost has a caller ask again, under an Idempotency-Key, for what the lock has begun. The lock tells of both
// times, the caller signs for both, and is locked out by neither.
func TestAnAnswerThatWasLost(t *testing.T) {
	d := newDoor(t)
	if err := d.do(d.laptop, "lock"); err != nil {
		t.Fatal(err)
	}
	c, err := d.laptop.Resolve(t.Context(), "home/lock")
	if err != nil {
		t.Fatal(err)
	}
	begun := func(times int) {
		d.until("the lock has begun", func() bool { return len(d.entries(d.lock, journal.Invoke)) >= times })
	}
	done := make(chan error, 1)
	go func() {
		done <- d.laptop.Use(t.Context(), "home/lock", func(c *thing.Client) error {
			_, err := c.InvokeWithKey(t.Context(), "wait", "once", nil)
			return err
		})
	}()
	begun(2)
	if err := d.laptop.HangUp(c); err != nil {
		t.Fatal(err)
	}
	begun(3)
	close(d.slow)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.do(d.laptop, "unlock"); err != nil {
			t.Fatal(err)
		}
	}
	d.laptop.HandBack(t.Context())
	if got := d.countersigned(d.laptop); len(got) != 5 {
		t.Errorf("it signed for %+v", got)
	}
}

// TestTheOwnerIsToldOfLies has the lock give a receipt for what was not so, which its user's journal and the audit tell, and
// one entry for two things that were done.
func TestTheOwnerIsToldOfLies(t *testing.T) {
	l := newLyingLock(t)
	l.laptop.HandBack(t.Context())
	l.handedIn(2)
	if c := l.audit(); len(c.Findings) > 0 {
		t.Fatalf("%+v", c)
	}
	lie := l.unlock(http.StatusOK, "7", nil)
	lie.Request[0]++
	lie.Node[0]++ // whose fault it is not
	l.owe(lie)
	first := l.entries(l.lock, journal.Invoke)[0]
	again := l.unlock(http.StatusOK, "7", nil)
	again.Index, again.Leaf = first.Index, journal.LeafOf(first.Raw)
	if signs := l.owe(again); len(signs) != 1 {
		t.Fatalf("it signs %+v", signs)
	}
	c := l.audit()
	if len(c.Findings) != 2 || c.Findings[0].Problem != journal.Disputed || c.Findings[0].Detail != "it is in another's name" ||
		c.Findings[1].Problem != journal.Forked || c.Findings[1].Index != first.Index {
		t.Errorf("the audit finds %+v", c.Findings)
	}
	lock, self := l.lock.Self().Member().String(), l.laptop.Self().Member().String()
	for _, q := range []control.HistoryQuery{{}, {Thing: lock}, {Thing: lock, Caller: self}} {
		if told, err := l.laptop.Faults(t.Context(), q); err != nil || len(told) != 1 || told[0].Reason != "it is in another's name" {
			t.Errorf("%+v: the laptop tells of %+v, %v", q, told, err)
		}
	}
	for _, q := range []control.HistoryQuery{{Thing: self}, {Caller: lock}, {Until: time.Now().Add(-time.Hour)}} {
		if told, err := l.laptop.Faults(t.Context(), q); err != nil || len(told) != 0 {
			t.Errorf("%+v: the laptop tells of %+v, %v", q, told, err)
		}
	}
	if told, err := l.laptop.History(t.Context(), control.HistoryQuery{}); err != nil || slices.ContainsFunc(told, func(e journal.Entry) bool {
		return e.Op == journal.Countersign
	}) {
		t.Errorf("the home tells of %+v, %v", told, err)
	}
}
