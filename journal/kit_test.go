package journal

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/store/storetest"
)

var (
	_ Port = (*store.DB)(nil)
	_ Port = (*storetest.DB)(nil)
)

// noon is when these tests take place.
var noon = time.Date(2031, 5, 3, 12, 0, 0, 0, time.UTC)

var (
	home  = identity.TreeID(sha256.Sum256([]byte("birch street")))
	other = identity.TreeID(sha256.Sum256([]byte("oak street")))

	lock  = party(home, "home/lock")
	porch = party(home, "home/porch")
	anna  = party(home, "sam/anna/phone")
	guest = party(other, "kim/phone")
)

func party(tree identity.TreeID, path identity.Path) Party {
	sum := sha256.Sum256([]byte(path))
	return Party{Member: identity.MemberID(sum[:16]), ID: identity.ID{Tree: tree, Path: path}}
}

// keyOf is the leaf key of a member.
func keyOf(p Party) ed25519.PrivateKey {
	seed := sha256.Sum256(p.Member[:])
	return ed25519.NewKeyFromSeed(seed[:])
}

// opened is the entry number i of these tests: anna opens the lock.
func opened(i int) Entry {
	return Entry{
		Time: noon.Add(time.Duration(i) * time.Second), Thing: lock, Caller: anna, Op: Invoke, Affordance: "unlock",
		Outcome: Served, Grant: "g-7kqm", AsOf: noon, Stream: uint64(i),
	}
}

func openLog(t testing.TB, port Port, node Party) *Log {
	t.Helper()
	l, err := Open(t.Context(), port, node.Member, home, keyOf(node))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) // a test that cares closes it before
	return l
}

func appendAll(t testing.TB, l *Log, entries ...Entry) {
	t.Helper()
	for _, e := range entries {
		if err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// onDisk returns the stream numbers of node's entries in the order of the log.
func onDisk(t testing.TB, port Port, node Party) []uint64 {
	t.Helper()
	var numbers []uint64
	err := port.LogRows(t.Context(), node.Member[:], 0, 1<<40, func(_ int64, row Row) error {
		e, err := ParseEntry(home, row.Data)
		numbers = append(numbers, e.Stream)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return numbers
}

func wantOnDisk(t testing.TB, port Port, node Party, want ...uint64) {
	t.Helper()
	if got := onDisk(t, port, node); !slices.Equal(got, want) {
		t.Errorf("on disk are %d, want %d", got, want)
	}
}

// altered is a port whose rows read as alter leaves them, as after somebody
// edited the file.
type altered struct {
	Port
	alter func(index int64, row *Row) (keep bool)
}

func (a altered) LogRows(ctx context.Context, name []byte, from, to int64, each func(int64, Row) error) error {
	return a.Port.LogRows(ctx, name, from, to, func(index int64, row Row) error {
		if !a.alter(index, &row) {
			return nil
		}
		return each(index, row)
	})
}

// mustEncode encodes an entry that is in order.
func mustEncode(t testing.TB, e Entry) []byte {
	t.Helper()
	data, err := e.encode(home)
	if err != nil {
		t.Fatal(fmt.Errorf("%+v: %w", e, err))
	}
	return data
}
