package tree_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// Nobody forges a signature. So whatever bytes are read as a statement, they are one that was signed.

func FuzzCharter(f *testing.F) {
	tr := identitytest.NewTree(f, now)
	raw, err := signed.Sign(tr.RootKey, tree.CharterType, charter(f, tr, identitytest.NewKey(f).Public()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	later := charter(f, tr, identitytest.NewKey(f).Public())
	later.Epoch, later.Last = 3, &tree.LastHead{Sequence: 9}
	laterRaw, err := signed.Sign(tr.RootKey, tree.CharterType, later)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(laterRaw)
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := tree.OpenCharter(data, tr.ID); err == nil && !bytes.Equal(data, raw) {
			t.Errorf("%x is read as %+v", data, r)
		}
	})
}

func FuzzHead(f *testing.F) {
	h := household(f)
	keeper := identitytest.NewKey(f)
	head := tree.Head{Tree: h.tr.ID, Sequence: 4, Root: h.State.Root(), Time: now.Unix(), Revoked: signed.Sum(nil)}
	raw, err := signed.Sign(keeper, tree.HeadType, head)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, _, err := tree.OpenHead(data, h.tr.ID, keeper.Public()); err == nil && got != head {
			t.Errorf("%x is read as %+v", data, got)
		}
	})
}

func FuzzRevocationList(f *testing.F) {
	for _, l := range []tree.RevocationList{
		{}, tree.RevocationList{}.Next(1, now, nil), tree.RevocationList{From: 3}.Next(7, now, leaves(0, 5)),
	} {
		raw, err := signed.Marshal(l)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, uint64(7))
	}
	f.Fuzz(func(t *testing.T, data []byte, sequence uint64) {
		l, err := tree.OpenRevocationList(data, tree.Head{Sequence: sequence, Revoked: signed.Sum(data)})
		if err != nil {
			return
		}
		if again, err := signed.Marshal(l); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%x is read, and written as %x (%v)", data, again, err)
		}
		next := l.Next(sequence+1, now, leaves(9000, 9003))
		if sequence+1 > sequence && (next.From < l.From || len(next.Revoked) > tree.MaxListed || !next.Names(leafNumber(9002))) {
			t.Errorf("after %x: from %d, %d listed", data, next.From, len(next.Revoked))
		}
	})
}

func FuzzAddress(f *testing.F) {
	h := household(f)
	lock := h.At("home/lock")
	address := tree.Address{
		Tree: h.tr.ID, Member: lock.Member(), Key: spki(f, lock.Key), Addresses: []string{"/ip4/10.0.0.7/udp/4001/quic-v1"}, Time: now.Unix(),
	}
	f.Add(sign(f, lock, tree.AddressType, address))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := tree.OpenAddress(data, h.tr.ID, lock.Member(), lock.Key)
		if err == nil && (a.Time != address.Time || !slices.Equal(a.Addresses, address.Addresses)) {
			t.Errorf("%x is read as %+v", data, a)
		}
	})
}

func FuzzRecipient(f *testing.F) {
	h := household(f)
	app := h.At("sam/laptop")
	recipient := tree.Recipient{Tree: h.tr.ID, Member: app.Member(), Key: spki(f, app.Key), Sealed: "age1pq1test", Time: now.Unix()}
	f.Add(sign(f, app, tree.RecipientType, recipient))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := tree.OpenRecipient(data, h.tr.ID, app.Member(), app.Key)
		if err == nil && (r.Time != recipient.Time || r.Sealed != recipient.Sealed) {
			t.Errorf("%x is read as %+v", data, r)
		}
	})
}
