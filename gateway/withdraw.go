package gateway

import (
	"context"
	"slices"

	"github.com/kindred-iot/kindred/agreement"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

// Withdraw files an owner's demand for deletion, and tells the service.
func (h *home) Withdraw(ctx context.Context, who credential.Principal, p control.Papers) (control.None, error) {
	if !who.Owner() {
		return control.None{}, refused("only owners demand that something is deleted")
	}
	demand, err := agreement.GrantOf(p.Papers.Demand)
	if err != nil {
		return control.None{}, invalid(err)
	}
	if err := h.keeper.Withdraw(ctx, p.Papers); err != nil {
		return control.None{}, answer(err)
	}
	service, _ := h.member(demand.Service)
	h.tell(ctx, journal.Withdraw, who.Chain, journal.Party{}, party(service.Chain), demand.Grant)
	h.watchers.renew(demand.Service)
	return control.None{}, nil
}

// Deleted files a service's answer to a demand.
func (h *home) Deleted(ctx context.Context, who credential.Principal, d control.SignedDeletion) (control.None, error) {
	id, already, err := h.keeper.Deleted(ctx, who.Chain, d.Raw)
	if err != nil {
		return control.None{}, answer(err)
	}
	if !already {
		h.tell(ctx, journal.Delete, who.Chain, journal.Party{}, journal.Party{}, id)
	}
	if left := h.demands(who.Chain); len(left) > 0 && len(left[0].Answers) == 0 { // it was not shown all at a time
		h.watchers.renew(who.Member())
	}
	return control.None{}, nil
}

// Withdrawn lists what was withdrawn: to owners all, to a service what it has yet to do.
func (h *home) Withdrawn(_ context.Context, who credential.Principal, _ control.None) (control.Withdrawals, error) {
	switch {
	case who.Owner():
		return control.Withdrawals{Papers: papersOf(h.keeper.Withdrawn(identity.MemberID{}))}, nil
	case who.Kind() == identity.Service:
		return control.Withdrawals{Papers: h.demands(who.Chain)}, nil
	}
	return control.Withdrawals{}, refused("only owners and services have something withdrawn")
}

// demands returns what a service has yet to delete.
func (g *Gateway) demands(who identity.Chain) []agreement.Papers {
	if who.Kind() != identity.Service {
		return nil
	}
	papers := papersOf(slices.DeleteFunc(g.keeper.Withdrawn(who.Member()), func(a agreement.Agreement) bool {
		return len(a.Answers) == 0 && !g.isLive(a.DemandedBy()) // the service would refuse it
	}))
	slices.SortStableFunc(papers, func(a, b agreement.Papers) int { return len(a.Answers) - len(b.Answers) }) // unanswered first
	return papers
}

func papersOf(all []agreement.Agreement) (papers []agreement.Papers) {
	for _, a := range all {
		papers = append(papers, a.Papers())
	}
	return papers
}
