package journal

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/signed"
)

// receipt is what the lock says to anna of the entry number 3 of these tests.
func receipt(t testing.TB) Receipt {
	return Receipt{
		Tree: home, Node: lock.Member, Caller: anna.Member, CallerTree: home, Grant: "g-7kqm", Op: Invoke, Affordance: "unlock",
		Outcome: Served, Time: noon, Index: 3, Leaf: LeafOf(mustEncode(t, opened(3))), Call: 77, Response: signed.Sum([]byte(`"unlocked"`)),
	}
}

func mustSign(t testing.TB, sign func() ([]byte, error)) []byte {
	t.Helper()
	raw, err := sign()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestReceipt(t *testing.T) {
	all := receipt(t)
	all.CallerTree, all.Until, all.Request = other, noon.Add(time.Minute), signed.Sum(nil)
	all.Entries, all.Count, all.Bytes, all.Part = 1, 2, 3, 4
	for _, want := range []Receipt{receipt(t), all, {
		Tree: home, Node: lock.Member, Caller: anna.Member, CallerTree: home, Op: Read, Outcome: Served, Time: noon,
	}} {
		raw := mustSign(t, func() ([]byte, error) { return want.Sign(keyOf(lock)) })
		if len(raw) > 700 {
			t.Errorf("a receipt takes %d bytes", len(raw))
		}
		got, name, err := OpenReceipt(raw, keyOf(lock).Public())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v\nwant %+v", got, err, want)
		}
		if _, _, err := OpenReceipt(raw, keyOf(porch).Public()); err == nil {
			t.Error("another's receipt was taken for it")
		}
		c := Countersignature{Receipt: name, Caller: want.Caller, Tree: want.CallerTree, Time: noon}
		x := Exchange{raw, mustSign(t, func() ([]byte, error) { return c.Sign(keyOf(anna)) })}
		if got, err := x.Verify(keyOf(lock).Public(), keyOf(anna).Public()); err != nil || got.Index != want.Index {
			t.Errorf("%+v, %v", got, err)
		}
		if of, err := CountersignedReceipt(x.Countersignature); err != nil || of != name {
			t.Errorf("it is of %s, %v", of, err)
		}
	}
}

func TestReceiptRefused(t *testing.T) {
	change := func(f func(*Receipt)) Receipt { r := receipt(t); f(&r); return r }
	for want, r := range map[string]Receipt{
		"does not name a tree, a node and a caller": change(func(r *Receipt) { r.Caller = guest.Member; r.Caller[0] = 0; clear(r.Caller[:]) }),
		"time -62135596800000":                      change(func(r *Receipt) { r.Time = time.Time{} }),
		"entry -1":                                  change(func(r *Receipt) { r.Index = -1 }),
		`operation ""`:                              change(func(r *Receipt) { r.Op = "" }),
		"outcome 9":                                 change(func(r *Receipt) { r.Outcome = 9 }),
	} {
		if _, err := r.Sign(keyOf(lock)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A countersignature is of one receipt, by its caller, and by nobody else.
func TestExchangeOfOthers(t *testing.T) {
	raw := mustSign(t, func() ([]byte, error) { return receipt(t).Sign(keyOf(lock)) })
	_, name, err := ReadReceipt(raw)
	if err != nil {
		t.Fatal(err)
	}
	good := Countersignature{Receipt: name, Caller: anna.Member, Tree: home, Time: noon}
	change := func(f func(*Countersignature)) Countersignature { c := good; f(&c); return c }
	for what, x := range map[string]struct {
		c   Countersignature
		key Party
	}{
		"another key":     {good, guest},
		"the lock's own":  {good, lock},
		"another caller":  {change(func(c *Countersignature) { c.Caller = guest.Member }), anna},
		"another tree":    {change(func(c *Countersignature) { c.Tree = other }), anna},
		"another receipt": {change(func(c *Countersignature) { c.Receipt[0]++ }), anna},
	} {
		x := Exchange{raw, mustSign(t, func() ([]byte, error) { return x.c.Sign(keyOf(x.key)) })}
		if _, err := x.Verify(keyOf(lock).Public(), keyOf(anna).Public()); err == nil {
			t.Errorf("%s: it was taken", what)
		}
	}
	for _, x := range []Exchange{{raw, raw}, {nil, nil}, {raw, nil}} {
		if _, err := x.Verify(keyOf(lock).Public(), keyOf(anna).Public()); err == nil {
			t.Errorf("%x was taken for signed by both", x)
		}
	}
}

func FuzzReceipt(f *testing.F) {
	raw := mustSign(f, func() ([]byte, error) { return receipt(f).Sign(keyOf(lock)) })
	f.Add(raw)
	f.Add(mustSign(f, func() ([]byte, error) {
		return Countersignature{Receipt: signed.Sum(raw), Caller: anna.Member, Tree: home, Time: noon}.Sign(keyOf(anna))
	}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, _, err := ReadReceipt(data); err == nil {
			again := mustSign(t, func() ([]byte, error) { return r.Sign(keyOf(lock)) })
			if same, _, err := ReadReceipt(again); err != nil || !reflect.DeepEqual(same, r) {
				t.Errorf("%+v signed again is %+v, %v", r, same, err)
			}
		}
		_, _ = CountersignedReceipt(data)
		_, _ = OpenCountersignature(data, keyOf(anna).Public())
	})
}
