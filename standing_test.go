package kindred

import (
	"strconv"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/thing"
)

func TestStanding(t *testing.T) {
	now := time.Now()
	q := question{op: thing.OpReadProperty, of: "state", limit: grant.Limit{Fresh: time.Hour}}
	yes := grant.Decision{Allowed: true, Until: now.Add(time.Minute)}
	isolated, way, purpose, stricter, other := q, q, q, q, q
	isolated.isolated, way.way, purpose.purpose, stricter.limit.Fresh, other.of = true, grant.AtHome, "care", time.Minute, "power"
	for _, tt := range []struct {
		what  string
		kept  grant.Decision
		asked question
		at    time.Time
		found bool
	}{
		{"the same", yes, q, now, true},
		{"just in time", yes, q, yes.Until.Add(-1), true},
		{"its time is up", yes, q, yes.Until, false},
		{"another affordance", yes, other, now, false},
		{"isolated by now", yes, isolated, now, false},
		{"another way", yes, way, now, false},
		{"another purpose", yes, purpose, now, false},
		{"another limit", yes, stricter, now, false},
		{"it counts", grant.Decision{Allowed: true, Counts: true, Until: yes.Until}, q, now, false},
		{"a refusal", grant.Decision{Until: yes.Until}, q, now, false},
	} {
		var st standing
		st.keep(q, tt.kept)
		if _, found := st.find(tt.asked, tt.at); found != tt.found {
			t.Errorf("%s: found is %t, want %t", tt.what, found, tt.found)
		}
	}
	var st standing
	for i := range maxStanding + 1 {
		q.of = strconv.Itoa(i)
		st.keep(q, yes)
	}
	if len(st.by) != maxStanding {
		t.Errorf("%d decisions stand, of at most %d", len(st.by), maxStanding)
	}
}

func TestRenewedSince(t *testing.T) {
	now := time.Now()
	r := renewed{version: 7, at: now}
	r.who.NotAfter = now.Add(renewFor / 2)
	for _, tt := range []struct {
		what    string
		version uint64
		at      time.Time
		want    bool
	}{
		{"at once", 7, now, true},
		{"something was learnt", 8, now, false},
		{"the clock was set back", 7, now.Add(-1), false},
		{"its certificate ended", 7, r.who.NotAfter, false},
	} {
		if got := r.since(tt.version, tt.at); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.what, got, tt.want)
		}
	}
	r.who.NotAfter = now.Add(time.Hour)
	if r.since(7, now.Add(renewFor)) {
		t.Error("it is kept for longer than renewFor")
	}
}
