package kindred

import (
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/thing"
)

func (n *Node) party(c identity.Chain) journal.Party {
	return journal.Party{Member: c.Member(), ID: c.ID}
}

var journalOps = map[grant.Action]journal.Op{
	grant.Read: journal.Read, grant.Write: journal.Write, grant.Invoke: journal.Invoke, grant.Observe: journal.Observe,
}

func (n *Node) entry(who credential.Principal, op thing.Op, affordance string, d grant.Decision) journal.Entry {
	e := journal.Entry{
		Time: n.cfg.Clock(), Thing: n.party(n.self), Caller: n.party(who.Chain),
		Op: journal.Read, Affordance: affordance, Outcome: journal.Served, AsOf: d.AsOf, Offline: d.Offline,
	}
	if action, ok := actions[op]; ok {
		e.Op = journalOps[action]
	}
	if !d.Grant.IsZero() {
		e.Grant = d.Grant.String()
	}
	if !d.Allowed {
		e.Outcome, e.Reason = journal.Refused, d.Reason.String()
	}
	if d.AsOf.IsZero() {
		e.AsOf = who.AsOf
	}
	return e
}

func (n *Node) note(e journal.Entry) {
	write := n.journal.Note
	if e.Op == journal.Read && e.Outcome == journal.Served {
		write = n.journal.Tally
	}
	if err := write(e); err != nil {
		n.log.Error("writing the journal", "error", err)
	}
	n.link.poke()
}
