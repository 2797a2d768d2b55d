package kindred

import (
	"slices"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// Made is what a member, and those below it, asked for.
type Made struct {
	Members  []RosterMember
	Grants   []RosterGrant
	Approved []RosterGrant // that it stands behind as a second one, and that stay without that
	Others   []RosterOther
	Left     []RosterMember // owners and places, which do not go with their maker
}

// MadeSince returns what a member asked for since a moment, and what that made; not what goes with the member anyhow,
// because it is below it, or is a grant that Ended names. The time is when the home took it in, whatever is signed.
func (r Roster) MadeSince(self identity.Chain, m RosterMember, since time.Time) (made Made, err error) {
	var makings []tree.Making
	var take []func()
	var leaves []identity.MemberID
	stay := map[identity.MemberID][]RosterMember{} // by who asked for them
	for _, other := range r.Members {
		entry, err := other.Current()
		if err != nil {
			return Made{}, err
		}
		if other.Who.ID.Path.Within(m.Who.ID.Path) || other.Who.Self().Tool() && entry.By == m.Who.Member() {
			leaves = append(leaves, other.Who.Member())
			continue
		}
		if slices.ContainsFunc(self.Line, func(l identity.Link) bool { return l.Member == other.Who.Member() }) {
			continue // whoever removes does not go along
		}
		if r.IsGateway(other) {
			continue // nor what a home cannot be without
		}
		if credential.MayRemove(self, other.Who) != nil {
			if entry.Since >= since.Unix() {
				stay[entry.By] = append(stay[entry.By], other)
			}
			continue
		}
		makings = append(makings, tree.Making{By: entry.By, Since: entry.Since, Made: other.Who})
		take = append(take, func() { made.Members = append(made.Members, other) })
	}
	ended := r.Ended(m)
	for _, g := range r.Grants {
		var entry tree.Grant
		if err := signed.Unmarshal(g.Value, &entry); err != nil {
			return Made{}, err
		}
		if slices.ContainsFunc(ended, func(other RosterGrant) bool { return other.Terms.ID == g.Terms.ID }) {
			continue
		}
		if entry.GiverTree.IsZero() {
			makings = append(makings, tree.Making{By: entry.By, Since: entry.Since})
			take = append(take, func() { made.Grants = append(made.Grants, g) })
		}
		for _, second := range entry.Seconds {
			makings = append(makings, tree.Making{By: second.By, Since: second.Since})
			take = append(take, func() { made.Approved = append(made.Approved, g) })
		}
	}
	for _, o := range r.Others {
		makings = append(makings, tree.Making{By: o.By, Since: o.Since})
		take = append(take, func() { made.Others = append(made.Others, o) })
	}
	for _, gone := range r.gone {
		makings = append(makings, gone)
		take = append(take, func() {})
	}
	for _, i := range tree.MadeSince(makings, leaves, since) {
		take[i]()
	}
	made.Approved = slices.DeleteFunc(made.Approved, func(g RosterGrant) bool {
		return slices.ContainsFunc(made.Grants, func(gone RosterGrant) bool { return gone.Terms.ID == g.Terms.ID })
	})
	for _, gone := range made.Members {
		leaves = append(leaves, gone.Who.Member())
	}
	for _, id := range leaves {
		made.Left = append(made.Left, stay[id]...)
	}
	return made, nil
}

// Takes returns a target that takes with the member what it made since a moment. Every thing of the home is told.
func (r Roster) Takes(m RosterMember, since time.Time) Target {
	t := r.Member(m)
	t.Since, t.Things = since, nil
	for _, d := range r.Members {
		if r.isThing(d) && !d.Who.ID.Path.Within(m.Who.ID.Path) {
			t.Things = append(t.Things, d.Who.Member())
		}
	}
	return t
}
