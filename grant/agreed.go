package grant

import (
	"time"

	"github.com/kindred-iot/kindred/identity"
)

// Agreed says of something that happened whether the terms allow it, as far as a journal can tell: what was done to
// which affordance, and when. The code is Granted if they do.
func (t Terms) Agreed(affordance string, action Action, at time.Time) Reason {
	h, err := hoursOf(t)
	if err != nil {
		return Reason{Code: Failed, text: err.Error()}
	}
	d := decider{
		req:   Request{Affordance: affordance, Action: action, Purpose: t.Purpose},
		facts: Facts{Now: at.Round(0), Way: AtHome},
	}
	d.who.Line = []identity.Link{{}} // whoever they were for
	return d.missing(&rules{terms: t, hours: h}, &Usage{})
}
