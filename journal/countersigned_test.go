package journal

import (
	"crypto"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/store/storetest"
)

// A countersignature that has the form of one, and is none, does not make an entry countersigned; nor does one that nobody
// can verify, or one of another entry.
func TestCountersignedIsVerified(t *testing.T) {
	l := openLog(t, storetest.Open(t), lock)
	keys := func(_ identity.TreeID, member identity.MemberID) []crypto.PublicKey {
		for _, p := range []Party{lock, anna, porch} {
			if p.Member == member {
				return []crypto.PublicKey{keyOf(guest).Public(), keyOf(p).Public()} // one from before
			}
		}
		return nil
	}
	cases := []struct {
		what      string
		node, key Party // who signs the receipt, and who countersigns it
		say       func(*Receipt)
		want      bool
	}{
		{"both", lock, anna, func(*Receipt) {}, true},
		{"another's countersignature", lock, porch, func(*Receipt) {}, false},
		{"another's receipt", porch, anna, func(*Receipt) {}, false},
		{"the node's own countersignature", lock, lock, func(*Receipt) {}, false},
		{"another entry", lock, anna, func(r *Receipt) { r.Leaf[0]++ }, false},
		{"another caller", lock, porch, func(r *Receipt) { r.Caller = porch.Member }, false},
		{"a caller nobody knows", lock, guest, func(r *Receipt) { r.Caller, r.CallerTree = guest.Member, other }, false},
	}
	for i, c := range cases {
		e := opened(3 * i)
		place, err := l.AppendAt(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		r := Receipt{
			Tree: home, Node: lock.Member, Caller: anna.Member, CallerTree: home, Op: e.Op, Affordance: e.Affordance, Outcome: Served,
			Time: e.Time, Index: place.Index, Leaf: place.Leaf,
		}
		c.say(&r)
		raw := mustSign(t, func() ([]byte, error) { return r.Sign(keyOf(c.node)) })
		nobody := keyOf(party(home, "nobody"))
		for range maxSigned - 1 { // beside which the right one counts
			r.Time = r.Time.Add(time.Millisecond)
			another := mustSign(t, func() ([]byte, error) { return r.Sign(nobody) })
			appendAll(t, l, countersigning(t, e, another, nobody))
		}
		appendAll(t, l, countersigning(t, e, raw, keyOf(c.key)))
	}
	for what, by := range map[string]KeysOf{"with keys": keys, "without": nil} {
		items, err := l.Query(t.Context(), Filter{Keys: by})
		if err != nil || len(items) != len(cases) {
			t.Fatalf("%d entries, %v", len(items), err)
		}
		for i, item := range items { // the newest first
			c := cases[len(cases)-1-i]
			if got, want := item.Entry.Countersigned, c.want && by != nil; got != want {
				t.Errorf("%s, signed by %s: countersigned %t, want %t", what, c.what, got, want)
			}
		}
	}
}

// countersigning is an entry that says that e was signed for.
func countersigning(t *testing.T, e Entry, receipt []byte, key crypto.Signer) Entry {
	t.Helper()
	r, name, err := ReadReceipt(receipt)
	if err != nil {
		t.Fatal(err)
	}
	e.Time, e.Op, e.Exchange = e.Time.Add(time.Second), Countersign, &Exchange{Receipt: receipt, Countersignature: mustSign(t, func() ([]byte, error) {
		return Countersignature{Receipt: name, Caller: r.Caller, Tree: r.CallerTree, Time: e.Time}.Sign(key)
	})}
	return e
}

// However much a log has that is signed for what is not there, a search keeps no more than so much of it in mind.
func TestSignaturesForWhatIsNotThere(t *testing.T) {
	s := signatures{}
	for i := range int64(2 * maxAwaited) {
		r := Receipt{Tree: home, Node: lock.Member, Caller: anna.Member, CallerTree: home, Op: Invoke, Outcome: Served, Time: noon, Index: i % (maxAwaited + 10)}
		raw := mustSign(t, func() ([]byte, error) { return r.Sign(keyOf(lock)) })
		for range maxSigned + 1 {
			s.add(Item{Node: lock.Member, Entry: Entry{Op: Countersign, Exchange: &Exchange{Receipt: raw, Countersignature: raw}}})
		}
	}
	if of := s[lock.Member]; len(of) != maxAwaited || len(of[0]) != maxSigned {
		t.Errorf("%d entries are waited for, with %d signatures", len(of), len(of[0]))
	}
	if by := s.take(Item{Node: lock.Member, Index: 5}); len(by) != maxSigned || s.take(Item{Node: lock.Member, Index: 5}) != nil {
		t.Errorf("%d signatures are found", len(by))
	}
}
