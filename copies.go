package kindred

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

// copying counts what a service is answered: whatever leaves in clear is told in the journal, with its size.
type copying struct {
	http.ResponseWriter
	refused bool
	bytes   uint64
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
		c.bytes += uint64(n)
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

// tellCopies writes down what left in clear by the call, once it is over: how much, and which fields went to whom, and to
// which country.
func (c *call) tellCopies() {
	if c.copies == nil {
		return
	}
	c.mu.Lock()
	d, bytes := c.decision, c.copies.bytes
	c.mu.Unlock()
	if c.caller.Sent != nil && c.caller.Sent.Bytes() > 0 {
		bytes = c.caller.Sent.Bytes() // without what frames it
	}
	if bytes == 0 || len(d.View.Clear) == 0 {
		return
	}
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
