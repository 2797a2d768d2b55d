package kindred

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

// copying counts what a service is answered: whatever leaves in clear is told in the journal, with its size.
type copying struct {
	http.ResponseWriter
	refused bool
	bytes   atomic.Uint64

	told   uint64    // of them, in the journal; guarded by the call's telling
	toldAt time.Time // when; zero: not yet
}

// WriteHeader notes whether the service is shown anything.
func (c *copying) WriteHeader(status int) {
	c.refused = status >= http.StatusMultipleChoices
	c.ResponseWriter.WriteHeader(status)
}

// Write counts what is shown.
func (c *copying) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	if !c.refused {
		c.bytes.Add(uint64(n))
	}
	return n, err
}

// Unwrap is for http.ResponseController.
func (c *copying) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// watchCopies has what a service is answered counted.
func (c *call) watchCopies(w *http.ResponseWriter) {
	if c.session.who.Kind() == identity.Service {
		c.copies = &copying{ResponseWriter: *w}
		*w = c.copies
	}
}

// copiesEvery is how often what leaves by a call that goes on is told of: whoever pulls the plug hides no more.
const copiesEvery = time.Hour

// tellCopies writes down what left in clear by the call since that was told last: how much, and which fields went to
// whom, and to which country. It is told at the end, and of a call that goes on after its first minute, and then hourly.
func (c *call) tellCopies(goesOn bool) {
	if c.copies == nil {
		return
	}
	c.telling.Lock()
	defer c.telling.Unlock()
	if at := c.copies.toldAt; goesOn && !at.IsZero() && time.Since(at) < copiesEvery {
		return
	}
	c.mu.Lock()
	d := c.decision
	c.mu.Unlock()
	total := c.copies.bytes.Load()
	if c.caller.Sent != nil {
		total = c.caller.Sent.Bytes() // without what frames it
	}
	if total == c.copies.told || len(d.View.Clear) == 0 {
		return
	}
	bytes := total - c.copies.told
	c.copies.told, c.copies.toldAt = total, time.Now()
	n := c.calls.node
	e := n.entry(c.session.who, c.op, c.affordance, d)
	e.Op, e.Bytes, e.Call, e.Reason = journal.Copy, bytes, c.number, c.session.clearText(d)
	n.note(e)
}

// clearText says what a decision shows in clear: "power, time to First Bank, kept in DE".
func (s *session) clearText(d grant.Decision) string {
	text := strings.Join(d.View.Clear, ", ")
	for _, raw := range s.grants {
		t, _, err := grant.Parse(raw)
		if err != nil || t.ID != d.Grant {
			continue
		}
		if t.Agreement.Recipient != "" {
			text += " to " + t.Agreement.Recipient
		}
		if t.Agreement.Place != "" {
			text += fmt.Sprintf(", kept in %s", t.Agreement.Place)
		}
	}
	return text
}
