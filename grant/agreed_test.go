package grant

import (
	"testing"
	"time"
)

func TestAgreed(t *testing.T) {
	h := newHousehold(t)
	terms := h.terms("sam/anna", "home/lock")
	terms.Thing.Affordance, terms.Actions, terms.Zone = "unlock", Actions(Invoke), "Europe/Berlin"
	terms.Windows = []Window{{Days: DayOf(time.Saturday), From: 14 * 60, To: 16 * 60}}
	terms.Uses, terms.Home, terms.Purpose = 3, true, "parcels" // which the journal does not tell
	terms.Until = now.Add(24 * time.Hour).Unix()
	for _, test := range []struct {
		affordance string
		action     Action
		at         time.Time
		want       Code
	}{
		{"unlock", Invoke, now, Granted},
		{"unlock", Invoke, now.Add(time.Hour), OutOfHours},
		{"unlock", Invoke, now.Add(24 * time.Hour), Ended},
		{"unlock", Read, now, Doing},
		{"lock", Invoke, now, Affordance},
	} {
		if got := terms.Agreed(test.affordance, test.action, test.at); got.Code != test.want {
			t.Errorf("%s %s at %s: %s, want %s", test.action, test.affordance, test.at, got.Code, test.want)
		}
	}
	terms.Zone = "Nowhere/Land"
	if got := terms.Agreed("unlock", Invoke, now); got.Code != Failed {
		t.Errorf("in no zone: %s", got.Code)
	}
}
