package keeper

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// maxTools is how many tools an owner or a person has at a time.
const maxTools = 32

// AdmitTool puts a tool (see [identity.Link.Tool]) into the roster. by, the verified leaf that asks, must be an app of
// the same owner or person: whoever holds that one's key, which signed the tool's certificate, could act for them
// anyhow, and for longer. It must be no tool itself, nor the new one have the ID of a member. A tool that has the path
// already goes, with its grants, and so do all tools of the tree whose certificates have ended.
func (k *Keeper) AdmitTool(ctx context.Context, by, tool identity.Chain) error {
	err := k.changeTools(ctx, func(now time.Time) (tree.Update, []tree.Entry, error) {
		u := tree.Update{By: by.Member(), Members: []tree.Admission{{Chain: tool}}}
		return u, k.spent(now, tool.ID.Path), k.checkTool(by, tool, now)
	})
	if err != nil {
		return fmt.Errorf("keeper: admitting a tool: %w", err)
	}
	return nil
}

// Tidy takes the tools whose certificates have ended off the roster. They can do nothing any more; so nobody has to be
// told, and nobody asks for it but the gateway itself.
func (k *Keeper) Tidy(ctx context.Context) error {
	err := k.changeTools(ctx, func(now time.Time) (tree.Update, []tree.Entry, error) {
		return tree.Update{By: k.gateway}, k.spent(now, ""), nil
	})
	if err != nil {
		return fmt.Errorf("keeper: removing tools that have ended: %w", err)
	}
	return nil
}

// changeTools makes the change that plan asks for, and takes members off the roster with it.
func (k *Keeper) changeTools(ctx context.Context, plan func(now time.Time) (tree.Update, []tree.Entry, error)) error {
	end, err := k.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	u, gone, err := plan(k.clock())
	if err != nil || len(u.Members)+len(gone) == 0 {
		return err
	}
	var event Event
	for _, e := range gone {
		members, grants := k.below(e)
		u.Remove = append(u.Remove, e.Chain.Member())
		event.Members = append(event.Members, members...)
		event.Grants = append(event.Grants, grants...)
	}
	k.takeBack(&u, &event)
	return k.apply(ctx, u, event)
}

// spent returns the tools whose certificates have ended, and the one that has a path. The caller holds the turn.
func (k *Keeper) spent(now time.Time, path identity.Path) (tools []tree.Entry) {
	for e := range k.state.Members() {
		if e.Chain.Self().Tool() && (e.Path() == path || now.After(e.Chain.Self().NotAfter)) {
			tools = append(tools, e)
		}
	}
	return tools
}

// toolsOf returns the tools that a leaf made and that are not below it: whoever stole its directory may have made them.
func (k *Keeper) toolsOf(maker tree.Entry) (tools []tree.Entry) {
	for e := range k.state.Members() {
		if e.Chain.Self().Tool() && e.By == maker.Chain.Member() && !e.Path().Within(maker.Path()) {
			tools = append(tools, e)
		}
	}
	return tools
}

// checkTool checks that a leaf may admit a tool. The caller holds the turn.
func (k *Keeper) checkTool(by, tool identity.Chain, now time.Time) error {
	if err := k.checkLive(by); err != nil {
		return err
	}
	if err := checkAdmission(tree.Admission{Chain: tool}, now); err != nil {
		return err
	}
	path := tool.ID.Path
	beside := len(by.Line) == len(tool.Line) && slices.EqualFunc(by.Line[:len(by.Line)-1], tool.Line[:len(tool.Line)-1],
		func(a, b identity.Link) bool { return a.Member == b.Member })
	switch {
	case !tool.Self().Tool():
		return denied("%s is no tool: its certificate does not say so", path)
	case by.Kind() != identity.App || !beside:
		return denied("%s is no app of %s", by.ID.Path, path.Parent())
	case by.Self().Tool(): // else what a stolen phone made would outlast it, by making others
		return denied("%s is a tool itself", by.ID.Path)
	case k.isMember(tool.Member()): // whoever has an authority of their own gives out what IDs they like
		return denied("%s has the member ID of somebody who is there", path)
	case k.gone[tree.MemberKey(tool.Member())]:
		return fmt.Errorf("%s, member %s: %w", path, tool.Member(), ErrGone)
	}
	if err := k.checkRoom(k.toolMaker(tool)); err != nil {
		return err
	}
	var others int
	for e := range k.state.Members() {
		if e.Chain.Self().Tool() && e.Path().Parent() == path.Parent() && e.Path() != path && now.Before(e.Chain.Self().NotAfter) {
			others++
		}
	}
	if others >= maxTools {
		return fmt.Errorf("%s has %d tools already", path.Parent(), others)
	}
	return nil
}
