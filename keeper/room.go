package keeper

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// maxTaken is how many entries of the list of what was taken away are due to somebody who is no owner, when they make
// nothing more that would have to be taken away one day. Taking away is never refused, so they can get to as much beyond
// it as they have: all that one of them can do takes less than a third of the list, and the rest is left for others.
const maxTaken = 192

// A maker is who gave a grant, or made a tool.
type maker = identity.TreeMember

func takenKey(m maker) string { return takenPrefix + m.String() }

// taken is when entries that a maker is answerable for were listed as taken away, Unix time in seconds, the oldest first.
type taken []int64

// since returns those that the list has still.
func (t taken) since(now time.Time) taken {
	horizon := now.Add(-tree.ListedFor).Unix()
	i := slices.IndexFunc(t, func(at int64) bool { return at >= horizon })
	if i < 0 {
		return nil
	}
	return t[i:]
}

// checkRoom checks that one more may be made that these are answerable for. The caller holds the turn.
func (k *Keeper) checkRoom(makers []maker) error {
	for _, m := range makers {
		listed := k.taken[m].since(k.now())
		if len(listed) < maxTaken {
			continue
		}
		free := time.Unix(listed[len(listed)-maxTaken], 0).Add(tree.ListedFor + time.Second)
		return denied("%d grants and tools of %s, who is no owner, were paused or taken away in the last seven days, the most there may be:"+
			" more can be given after %s, and by owners at any time", len(listed), k.nameOf(m), free.UTC().Format(time.RFC3339))
	}
	return nil
}

// nameOf says who a maker is.
func (k *Keeper) nameOf(m maker) string {
	if e, ok := k.state.Member(m.Member); ok && m.Tree == k.signer.tree {
		return string(e.Path())
	}
	if r, ok := k.state.Recognized(m.Tree); ok {
		return fmt.Sprintf("member %s of %s", m.Member, r.Name)
	}
	return fmt.Sprintf("member %s of tree %s", m.Member, m.Tree)
}

// makers returns who is answerable for a grant and is no owner, each once: whoever gave it, and whoever gave what it rests
// on. Whoever lets others give gives as well. The caller holds the turn or mu.
func (k *Keeper) makers(id tree.GrantID) (makers []maker) {
	for g, ok := k.state.Grant(id); ok; g, ok = k.state.Stated(k.parties[g.ID].parent) {
		m := maker{Tree: k.signer.tree, Member: g.Giver}
		if !g.GiverTree.IsZero() {
			m.Tree = g.GiverTree
		}
		if !k.isOwner(m) && !slices.Contains(makers, m) {
			makers = append(makers, m)
		}
	}
	return makers
}

func (k *Keeper) isOwner(m maker) bool {
	e, ok := k.state.Member(m.Member)
	return ok && m.Tree == k.signer.tree && e.Chain.Kind() == identity.Owner
}

// toolMaker returns who is answerable for a tool: the person above it; nobody, if that is an owner.
func (k *Keeper) toolMaker(tool identity.Chain) (makers []maker) {
	if m := (maker{Tree: k.signer.tree, Member: tool.ActsFor()}); tool.Self().Tool() && !k.isOwner(m) {
		makers = append(makers, m)
	}
	return makers
}

// account puts into s who is answerable for what it takes away. The caller holds the turn.
func (k *Keeper) account(s *step, u tree.Update) error {
	var due []maker
	for _, g := range s.event.Grants {
		due = append(due, k.makers(g.ID)...)
	}
	for _, id := range u.Pause {
		due = append(due, k.makers(id)...)
	}
	for _, c := range s.event.Members {
		due = append(due, k.toolMaker(c)...)
	}
	if len(due) == 0 {
		return nil
	}
	s.taken = map[maker]taken{}
	for m, t := range k.taken {
		s.taken[m] = t.since(u.Time)
	}
	for _, m := range due {
		s.taken[m] = append(slices.Clip(s.taken[m]), u.Time.Unix())
	}
	for m, t := range s.taken {
		if len(t) == 0 {
			s.records[takenKey(m)] = nil
			continue
		}
		raw, err := signed.Marshal(t)
		if err != nil {
			return err
		}
		s.records[takenKey(m)] = raw
	}
	maps.DeleteFunc(s.taken, func(_ maker, t taken) bool { return len(t) == 0 })
	return nil
}

func (k *Keeper) restoreTaken(ctx context.Context) error {
	return k.store.Scan(ctx, takenPrefix, func(name string, value []byte) error {
		of, member, _ := strings.Cut(strings.TrimPrefix(name, takenPrefix), "/")
		var m maker
		var t taken
		var err error
		if m.Tree, err = identity.ParseTreeID(of); err == nil {
			m.Member, err = identity.ParseMemberID(member)
		}
		if err == nil {
			err = signed.Unmarshal(value, &t)
		}
		if err == nil && !slices.IsSorted(t) {
			err = errors.New("its times are in no order")
		}
		if err != nil {
			return fmt.Errorf("record %q: %w", name, err)
		}
		k.taken[m] = t
		return nil
	})
}
