package journal

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

func TestEntryRoundTrip(t *testing.T) {
	full := Entry{
		Time: noon.Add(123 * time.Millisecond), Thing: porch, Caller: guest, Op: Observe, Affordance: "picture", Outcome: Ended,
		Grant: "g-7kqm", Reason: "anna took the right back", AsOf: noon, Offline: true, Count: math.MaxUint32,
		Stream: math.MaxUint64, With: anna, Body: signed.Sum([]byte("7")),
	}
	for name, e := range map[string]Entry{
		"full":         full,
		"least":        {Time: time.UnixMilli(1).UTC(), Op: Read, Outcome: Served},
		"the root":     {Time: noon, Caller: party(home, ""), Op: Remove, Outcome: Failed},
		"an open op":   {Time: noon, Op: "re-admit", Outcome: Refused},
		"other script": {Time: noon, Op: Read, Outcome: Refused, Reason: "außerhalb der Zeit · 時間外"},
	} {
		data, err := e.encode(home)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := ParseEntry(home, data)
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%s: %+v, %v\nwant %+v", name, got, err, e)
		}
	}
	if a, b := mustEncode(t, full), mustEncode(t, Entry{Time: noon, Op: Read, Outcome: Served}); len(a) > 300 || len(b) > 30 {
		t.Errorf("a full entry takes %d bytes, the least %d", len(a), len(b))
	}
}

func TestEntryTextsAreMadePrintable(t *testing.T) {
	long := strings.Repeat("ü", 200)
	e := Entry{Time: noon, Op: Read, Outcome: Refused, Affordance: "a\x1b[2Jb\xff\u202ec", Reason: long}
	got, err := ParseEntry(home, mustEncode(t, e))
	if err != nil {
		t.Fatal(err)
	}
	if want := "a\ufffd[2Jb\ufffd\ufffdc"; got.Affordance != want {
		t.Errorf("affordance %q, want %q", got.Affordance, want)
	}
	if want := long[:maxReason]; got.Reason != want {
		t.Errorf("reason of %d bytes, want the first %d", len(got.Reason), len(want))
	}
	for _, s := range []string{strings.Repeat("\xff", 10_000), strings.Repeat("語", 22), "abc"} {
		got := printable(s, maxText)
		if len(got) > maxText || !utf8.ValidString(got) || printable(got, maxText) != got {
			t.Errorf("printable(%q) = %q", s, got)
		}
	}
}

func TestEntryRefused(t *testing.T) {
	good := Entry{Time: noon, Op: Read, Outcome: Served}
	change := func(f func(*Entry)) Entry { e := good; f(&e); return e }
	for want, e := range map[string]Entry{
		"time -62135596800000": change(func(e *Entry) { e.Time = time.Time{} }),
		"proof time -1":        change(func(e *Entry) { e.AsOf = time.UnixMilli(-1) }),
		"out of range":         change(func(e *Entry) { e.Time = time.UnixMilli(maxTime) }),
		`operation ""`:         change(func(e *Entry) { e.Op = "" }),
		`operation "Read"`:     change(func(e *Entry) { e.Op = "Read" }),
		"unknown outcome 0":    change(func(e *Entry) { e.Outcome = 0 }),
		"unknown outcome 6":    change(func(e *Entry) { e.Outcome = 6 }),
		"without a member ID":  change(func(e *Entry) { e.Caller.ID.Tree = home }),
		"not another tree":     change(func(e *Entry) { e.Thing.Member = lock.Member }),
		"no name":              change(func(e *Entry) { e.With = lock; e.With.ID.Path = "home//lock" }),
	} {
		if _, err := e.encode(home); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("encode(%+v) = %v, want %q", e, err, want)
		}
	}
}

func TestParseEntryRefused(t *testing.T) {
	wire := func(f func(*wireEntry)) []byte {
		w := wireEntry{Time: noon.UnixMilli(), Op: "read", Outcome: 1, Caller: anna.wire(home)}
		f(&w)
		data, err := signed.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if _, err := ParseEntry(home, wire(func(*wireEntry) {})); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"nothing":                   nil,
		"trailing bytes":            append(wire(func(*wireEntry) {}), 0),
		"too long":                  make([]byte, MaxEntry+1),
		"own tree spelled out":      wire(func(w *wireEntry) { w.Caller.Tree = home[:] }),
		"a short tree":              wire(func(w *wireEntry) { w.Caller.Tree = other[:31] }),
		"a terminal's escape":       wire(func(w *wireEntry) { w.Reason = "\x1b[2J" }),
		"a reason too long":         wire(func(w *wireEntry) { w.Reason = strings.Repeat("a", maxReason+1) }),
		"a grant too long":          wire(func(w *wireEntry) { w.Grant = strings.Repeat("a", maxText+1) }),
		"a time of 0":               wire(func(w *wireEntry) { w.Time = 0 }),
		"a path that is none":       wire(func(w *wireEntry) { w.Caller.Path = "../x" }),
		"an operation that is none": wire(func(w *wireEntry) { w.Op = "read write" }),
	} {
		if e, err := ParseEntry(home, data); err == nil {
			t.Errorf("%s: read as %+v", name, e)
		}
	}
}

func TestTags(t *testing.T) {
	moved := anna
	moved.ID.Path = "sam/anna/tablet"
	twin := anna // a member of another tree that took the same ID
	twin.ID.Tree = other
	if anna.tag() != moved.tag() || !anna.same(moved) {
		t.Error("a member that moved is another")
	}
	if anna.tag() == twin.tag() || anna.same(twin) {
		t.Error("members of two trees with one ID are the same")
	}
	if (Party{}).tag() != 0 || anna.tag() <= 0 {
		t.Errorf("tags %d and %d, want 0 and more", (Party{}).tag(), anna.tag())
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add(mustEncode(f, opened(1)))
	f.Add(mustEncode(f, Entry{Time: noon, Thing: porch, Caller: guest, Op: Connect, Outcome: Refused, Reason: "who?", Count: 3}))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseEntry(home, data)
		if err != nil {
			return
		}
		again, err := e.encode(home)
		if err != nil || string(again) != string(data) {
			t.Errorf("%x was read and is written as %x, %v", data, again, err)
		}
		if _, err := ParseEntry(identity.TreeID{}, data); err != nil && len(data) < 10 {
			t.Errorf("an entry without parties depends on the tree: %v", err)
		}
	})
}
