package kindred_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/identity"
)

// Whoever is called sends its caller nowhere else: what the owner may do at the safe is not done at it for a lock that says
// so.
func TestNobodySendsCallersElsewhere(t *testing.T) {
	d := newDoor(t)
	safe := d.Invite(d.laptop, identity.Device, "home/safe", "", "127.0.0.1:0")
	d.Serve(safe, lock.New().Thing())
	if got, err := d.State(d.laptop, "home/safe"); err != nil || got != `"locked"` {
		t.Fatalf("the safe is %s, %v", got, err)
	}
	if err := d.do(d.laptop, "lock"); err != nil { // the thing is offered by now
		t.Fatal(err)
	}
	for _, status := range []int{http.StatusMovedPermanently, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		d.lock.Lie(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			to := "kindred://" + safe.Self().Member().String() + "." + safe.Self().ID.Tree.String()
			if r.Method == http.MethodPost {
				to += "/actions/unlock"
			} else {
				to += "/properties/state"
			}
			w.Header().Set("Location", to)
			w.WriteHeader(status)
		}))
		if err := d.do(d.laptop, "unlock"); err == nil {
			t.Errorf("sent elsewhere by %d, the caller takes it for done", status)
		}
		if got, err := d.State(d.laptop, "home/lock"); err == nil {
			t.Errorf("sent elsewhere by %d, the caller reads %s", status, got)
		}
		if got, err := d.State(d.laptop, "home/safe"); err != nil || got != `"locked"` {
			t.Errorf("sent elsewhere by %d, the caller has the safe be %s, %v", status, got, err)
		}
	}
}
