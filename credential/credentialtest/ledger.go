package credentialtest

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/light"
	"github.com/kindred-iot/kindred/ledger/light/lighttest"
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
	state, err := ledger.Load(chainID, func(func(key, value []byte) bool) {})
	if err != nil {
		t.Fatal(err)
	}
	return &Ledger{Chain: lighttest.New(t, chainID, validators), State: state, t: t}
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
