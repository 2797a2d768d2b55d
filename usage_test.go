package kindred

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tree"
)

// memory are records that a crash leaves as they were saved.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
	fail   error
	saves  int
}

func (m *memory) Load(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[key], m.fail
}

func (m *memory) Save(_ context.Context, changes map[string][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.saves++
	for k, v := range changes {
		if m.values[k] = v; v == nil {
			delete(m.values, k)
		}
	}
	return nil
}

func (m *memory) Scan(_ context.Context, _ string, each func(string, []byte) error) error {
	for k, v := range m.values {
		if err := each(k, v); err != nil {
			return err
		}
	}
	return nil
}

func newUsage(db records) *usage {
	u := &usage{}
	u.start(db, slog.New(slog.NewTextHandler(io.Discard, nil)), func() {})
	return u
}

// ask decides on a call by the terms alone, as grant.Decide does, and reports whether it may go on.
func (u *usage) ask(c *call, t *grant.Terms, now time.Time) (bool, time.Time, error) {
	k := taking{usage: u, call: c, now: now}
	used := k.used(t)
	ok := (t.Uses == 0 || used.Uses < t.Uses) && (t.Rate.Uses == 0 || used.Recent < t.Rate.Uses) &&
		(t.Budget == 0 || used.Time < time.Duration(t.Budget)*time.Second)
	until := now.Add(24 * time.Hour)
	if ok && k.err == nil && c.counts && !c.left {
		if again := k.take([]*grant.Terms{t}); again > 0 {
			until = now.Add(again)
		}
	}
	u.mu.Unlock()
	if err := errors.Join(k.err, u.save()); err != nil {
		return false, until, err
	}
	return ok, until, nil
}

func callFor(op thing.Op) *call { return &call{op: op, counts: true} }

func mustAsk(t *testing.T, u *usage, c *call, terms *grant.Terms, now time.Time, want bool) time.Time {
	t.Helper()
	ok, until, err := u.ask(c, terms, now)
	if err != nil || ok != want {
		t.Errorf("allowed is %t, %v; want %t", ok, err, want)
	}
	return until
}

// However many ask at once, and whenever the process is killed, no use is given twice.
func TestUsesAreGivenOnce(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "kindred.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	terms := &grant.Terms{ID: tree.GrantID{1}, Uses: 25}
	given := 0
	for range 3 { // lives of the process; what is in memory is lost with each
		u := newUsage(db)
		var mu sync.Mutex
		var wait sync.WaitGroup
		for range 12 {
			wait.Go(func() {
				ok, _, err := u.ask(callFor(thing.OpReadProperty), terms, time.Now())
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if ok {
					given++
				}
			})
		}
		wait.Wait()
	}
	if given != 25 {
		t.Errorf("%d uses were given of 25", given)
	}
}

// What cannot be written down is not done, and is not done either once it can be.
func TestUseThatCannotBeWritten(t *testing.T) {
	db := &memory{values: map[string][]byte{}}
	u := newUsage(db)
	terms := &grant.Terms{ID: tree.GrantID{1}, Uses: 2}
	mustAsk(t, u, callFor(thing.OpInvokeAction), terms, time.Now(), true)
	db.fail = errors.New("disk full")
	if ok, _, err := u.ask(callFor(thing.OpInvokeAction), terms, time.Now()); ok || !errors.Is(err, db.fail) {
		t.Errorf("with a full disk: %t, %v", ok, err)
	}
	db.fail = nil
	mustAsk(t, u, callFor(thing.OpInvokeAction), terms, time.Now(), false)
	mustAsk(t, newUsage(db), callFor(thing.OpInvokeAction), terms, time.Now(), false)

	db.values[usageKey(terms.ID)] = []byte("{")
	if ok, _, err := newUsage(db).ask(callFor(thing.OpReadProperty), terms, time.Now()); ok || err == nil {
		t.Errorf("with a damaged record: %t, %v", ok, err)
	}
}

func TestRate(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		rate grant.Rate
		at   []time.Duration // of the requests
		want string          // y or n for each
	}{
		"in any so many seconds":   {grant.Rate{Uses: 2, Seconds: 60}, []time.Duration{0, 30, 59, 60, 61, 89, 90, 119, 120}, "yynynnyny"},
		"refusals are no uses":     {grant.Rate{Uses: 1, Seconds: 10}, []time.Duration{0, 1, 2, 9, 10}, "ynnny"},
		"a clock set back":         {grant.Rate{Uses: 1, Seconds: 60}, []time.Duration{0, -3600, -3541, -3539, -3538}, "ynnyn"},
		"a clock set far back":     {grant.Rate{Uses: 2, Seconds: 60}, []time.Duration{0, 1, -1e6, -1e6 + 30, -1e6 + 59, -1e6 + 61, -1e6 + 61, -1e6 + 61}, "yynnnyyn"},
		"set back, and forth":      {grant.Rate{Uses: 1, Seconds: 60}, []time.Duration{0, -3600, 1, 2}, "ynyn"},
		"more than the exact ones": {grant.Rate{Uses: 100, Seconds: 6400}, []time.Duration{0}, "y"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUsage(&memory{values: map[string][]byte{}})
			terms := &grant.Terms{ID: tree.GrantID{2}, Rate: tt.rate}
			got := ""
			for _, at := range tt.at {
				ok, _, err := u.ask(callFor(thing.OpReadProperty), terms, start.Add(at*time.Second))
				if err != nil {
					t.Fatal(err)
				}
				got += map[bool]string{true: "y", false: "n"}[ok]
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// A rate beside a naive model that remembers every use: it never allows more, and takes little memory.
func TestRateAgainstModel(t *testing.T) {
	const uses, seconds = 1000, 640
	u := newUsage(&memory{values: map[string][]byte{}})
	terms := &grant.Terms{ID: tree.GrantID{3}, Rate: grant.Rate{Uses: uses, Seconds: seconds}}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var model []time.Time
	refused := 0
	for i := range 4000 {
		now = now.Add(time.Duration(i%7) * 100 * time.Millisecond)
		ok, _, err := u.ask(callFor(thing.OpReadProperty), terms, now)
		if err != nil {
			t.Fatal(err)
		}
		for len(model) > 0 && !now.Before(model[0].Add(seconds*time.Second)) {
			model = model[1:]
		}
		switch {
		case ok && len(model) >= uses:
			t.Fatalf("request %d: use %d within %d s", i, len(model)+1, seconds)
		case ok:
			model = append(model, now)
		default:
			refused++
		}
		if n := len(u.of[terms.ID].Recent); n > exactRate+2 {
			t.Fatalf("%d entries", n)
		}
	}
	if refused == 0 || len(model) < uses*9/10 {
		t.Errorf("%d refused, %d within the last %d s", refused, len(model), seconds)
	}
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &memory{values: map[string][]byte{}}
		u := newUsage(db)
		terms := &grant.Terms{ID: tree.GrantID{4}, Budget: 60}
		a := callFor(thing.OpObserveProperty)
		until := mustAsk(t, u, a, terms, time.Now(), true)
		if got := time.Until(until); got != prepaid {
			t.Errorf("paid for %v, want %v", got, prepaid)
		}

		// A crash costs what is paid ahead, and gains nothing.
		crashed := newUsage(&memory{values: map[string][]byte{usageKey(terms.ID): db.values[usageKey(terms.ID)]}})
		c := callFor(thing.OpObserveProperty)
		if got := time.Until(mustAsk(t, crashed, c, terms, time.Now(), true)); got != 30*time.Second {
			t.Errorf("after a crash %v are left", got)
		}

		// Two streams use it up twice as fast.
		time.Sleep(20 * time.Second)
		b := callFor(thing.OpSubscribeEvent)
		if got := time.Until(mustAsk(t, u, b, terms, time.Now(), true)); got != 20*time.Second {
			t.Errorf("the second of two has %v, want half of 40 s", got)
		}
		if got := time.Until(mustAsk(t, u, a, terms, time.Now(), true)); got != 20*time.Second {
			t.Errorf("the first of two has %v, want half of 40 s", got)
		}

		// What was not used is given back, and a clock that is set does not matter.
		time.Sleep(10 * time.Second)
		u.leave(b)
		if got := time.Until(mustAsk(t, u, a, terms, time.Now(), true)); got != 20*time.Second {
			t.Errorf("alone again it has %v, want 20 s", got)
		}
		time.Sleep(20*time.Second - time.Nanosecond)
		mustAsk(t, u, a, terms, time.Now().Add(-time.Hour), true)
		time.Sleep(1 * time.Nanosecond)
		mustAsk(t, u, a, terms, time.Now().Add(-time.Hour), false)
		u.leave(a)
		mustAsk(t, newUsage(db), callFor(thing.OpObserveProperty), terms, time.Now(), false)
	})
}

// Whoever looks often, for a moment each, uses a budget up all the same.
func TestBudgetOfMoments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, op := range []thing.Op{thing.OpReadProperty, thing.OpObserveProperty} {
			u := newUsage(&memory{values: map[string][]byte{}})
			terms := &grant.Terms{ID: tree.GrantID{5}, Budget: 5}
			for i := range 6 {
				c := callFor(op)
				mustAsk(t, u, c, terms, time.Now(), i < 5)
				u.leave(c)
			}
		}
	})
}

// A stream is not denied its own use, and one that is over is given no more.
func TestStreamKeepsItsUse(t *testing.T) {
	u := newUsage(&memory{values: map[string][]byte{}})
	terms := &grant.Terms{ID: tree.GrantID{6}, Uses: 1, Rate: grant.Rate{Uses: 1, Seconds: 60}}
	c := callFor(thing.OpConnect)
	for range 3 {
		mustAsk(t, u, c, terms, time.Now(), true)
	}
	mustAsk(t, u, callFor(thing.OpConnect), terms, time.Now(), false)
	u.leave(c)
	mustAsk(t, u, c, terms, time.Now(), false)
	if y := u.of[terms.ID]; len(y.shares) != 0 || y.Uses != 1 {
		t.Errorf("%d shares, %d uses", len(y.shares), y.Uses)
	}
}

// Tallies are read again when they are needed, so that memory is bounded.
func TestTalliesInMemory(t *testing.T) {
	u := newUsage(&memory{values: map[string][]byte{}})
	for i := range 2 * maxTallies {
		terms := &grant.Terms{ID: tree.GrantID{byte(i), byte(i >> 8), 1}, Uses: 1}
		mustAsk(t, u, callFor(thing.OpReadProperty), terms, time.Now(), true)
	}
	if len(u.of) > maxTallies {
		t.Errorf("%d tallies in memory", len(u.of))
	}
	for i := range 2 * maxTallies {
		terms := &grant.Terms{ID: tree.GrantID{byte(i), byte(i >> 8), 1}, Uses: 1}
		mustAsk(t, u, callFor(thing.OpReadProperty), terms, time.Now(), false)
	}
}

// A tally goes when the tree is proved to stand after its grant's end, or long after that was taken away.
func TestTalliesAreForgotten(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	trusted := credentialtest.New(t, now).Trusted()
	asOf := trusted.AsOf()
	for name, tt := range map[string]struct {
		tally tally
		kept  bool
	}{
		"no end":               {tally{Uses: 1}, true},
		"not over yet":         {tally{Uses: 1, Until: asOf.Add(time.Hour).Unix()}, true},
		"over by little":       {tally{Uses: 1, Until: asOf.Add(-time.Minute).Unix()}, true},
		"over":                 {tally{Uses: 1, Until: asOf.Add(-time.Hour).Unix()}, false},
		"paused, or taken now": {tally{Uses: 1, Gone: asOf.Unix()}, true},
		"taken away long ago":  {tally{Uses: 1, Gone: asOf.Add(-keepGone - time.Hour).Unix()}, false},
	} {
		id := tree.GrantID{9}
		data, err := json.Marshal(tt.tally)
		if err != nil {
			t.Fatal(err)
		}
		db := &memory{values: map[string][]byte{usageKey(id): data}}
		if err := newUsage(db).forget(t.Context(), trusted); err != nil {
			t.Fatal(err)
		}
		if _, kept := db.values[usageKey(id)]; kept != tt.kept {
			t.Errorf("%s: kept is %t", name, kept)
		}
	}
}

// What was used under a grant is not forgotten while it stands, though it was paused long ago.
func TestPausedLongAgo(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	trusted := credentialtest.New(t, now).Trusted()
	terms := &grant.Terms{ID: tree.GrantID{9}, Uses: 1}
	data, err := json.Marshal(tally{Uses: 1, Gone: trusted.AsOf().Add(-keepGone - time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	db := &memory{values: map[string][]byte{usageKey(terms.ID): data}}
	k := taking{usage: newUsage(db), call: callFor(thing.OpReadProperty), now: now}
	if used := k.used(terms); used.Uses != 1 {
		t.Errorf("it was used %d times", used.Uses)
	}
	if err := k.settle(&grant.Decision{}); err != nil {
		t.Fatal(err)
	}
	u := newUsage(db) // after a restart
	if err := u.forget(t.Context(), trusted); err != nil {
		t.Fatal(err)
	}
	mustAsk(t, u, callFor(thing.OpReadProperty), terms, now, false)
}
