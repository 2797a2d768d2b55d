package kindred

import (
	"crypto/ed25519"
	"path/filepath"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/store"
)

// What was signed for stays on disk until the journal there says so: a crash in between loses no signature, as it is asked
// for again.
func TestOwedUntilItIsWrittenDown(t *testing.T) {
	ctx := t.Context()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(ctx, filepath.Join(t.TempDir(), StoreFile))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	n := &Node{db: db, key: key}
	rs := &n.receipts
	if err := rs.load(ctx, n); err != nil {
		t.Fatal(err)
	}
	who := debtor{Tree: identity.TreeID{1}, Member: identity.MemberID{2}}
	issue := func(call uint64) debt {
		t.Helper()
		_, err := rs.issue(ctx, journal.Receipt{
			Tree: who.Tree, Node: identity.MemberID{3}, CallerTree: who.Tree, Caller: who.Member, Op: journal.Invoke,
			Affordance: "unlock", Outcome: journal.Served, Time: time.Now(), Call: call,
		})
		if err != nil {
			t.Fatal(err)
		}
		owed := rs.outstanding(who)
		return owed[len(owed)-1]
	}
	owed := func(what string, want, onDisk int) {
		t.Helper()
		var restarted receipts
		if err := restarted.load(ctx, n); err != nil {
			t.Fatal(err)
		}
		if now, then := len(rs.outstanding(who)), len(restarted.outstanding(who)); now != want || then != onDisk {
			t.Errorf("%s: %d are owed, and %d after a crash, want %d and %d", what, now, then, want, onDisk)
		}
	}
	settle := func(d debt) (debt, bool) {
		return rs.settle(who, journal.Countersignature{Receipt: d.name, Time: time.Now()}, time.Now())
	}
	first := issue(1)
	owed("done", 1, 1)
	if _, ok := settle(first); !ok {
		t.Fatal("it is not owed")
	}
	if _, ok := settle(first); ok {
		t.Error("it is signed for twice")
	}
	second := issue(2)
	owed("signed for, and the next done", 1, 2)
	rs.forget(who, first.name)
	if err := rs.save(ctx); err != nil {
		t.Fatal(err)
	}
	owed("written down", 1, 1)
	settle(second)
	rs.forget(who, second.name)
	if err := rs.save(ctx); err != nil {
		t.Fatal(err)
	}
	owed("all written down", 0, 0)
	if len(rs.owed) != 0 {
		t.Error("who owes nothing is remembered")
	}
}
