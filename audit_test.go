package kindred_test

import (
	"crypto"
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/store/storetest"
)

// audit verifies what the home has of the lock's journal.
func (d *door) audit() kindred.JournalCheck {
	d.t.Helper()
	checks, err := d.laptop.VerifyJournals(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	for _, c := range checks {
		if c.Path == "home/lock" {
			return c
		}
	}
	return kindred.JournalCheck{}
}

// handedIn waits until the home has so many entries of the lock's journal.
func (d *door) handedIn(size int64) {
	d.t.Helper()
	d.until("the journal is handed in", func() bool {
		c := d.audit()
		if len(c.Findings) > 0 {
			d.t.Fatalf("%+v", c)
		}
		return c.Signed.Size >= size
	})
}

// key returns the key of a member, as whoever has taken its machine does.
func (d *door) key(name string) crypto.Signer {
	d.t.Helper()
	key, err := identity.KeyDir(filepath.Join(d.Path(name), kindred.KeysDir)).Open(kindred.KeyLeaf)
	if err != nil {
		d.t.Fatal(err)
	}
	return key
}

func (d *door) want(what string, got, want []journal.Finding) {
	d.t.Helper()
	if len(got) != len(want) {
		d.t.Fatalf("%s: found %+v, want %+v", what, got, want)
	}
	for i := range want {
		got[i].At = time.Time{}
		if got[i] != want[i] {
			d.t.Errorf("%s: found %+v, want %+v", what, got[i], want[i])
		}
	}
}

func TestJournalsInOrder(t *testing.T) {
	d := newDoor(t)
	for _, action := range []string{"unlock", "lock"} {
		if err := d.do(d.laptop, action); err != nil {
			t.Fatal(err)
		}
	}
	d.laptop.HandBack(t.Context())
	d.handedIn(4)
	// The next change takes the checkpoint along.
	d.Share(d.laptop, "sam", "home/lock", grant.Terms{Actions: grant.See})
	d.until("the journal is recorded", func() bool { return d.audit().Recorded.Size >= 4 })
	c := d.audit()
	if c.Entries != 4 || c.Signed.Size != 4 || c.Receipts != 2 || len(c.Findings) > 0 || time.Since(c.AsOf) > time.Minute {
		t.Errorf("%+v", c)
	}
	own, err := d.laptop.VerifyOwnJournal(t.Context())
	if err != nil || own.Entries < 4 || len(own.Findings) > 0 {
		t.Errorf("its own: %+v, %v", own, err)
	}
	if own, err = d.laptop.VerifyOwnJournal(t.Context()); err != nil || own.Signed.Size != own.Entries || len(own.Findings) > 0 {
		t.Errorf("its own, once more: %+v, %v", own, err)
	}
	if own, err = d.lock.VerifyOwnJournal(t.Context()); err != nil || own.Entries != 4 || own.Signed.Size != 4 || own.Recorded.Size != 4 || len(own.Findings) > 0 {
		t.Errorf("the lock's own: %+v, %v", own, err)
	}
	// The gateway's own journal is bound in the same way.
	checks, err := d.laptop.VerifyJournals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		if len(c.Findings) > 0 || c.Signed.Size == 0 {
			t.Errorf("%+v", c)
		}
	}
	if len(checks) != 2 {
		t.Errorf("verified: %+v", checks)
	}
}

// A member of another home may have the ID of one here: no home keeps another from that. What it gave receipts for is no
// fault of the one here.
func TestReceiptsOfANamesakeElsewhere(t *testing.T) {
	d := newDoor(t)
	if err := d.do(d.laptop, "unlock"); err != nil {
		t.Fatal(err)
	}
	d.laptop.HandBack(t.Context())
	d.handedIn(2)
	there := identitytest.NewTree(t, time.Now())
	there.Add(identity.Place, "home")
	namesake, laptop := there.AddAs(d.lock.Self().Member(), identity.Device, "home/lock"), d.laptop.Self()
	e := journal.Entry{
		Time: time.Now(), Thing: journal.Party{Member: namesake.Member(), ID: namesake.ID}, Caller: journal.Party{Member: laptop.Member(), ID: laptop.ID},
		Op: journal.Countersign, Affordance: "unlock", Outcome: journal.Served, Call: 7,
	}
	r := journal.Receipt{
		Tree: there.ID, Node: namesake.Member(), Caller: laptop.Member(), CallerTree: laptop.ID.Tree,
		Op: journal.Invoke, Affordance: "unlock", Outcome: journal.Served, Time: e.Time, Call: e.Call,
	}
	raw, err := r.Sign(namesake.Signer)
	if err != nil {
		t.Fatal(err)
	}
	_, name, err := journal.ReadReceipt(raw)
	if err != nil {
		t.Fatal(err)
	}
	c := journal.Countersignature{Receipt: name, Caller: r.Caller, Tree: r.CallerTree, Time: e.Time}
	signature, err := c.Sign(d.key("laptop"))
	if err != nil {
		t.Fatal(err)
	}
	e.Exchange = &journal.Exchange{Receipt: raw, Countersignature: signature}
	refused := e
	refused.Outcome, refused.Reason, refused.Exchange = journal.Refused, "it is of another request", &journal.Exchange{Receipt: raw}
	for _, e := range []journal.Entry{e, refused} {
		if err := d.laptop.Journal().Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if c := d.audit(); len(c.Findings) > 0 || c.Receipts != 1 {
		t.Errorf("of the lock here is found: %+v", c)
	}
}

// A lock that was broken into rewrites its history, signs it anew and hands it in.
func TestAThingThatRewritesItsJournal(t *testing.T) {
	d := newDoor(t)
	for _, action := range []string{"unlock", "lock"} {
		if err := d.do(d.laptop, action); err != nil {
			t.Fatal(err)
		}
	}
	d.laptop.HandBack(t.Context())
	d.handedIn(4)
	self := d.lock.Self()
	log, err := journal.Open(t.Context(), storetest.Open(t), self.Member(), self.ID.Tree, d.key("lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	nothing := journal.Entry{Time: time.Now(), Thing: journal.Party{Member: self.Member(), ID: self.ID}, Op: journal.Read, Outcome: journal.Served}
	for range 5 {
		if err := log.Append(t.Context(), nothing); err != nil {
			t.Fatal(err)
		}
	}
	batch, err := log.Since(t.Context(), time.Now(), 0)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := batch.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.lock.Gateway().Record(t.Context(), control.Batch{Batch: raw}); err == nil {
		t.Fatal("the gateway took another history")
	}
	d.want("rewritten", d.audit().Findings, []journal.Finding{{Problem: journal.Forked, Index: 0, By: kindred.ByContradict}})

	// The lock goes on, and is not cut off for it.
	if err := d.do(d.laptop, "unlock"); err != nil {
		t.Error(err)
	}
}

// A gateway that was broken into cuts a copy short, to where the lock signed it once.
func TestAGatewayThatCutsACopyShort(t *testing.T) {
	d := newDoor(t)
	if err := d.do(d.laptop, "unlock"); err != nil {
		t.Fatal(err)
	}
	d.laptop.HandBack(t.Context())
	d.handedIn(2)
	js, err := d.laptop.Gateway().Journals(t.Context(), control.JournalsQuery{Member: d.lock.Self().Member().String()})
	if err != nil {
		t.Fatal(err)
	}
	before := js.Logs[0]
	if err := d.do(d.laptop, "lock"); err != nil {
		t.Fatal(err)
	}
	d.laptop.HandBack(t.Context())
	d.handedIn(before.Size + 2)
	if err := d.lock.Close(); err != nil { // else it hands in again what is missing
		t.Fatal(err)
	}
	d.Down()
	db, err := sql.Open("sqlite", filepath.Join(gateway.Dir(d.Path("laptop")), kindred.StoreFile))
	if err != nil {
		t.Fatal(err)
	}
	id := d.lock.Self().Member()
	for _, step := range []struct {
		query string
		args  []any
	}{
		{`delete from entry where log = (select id from log where name = ?) and idx >= ?`, []any{id[:], before.Size}},
		{`update log set checkpoint = ? where name = ?`, []any{before.Checkpoint, id[:]}},
	} {
		if _, err := db.Exec(step.query, step.args...); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	d.Up()
	d.laptop = d.Reopen("laptop", d.laptop)
	d.want("cut short", d.audit().Findings, []journal.Finding{{Problem: journal.Missing, Index: before.Size, Size: before.Size + 2, By: kindred.ByMemory}})
}

// A lock tells whoever uses it one story, and the home another.
func TestAJournalToldDifferently(t *testing.T) {
	d := newDoor(t)
	if err := d.do(d.laptop, "unlock"); err != nil {
		t.Fatal(err)
	}
	d.laptop.HandBack(t.Context())
	d.handedIn(2)
	self, who := d.lock.Self(), d.laptop.Self()
	r := journal.Receipt{
		Tree: self.ID.Tree, Node: self.Member(), Caller: who.Member(), CallerTree: who.ID.Tree, Op: journal.Invoke, Affordance: "lock",
		Outcome: journal.Served, Time: time.Now(), Index: 1, Leaf: journal.LeafOf([]byte("another entry")), Call: 7,
	}
	raw, err := r.Sign(d.key("lock"))
	if err != nil {
		t.Fatal(err)
	}
	entry := journal.Entry{
		Time: time.Now(), Caller: journal.Party{Member: who.Member(), ID: who.ID}, Op: journal.Invoke, Outcome: journal.Served,
		Exchange: &journal.Exchange{Receipt: raw},
	}
	if err := d.laptop.Journal().Append(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	d.want("told differently", d.audit().Findings, []journal.Finding{{Problem: journal.Forked, Index: 1, By: kindred.ByReceipt}})
}

// A checkpoint stands for a journal that its member keeps to itself; it cannot go back on it.
func TestACheckpointAloneBinds(t *testing.T) {
	d := newDoor(t)
	if err := d.do(d.laptop, "unlock"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.laptop.VerifyOwnJournal(t.Context()); err != nil {
		t.Fatal(err)
	}
	self := d.laptop.Self()
	log, err := journal.Open(t.Context(), storetest.Open(t), self.Member(), self.ID.Tree, d.key("laptop"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	raw, err := log.Checkpoint(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.laptop.Gateway().Record(t.Context(), control.Batch{Checkpoint: raw}); err == nil {
		t.Error("a shorter journal was taken for the one before")
	}
	if _, err := d.lock.Gateway().Record(t.Context(), control.Batch{Checkpoint: raw}); err == nil {
		t.Error("another's checkpoint was taken")
	}
	if _, err := d.lock.Gateway().Journals(t.Context(), control.JournalsQuery{Member: self.Member().String()}); err == nil {
		t.Error("a device was told of another's journal")
	}
	if _, err := d.lock.Gateway().Entries(t.Context(), control.EntriesQuery{Member: d.Gateway.Node().Self().Member().String()}); err == nil {
		t.Error("a device read another's journal")
	}
}

// TestAJournalTellsOfItsMemberAlone has a thing tell in its journal of what was done elsewhere, and of the home, and under
// another's name, and of what is to come: what the owner reads is none of that. An app's journal is not taken in at all.
func TestAJournalTellsOfItsMemberAlone(t *testing.T) {
	d := newDoor(t)
	bulb := d.Invite(d.laptop, identity.Device, "home/bulb", "", "127.0.0.1:0")
	anna := d.Invite(d.laptop, identity.Person, "sam/anna", "phone")
	party := func(n *kindred.Node) journal.Party {
		return journal.Party{Member: n.Self().Member(), ID: n.Self().ID}
	}
	told := func(thing journal.Party, op journal.Op, what string) journal.Entry {
		return journal.Entry{Time: time.Now(), Thing: thing, Caller: party(d.laptop), Op: op, Affordance: what, Outcome: journal.Served}
	}
	renamed, let, ahead := party(bulb), told(party(bulb), journal.Admit, ""), told(party(bulb), journal.Invoke, "to come")
	renamed.ID.Path, let.With, ahead.Time = "home/lock", party(anna), time.Now().Add(1000*time.Hour)
	keeps := told(party(bulb), journal.Withdraw, "and does not delete what it got")
	keeps.Outcome, keeps.Time = journal.Refused, time.Now().Add(time.Minute)
	fault := func(by, caller journal.Party, key, what string) journal.Entry { // a receipt that the bulb says it did not sign
		r := journal.Receipt{
			Tree: by.ID.Tree, Node: by.Member, Caller: caller.Member, CallerTree: caller.ID.Tree, Op: journal.Invoke, Affordance: what,
			Outcome: journal.Served, Time: time.Now(),
		}
		raw, err := r.Sign(d.key(key))
		if err != nil {
			t.Fatal(err)
		}
		return journal.Entry{
			Time: time.Now(), Thing: party(d.lock), Caller: party(bulb), Op: journal.Countersign, Affordance: what, Outcome: journal.Refused,
			Exchange: &journal.Exchange{Receipt: raw},
		}
	}
	for _, e := range []journal.Entry{
		fault(party(d.lock), party(bulb), "lock", "that the lock gave"), fault(party(d.lock), party(bulb), "bulb", "that it did not give"),
		fault(party(bulb), party(bulb), "lock", "of the bulb's"), fault(party(d.lock), party(anna), "lock", "for anna"),
		told(party(d.lock), journal.Invoke, "elsewhere"), told(renamed, journal.Invoke, "as another"), let, ahead,
		told(party(d.lock), journal.Copy, "elsewhere"), told(party(bulb), journal.Invoke, "so"),
		told(party(bulb), journal.Withdraw, "that it has to delete what it got"), keeps,
	} {
		if err := bulb.Journal().Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	d.Serve(bulb, lock.New().Thing())
	if _, err := d.State(d.laptop, "home/bulb"); err != nil { // which has it hand in its journal
		t.Fatal(err)
	}
	for size := int64(0); size < 13; { // until the gateway has all of it
		js, err := d.laptop.Gateway().Journals(t.Context(), control.JournalsQuery{Member: bulb.Self().Member().String()})
		if err != nil {
			t.Fatal(err)
		}
		size = js.Logs[0].Size
	}
	happened := func(until time.Time) (what []string) {
		t.Helper()
		h, err := d.laptop.Gateway().History(t.Context(), control.HistoryQuery{Until: until})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range h.Entries {
			if e.Op == journal.Countersign || e.Caller.Member == d.laptop.Self().Member() && (slices.Contains([]journal.Op{journal.Invoke, journal.Copy, journal.Withdraw}, e.Op) || e.With == let.With && e.Thing == let.Thing) {
				what = append(what, string(e.Thing.ID.Path)+" "+e.Affordance)
			}
		}
		return what
	}
	if got, want := happened(time.Time{}), []string{"home/lock that the lock gave", "home/bulb so", "home/bulb " + keeps.Affordance}; !slices.Equal(got, want) {
		t.Errorf("lately happened %q, want %q", got, want)
	}
	if got, want := happened(ahead.Time.Add(time.Hour)), []string{"home/lock that the lock gave", "home/bulb so", "home/bulb " + keeps.Affordance, "home/bulb to come"}; !slices.Equal(got, want) {
		t.Errorf("with all that is to come happened %q, want %q", got, want)
	}
	faults := 0
	reads, err := d.laptop.History(t.Context(), control.HistoryQuery{})
	for _, e := range reads {
		if e.Op == journal.Countersign {
			faults++
		}
	}
	if err != nil || faults != 1 {
		t.Errorf("the owner reads of %d receipts that were not signed, %v", faults, err)
	}

	log, err := journal.Open(t.Context(), storetest.Open(t), anna.Self().Member(), anna.Self().ID.Tree, d.key("annaphone"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	batch, err := log.Since(t.Context(), time.Now(), 0)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := batch.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var refused *control.Error
	if _, err := anna.Gateway().Record(t.Context(), control.Batch{Batch: raw}); !errors.As(err, &refused) || refused.Code != control.Refused {
		t.Errorf("an app's journal: %v", err)
	}
}
