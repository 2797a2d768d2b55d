package keeper

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/store/storetest"
	"github.com/kindred-iot/kindred/tree"
)

// records returns all that is in a store.
func records(t *testing.T, s Store) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	if err := s.Scan(t.Context(), "", func(key string, value []byte) error { all[key] = value; return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// restore puts the home on a new store with these records, as from a back-up.
func (h *home) restore(all map[string][]byte) {
	h.t.Helper()
	h.store = storetest.Open(h.t)
	if err := h.store.Save(h.t.Context(), all); err != nil {
		h.t.Fatal(err)
	}
}

// The ledger, or anybody with a newer head, stops a gateway that was restored from an old copy. It must not sign a
// second head of a sequence it has forgotten.
func TestOldCopy(t *testing.T) {
	h := newHome(t)
	h.share()
	h.proof(nil)
	old := records(t, h.store)
	h.share()
	h.proof(nil)
	newer, _, _ := h.Head()
	h.stopRun()
	newest := records(t, h.store)

	h.restore(old)
	h.open()
	h.run()
	_, raw := h.sign()
	h.unchanged("with an old copy", func() {
		_, _, err := h.Grant(t.Context(), h.laptop(), raw)
		wants(t, "a grant", err, ErrBehind, "it ends in head 2, and the ledger has another head 3")
		wants(t, "a label", h.Label(t.Context(), h.laptop(), h.member("home/lock"), "x"), ErrBehind, "restored from an old copy")
		_, err = h.Prove(t.Context(), nil, nil, 0)
		wants(t, "a proof", err, ErrBehind, "restored from an old copy")
	})
	if err := h.SetAddress(t.Context(), h.At("home/lock").Chain, h.address("home/lock", h.clock())); err != nil {
		t.Errorf("an address, which no head is signed for: %v", err)
	}
	h.stopRun()

	h.restore(newest)
	h.open()
	h.run()
	if err := h.Seen(t.Context(), newer); err != nil {
		t.Errorf("the newest head, shown to a keeper that has it: %v", err)
	}
	h.share()
}

// An app shows a newer head than a keeper has whose ledger lost it too.
func TestSeen(t *testing.T) {
	h := newHome(t)
	first, _, _ := h.Head()
	h.proof(nil)
	h.net.hold() // the ledger hears nothing more
	old := records(t, h.store)
	h.share()
	newer, _, _ := h.Head()
	h.stopRun()

	h.restore(old)
	h.open()
	h.run()
	forged, err := signed.Sign(h.At("sam/laptop").Signer, tree.HeadType, tree.Head{Tree: h.ID, Sequence: 9})
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "a head that the keeper did not sign", h.Seen(t.Context(), forged), nil, "being shown a head")
	if err := h.Seen(t.Context(), first); err != nil {
		t.Errorf("its own head: %v", err)
	}
	h.Keeper.mu.RLock()
	behind := h.behind
	h.Keeper.mu.RUnlock()
	if behind != nil {
		t.Fatalf("behind after nothing new: %v", behind)
	}
	for range 2 { // before and after a restart
		_, raw := h.sign()
		wants(t, "a newer head", h.Seen(t.Context(), newer), ErrBehind, "being shown head 2")
		_, _, err := h.Grant(t.Context(), h.laptop(), raw)
		wants(t, "a grant", err, ErrBehind, "restored from an old copy")
		h.restart()
		_, _, err = h.Grant(t.Context(), h.laptop(), raw)
		wants(t, "a grant after a restart", err, ErrBehind, "restored from an old copy")
	}
}

// Another head of a sequence that the keeper has is as bad as a newer one.
func TestSeenFork(t *testing.T) {
	h := newHome(t)
	h.share()
	h.proof(nil)
	fork, err := signed.Sign(h.key, tree.HeadType, tree.Head{Tree: h.ID, Sequence: 2})
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "a fork", h.Seen(t.Context(), fork), ErrBehind, "head 2")
}

// Records that do not fit together are noticed before anything is served on them.
func TestDamage(t *testing.T) {
	h := newHome(t)
	id := h.share()
	gone := h.share()
	if _, err := h.Revoke(t.Context(), h.revokeGrant(gone)); err != nil {
		t.Fatal(err)
	}
	if err := h.SetAddress(t.Context(), h.At("home/lock").Chain, h.address("home/lock", h.clock())); err != nil {
		t.Fatal(err)
	}
	h.Checkpoint(h.member("home/lock"), tree.Checkpoint{Size: 1})
	h.share()
	h.proof(nil)
	h.stopRun()
	good := records(t, h.store)
	lock, camera := h.member("home/lock"), h.member("home/gateway")
	key := func(prefix string) string {
		for _, k := range slices.Sorted(maps.Keys(good)) {
			if strings.HasPrefix(k, prefix) {
				return k
			}
		}
		t.Fatalf("there is no record %s", prefix)
		return ""
	}
	other := newHome(t)
	other.share()
	other.stopRun()
	foreign := records(t, other.store)
	for _, test := range []struct {
		name   string
		change func(all map[string][]byte)
		want   string
	}{
		{"no charter", func(all map[string][]byte) { delete(all, charterKey) }, "no roster was made here"},
		{"another charter", func(all map[string][]byte) { all[charterKey] = foreign[charterKey] }, "not the keeper key"},
		{"a broken charter", func(all map[string][]byte) { all[charterKey] = []byte("x") }, "reading a statement"},
		{"no head", func(all map[string][]byte) { delete(all, headKey) }, "reading a head"},
		{"another tree's head", func(all map[string][]byte) { all[headKey] = foreign[headKey] }, "reading a head"},
		{"no list", func(all map[string][]byte) { delete(all, listKey) }, "revocation list"},
		{"an entry missing", func(all map[string][]byte) { delete(all, key(entryPrefix)) }, ""},
		{"an entry changed", func(all map[string][]byte) { all[key(entryPrefix)][8] ^= 1 }, ""},
		{"an entry's key", func(all map[string][]byte) { all["entry/xyz"] = []byte("x") }, "no key of an entry"},
		{"certificates missing", func(all map[string][]byte) { delete(all, chainPrefix+lock.String()) }, "entries are of no member or grant shown"},
		{"certificates of another", func(all map[string][]byte) { all[chainPrefix+lock.String()] = all[chainPrefix+camera.String()] }, "the certificates are those of member"},
		{"broken certificates", func(all map[string][]byte) { all[chainPrefix+lock.String()][90] ^= 1 }, chainPrefix},
		{"no certificates", func(all map[string][]byte) { all[chainPrefix+lock.String()] = []byte{0x80} }, "0 certificates"},
		{"a grant missing", func(all map[string][]byte) { delete(all, grantPrefix+id.String()) }, "entries are of no member or grant shown"},
		{"another grant", func(all map[string][]byte) { all[grantPrefix+id.String()] = foreign[firstKey(foreign, grantPrefix)] }, "the statement is not the one in the roster"},
		{"a grant's key", func(all map[string][]byte) { all["grant/x"] = []byte("x") }, "no grant ID"},
		{"a live grant marked as taken away", func(all map[string][]byte) {
			all[strings.Replace(entryKey(id), entryPrefix, gonePrefix, 1)] = []byte("1")
		}, "recorded as taken away"},
		{"a gone key", func(all map[string][]byte) { all["gone/1"] = []byte("1") }, "no key of an entry"},
		{"a seen head", func(all map[string][]byte) { all[seenKey] = []byte("1") }, "reading a head"},
		{"an address of nobody", func(all map[string][]byte) { all[addressPrefix+identity.MemberID{5}.String()] = []byte("x") }, "not in the roster"},
		{"a broken address", func(all map[string][]byte) { all[addressPrefix+lock.String()] = []byte("x") }, "address/"},
		{"an address key", func(all map[string][]byte) { all["address/x"] = []byte("x") }, "want 26"},
		{"an empty outbox", func(all map[string][]byte) {
			maps.DeleteFunc(all, func(k string, _ []byte) bool { return strings.HasPrefix(k, outboxPrefix) })
		}, "the transaction of head 5 is missing"},
		{"a gap in the outbox", func(all map[string][]byte) { all[outboxKey(1)] = []byte("x") }, "it follows 1"},
		{"an outbox key", func(all map[string][]byte) { all["outbox/x"] = []byte("x") }, "invalid syntax"},
	} {
		t.Run(test.name, func(t *testing.T) {
			all := map[string][]byte{}
			for k, v := range good {
				all[k] = slices.Clone(v)
			}
			test.change(all)
			h.restore(all)
			_, err := Open(t.Context(), h.config())
			wants(t, test.name, err, nil, test.want)
		})
	}
	h.restore(good)
	h.open()
}

func firstKey(all map[string][]byte, prefix string) string {
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(k, prefix) {
			return k
		}
	}
	return ""
}

func entryKey(id tree.GrantID) string { return entryPrefix + tree.GrantKey(id).String() }

// With the wrong ledger, a keeper says so and does not start.
func TestWrongLedger(t *testing.T) {
	h := newHome(t)
	h.share()
	h.proof(nil)
	h.share()
	h.stopRun()
	cfg := h.config()
	cfg.Ledger = emptyLedger{h.net}
	_, err := Open(t.Context(), cfg)
	wants(t, "a ledger that knows nothing", err, nil, "is it the right ledger?")
	cfg.Ledger = brokenLedger{h.net}
	_, err = Open(t.Context(), cfg)
	wants(t, "a ledger that proves nothing", err, errInjected, "keeper: opening")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = h.Prove(ctx, nil, nil, 0)
	wants(t, "a proof that nobody submits", err, context.Canceled, "waiting for the ledger")
}
