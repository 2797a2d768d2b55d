package kindred

import (
	"sync"
	"time"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/thing"
)

// A question is what a decision answers: all of a request, and of the moment, that it rests on beside the session.
type question struct {
	op       thing.Op
	of       string // the affordance
	purpose  string
	way      grant.Way
	limit    grant.Limit
	never    bool
	isolated bool
}

// standing are decisions that allow. Each is good for every request that asks the same of the same session, until its
// time is up. They end with the renewal that they are of: something learnt of the tree ends them at once.
type standing struct {
	mu sync.Mutex
	by map[question]grant.Decision
}

// maxStanding is how many decisions of one session stand at a time. Further requests are decided one by one.
const maxStanding = 64

func (st *standing) find(q question, now time.Time) (grant.Decision, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	d, ok := st.by[q]
	return d, ok && now.Before(d.Until)
}

// keep has a decision stand, unless it is a refusal or good for one request alone.
func (st *standing) keep(q question, d grant.Decision) {
	if !d.Allowed || d.Counts {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.by == nil {
		st.by = map[question]grant.Decision{}
	}
	if len(st.by) < maxStanding {
		st.by[q] = d
	}
}
