package kindred

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/store/storetest"
)

// What a thing was told once it does not forget, and takes no older word for newer.
func TestSetApartIsRemembered(t *testing.T) {
	h := credentialtest.New(t, time.Now())
	h.Add(identity.Place, "home/nursery")
	h.Add(identity.Device, "home/nursery/mic")
	mic := h.At("home/nursery/mic").Chain
	db, ctx := storetest.Open(t), t.Context()
	var a apart
	if err := a.load(ctx, db); err != nil {
		t.Fatal(err)
	}
	if !a.never(mic, "audio") {
		t.Error("before there is a thing, something is shown")
	}
	a.own = func(string) bool { return false }
	all := grant.Class{Tree: h.ID, Owner: h.At("sam").Member(), Thing: h.At("home/nursery").Member(), Never: true, Time: 2}
	old, out := all, all
	old.Never, old.Time = false, 1
	out.Thing, out.Affordance, out.Never, out.Time = mic.Member(), "ring", false, 3
	if err := a.learn(ctx, db, []grant.Class{all, old, out}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if !a.never(mic, "audio") || a.never(mic, "ring") {
			t.Errorf("audio: %t, ring: %t", a.never(mic, "audio"), a.never(mic, "ring"))
		}
		again := apart{own: a.own}
		if err := again.load(ctx, db); err != nil {
			t.Fatal(err)
		}
		a.said = again.said
	}
}
