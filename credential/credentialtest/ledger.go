package credentialtest

import (
	"strconv"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/light"
	"github.com/kindred-iot/kindred/ledger/light/lighttest"
	"github.com/kindred-iot/kindred/signed"
)

const chainID = "kindred-test"

// A Ledger records the heads of homes. Its validators sign what they are asked to.
type Ledger struct {
	*lighttest.Chain
	State  ledger.State
	Height uint64 // of the newest block

	t testing.TB
}

// NewLedger makes a ledger with so many validators.
func NewLedger(t testing.TB, validators int) *Ledger {
	t.Helper()
	return &Ledger{Chain: lighttest.New(t, chainID, validators), State: ledger.NewState(chainID), t: t}
}

// NewCrowdedLedger makes a ledger that has records of so many trees already. Nobody has their keys.
func NewCrowdedLedger(t testing.TB, validators, trees int) *Ledger {
	t.Helper()
	l := NewLedger(t, validators)
	charter := signed.Sum([]byte("charter"))
	writes := func(yield func(key, value []byte) bool) {
		more := yield(append([]byte{'c'}, charter[:]...), []byte("charter"))
		for i := 0; i < trees && more; i++ {
			id := signed.Sum([]byte(strconv.Itoa(i)))
			record, err := signed.Marshal(ledger.Record{Charter: charter, Sequence: 1, Head: id})
			if err != nil {
				t.Fatal(err)
			}
			more = yield(append([]byte{'r'}, id[:]...), record)
		}
	}
	var err error
	if l.State, err = ledger.Load(chainID, writes); err != nil {
		t.Fatal(err)
	}
	return l
}

// submit records a home's newest head.
func (l *Ledger) submit(h *Home) {
	l.t.Helper()
	var tx []byte
	var err error
	if h.Sequence == 1 {
		tx, err = ledger.NewRegister(h.RootKey, l.ID, [][]byte{h.Charter}, h.Sequence, h.Digest)
	} else {
		tx, err = ledger.NewAdvance(h.Keeper, l.ID, h.ID, h.Trusted().Charter().Digest, h.Sequence, h.Digest)
	}
	if err == nil {
		l.State, _, err = l.State.Apply(tx)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// prove makes a block and proves a tree's record under it.
func (l *Ledger) prove(at time.Time, id identity.TreeID) (ledger.Proof, light.Proof) {
	l.t.Helper()
	record, err := l.State.Prove(id)
	if err != nil {
		l.t.Fatal(err)
	}
	l.Height++
	return record, l.Sign(l.t, l.Height, at, l.State.Root())
}
