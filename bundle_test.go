package kindred_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

func TestBundles(t *testing.T) {
	d := newDoor(t)
	for _, action := range []string{"unlock", "lock"} {
		if err := d.do(d.laptop, action); err != nil {
			t.Fatal(err)
		}
	}
	d.laptop.HandBack(t.Context())
	d.handedIn(4)
	d.Share(d.laptop, "sam", "home/lock", grant.Terms{Actions: grant.See}) // the next head has where the journal stands
	d.until("the journal is recorded", func() bool { return d.audit().Recorded.Size >= 4 })
	if err := d.do(d.laptop, "unlock"); err != nil { // which is not recorded yet
		t.Fatal(err)
	}
	d.laptop.HandBack(t.Context())
	d.handedIn(6)
	data, entries, err := d.laptop.ExportJournals(t.Context(), kindred.Excerpts{Thing: d.lock.Self().Member()})
	if err != nil {
		t.Fatal(err)
	}
	v, err := kindred.VerifyBundle(data, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if v.Tree != d.laptop.Self().ID.Tree || v.Maker != d.laptop.Self().ID || entries < 6 {
		t.Errorf("%d entries, %+v", entries, v)
	}
	found := false
	for _, l := range v.Logs {
		if l.Member != d.lock.Self().Member() {
			continue
		}
		found = true
		if len(l.Items) != 6 || l.Signed.Size != 6 || l.RecordedSize != 4 || l.AsOf.IsZero() || l.Countersigned != 3 || l.Unknown != 0 {
			t.Errorf("of the lock: %d entries, %+v", len(l.Items), l)
		}
	}
	if !found {
		t.Errorf("nothing of the lock: %+v", v)
	}
	if _, err := kindred.VerifyBundle(data, time.Now().Add(-time.Hour)); err == nil {
		t.Error("one from the future was taken")
	}

	// The laptop's own side of it.
	data, _, err = d.laptop.ExportJournals(t.Context(), kindred.Excerpts{Own: true})
	if err != nil {
		t.Fatal(err)
	}
	if v, err = kindred.VerifyBundle(data, time.Now()); err != nil || len(v.Logs) != 1 || v.Logs[0].Countersigned != 3 {
		t.Errorf("its own: %+v, %v", v, err)
	}

	// Somebody who is no member cannot make one of this home, nor change what is in it.
	b, err := journal.ParseBundle(data)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := b.Sign(d.key("lock"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kindred.VerifyBundle(forged, time.Now()); err == nil {
		t.Error("one signed by another than it says was taken")
	}
	b.Excerpts[0].Chain = d.lock.Self().Raw
	if forged, err = b.Sign(d.key("laptop")); err != nil {
		t.Fatal(err)
	}
	if _, err := kindred.VerifyBundle(forged, time.Now()); err == nil {
		t.Error("entries under another's certificates were taken")
	}
	if _, err := kindred.VerifyBundle(bytes.Replace(data, []byte("unlock"), []byte("relock"), 1), time.Now()); err == nil {
		t.Error("one that was changed was taken")
	}
}

// What somebody signed who was a member then is verified by whoever has the file and nothing else.
func TestBundleOfARemovedMember(t *testing.T) {
	d := newDoor(t)
	anna := d.Invite(d.laptop, identity.Person, "sam/anna", "phone")
	d.Share(d.laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.Use})
	if err := d.do(anna, "unlock"); err != nil {
		t.Fatal(err)
	}
	anna.HandBack(t.Context())
	d.handedIn(2)
	r, err := d.laptop.Roster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m, ok := r.At("sam/anna")
	if !ok {
		t.Fatal("anna is no member")
	}
	if _, err := d.laptop.Revoke(t.Context(), r.Member(m)); err != nil {
		t.Fatal(err)
	}
	if r, err = d.laptop.Roster(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.At("sam/anna/phone"); ok {
		t.Fatal("anna's phone is a member still")
	}
	d.Restart() // what was kept is on disk
	data, _, err := d.laptop.ExportJournals(t.Context(), kindred.Excerpts{Who: anna.Self().Member()})
	if err != nil {
		t.Fatal(err)
	}
	v, err := kindred.VerifyBundle(data, time.Now())
	if err != nil || len(v.Logs) != 1 || v.Logs[0].Countersigned != 1 || v.Logs[0].Unknown != 0 {
		t.Errorf("%+v, %v", v, err)
	}

	// Without her certificates it is said that nobody can tell; with another's in their place it is wrong.
	b, err := journal.ParseBundle(data)
	if err != nil {
		t.Fatal(err)
	}
	b.Ends = nil
	if data, err = b.Sign(d.key("laptop")); err != nil {
		t.Fatal(err)
	}
	if v, err = kindred.VerifyBundle(data, time.Now()); err != nil || v.Logs[0].Countersigned != 0 || v.Logs[0].Unknown != 1 {
		t.Errorf("without certificates: %+v, %v", v, err)
	}

	var refused *control.Error
	q := control.CertificatesQuery{Members: []string{anna.Self().Member().String()}}
	if _, err := d.lock.Gateway().Certificates(t.Context(), q); !errors.As(err, &refused) || refused.Code != control.Refused {
		t.Errorf("the lock is told of removed members: %v", err)
	}
}
