package grant

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
)

// What is said of an affordance, and of all there is of a thing or of a place above it.
func TestApart(t *testing.T) {
	h := credentialtest.New(t, time.Now())
	h.Add(identity.Place, "home/nursery")
	h.Add(identity.Device, "home/nursery/mic")
	h.Add(identity.Device, "home/bell")
	mic := h.At("home/nursery/mic").Chain
	said := func(at identity.Path, affordance string, never bool, time int64) Class {
		return Class{Thing: h.At(at).Member(), Affordance: affordance, Never: never, Time: time}
	}
	for name, test := range map[string]struct {
		own  bool
		said []Class
		want bool
	}{
		"nothing":                               {false, nil, false},
		"the thing itself":                      {true, nil, true},
		"put in":                                {false, []Class{said("home/nursery/mic", "audio", true, 1)}, true},
		"taken out":                             {true, []Class{said("home/nursery/mic", "audio", false, 1)}, false},
		"another affordance":                    {false, []Class{said("home/nursery/mic", "ring", true, 1)}, false},
		"another thing":                         {false, []Class{said("home/bell", "audio", true, 1), said("home/bell", "", true, 1)}, false},
		"all of the thing":                      {false, []Class{said("home/nursery/mic", "", true, 1)}, true},
		"all of its place":                      {false, []Class{said("home/nursery", "", true, 1)}, true},
		"all of the home":                       {false, []Class{said("home", "", true, 1)}, true},
		"all taken out, the thing itself":       {true, []Class{said("home/nursery", "", false, 1)}, true},
		"all taken out, put in before":          {false, []Class{said("home/nursery/mic", "audio", true, 1), said("home/nursery", "", false, 2)}, true},
		"all of the home taken out":             {false, []Class{said("home/nursery", "", true, 1), said("home", "", false, 2)}, true},
		"alone taken out of all":                {true, []Class{said("home/nursery", "", true, 1), said("home/nursery/mic", "audio", false, 2)}, false},
		"taken out before, and then all put in": {false, []Class{said("home/nursery/mic", "audio", false, 1), said("home/nursery", "", true, 2)}, true},
		"both in one second":                    {false, []Class{said("home/nursery/mic", "audio", false, 1), said("home/nursery", "", true, 1)}, true},
	} {
		if got := Apart(mic, "audio", test.own, test.said); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if Apart(mic, "", false, []Class{said("home/nursery", "", false, 1)}) {
		t.Error("all of a place taken out is put in")
	}
}
