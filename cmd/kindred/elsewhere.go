package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

const knownHint = `"kindred recognize" lists the homes that are, and makes them known`

// anywhere reads an argument that names a member of any tree: as path does, or by the name that another home has here and
// the path there, birch:home/meter.
func anywhere(ctx context.Context, n *kindred.Node, arg string) (identity.ID, error) {
	if id, err := identity.ParseID(arg); err == nil {
		return id, nil
	}
	if home, p, ok := strings.Cut(arg, ":"); ok && !strings.HasPrefix(p, "//") {
		at, err := identity.ParsePath(p)
		if err != nil || !tree.ValidName(home) {
			return identity.ID{}, usage("%q is no path in another home such as birch:home/meter", arg)
		}
		of, err := n.TreeCalled(ctx, home)
		if errors.Is(err, credential.ErrStranger) {
			return identity.ID{}, hinted(notFound("no home is known as %s", home), knownHint)
		}
		return identity.ID{Tree: of, Path: at}, err
	}
	p, err := path(n, arg)
	return identity.ID{Tree: n.Self().ID.Tree, Path: p}, err
}

// calledHere reads an argument that names a member of any tree, by what is known of homes here alone.
func calledHere(r kindred.Roster, arg string) (identity.ID, error) {
	if id, err := identity.ParseID(arg); err == nil {
		return id, nil
	}
	home, p, _ := strings.Cut(arg, ":")
	at, err := identity.ParsePath(p)
	if err != nil || !tree.ValidName(home) {
		return identity.ID{}, usage("%q is no path in another home such as birch:home/meter", arg)
	}
	o, ok := r.Called(home)
	if !ok {
		return identity.ID{}, hinted(notFound("no home is known as %s", home), knownHint)
	}
	return identity.ID{Tree: o.Other, Path: at}, nil
}

// subject finds whom something is shared with, here or in another home that is known.
func (s *session) subject(ctx context.Context, n *kindred.Node, r *kindred.Roster, arg string) (grant.Subject, error) {
	if strings.Contains(arg, ":") {
		id, err := anywhere(ctx, n, arg)
		if err != nil {
			return grant.Subject{}, err
		}
		if id.Tree != n.Self().ID.Tree {
			return s.abroad(ctx, n, id, arg)
		}
	}
	who, err := s.recipient(ctx, n, r, arg)
	if err != nil {
		return grant.Subject{}, err
	}
	return grant.Subject{Tree: n.Self().ID.Tree, Member: who.Who.Member()}, nil
}

// abroad asks another home who is at a path there.
func (s *session) abroad(ctx context.Context, n *kindred.Node, id identity.ID, arg string) (grant.Subject, error) {
	subject, err := n.WhoIs(ctx, id)
	if err != nil {
		return subject, s.unknownThere(err, arg)
	}
	return subject, nil
}

// unknownThere explains why another home does not say who somebody is.
func (s *session) unknownThere(err error, arg string) error {
	var said *control.Error
	switch {
	case errors.Is(err, credential.ErrStranger):
		return hinted(notFound("%s is of a home that is not known here", arg), knownHint)
	case errors.As(err, &said) && said.Code == control.Refused:
		return hinted(refused("the home of %s does not say who that is: it does not know this one", arg),
			`an owner there has to know this home too: "kindred recognize --invite"`)
	case errors.As(err, &said) && said.Code == control.NotFound:
		return notFound("there is no %s", arg)
	}
	return s.unreached(err, "the home of "+arg)
}

// find looks for a member that an argument names, of any tree.
func (s *session) find(ctx context.Context, n *kindred.Node, id identity.ID, arg string) (kindred.Contact, error) {
	if id.Tree == n.Self().ID.Tree {
		return n.Resolve(ctx, id.Path)
	}
	c, err := n.Abroad(ctx, id)
	var said *control.Error
	switch {
	case errors.Is(err, credential.ErrStranger):
		return c, hinted(notFound("%s is of a home that is not known here", arg), knownHint)
	case errors.As(err, &said) && (said.Code == control.Refused || said.Code == control.NotFound):
		return c, hinted(refused("nothing at %s is shared with you, or there is no such thing", arg), `"kindred request" asks for it`)
	}
	return c, s.unreached(err, "the home of "+arg)
}

// passAbroad shares what is shared with oneself in another home: with somebody of this one, of that one, or of a third.
func (s *session) passAbroad(ctx context.Context, n *kindred.Node, r kindred.Roster, thing identity.ID, o shareOptions, t grant.Terms) error {
	to, err := s.subject(ctx, n, &r, o.with)
	if err != nil {
		return err
	}
	if to.Path == "" {
		for _, m := range r.Members {
			if m.Who.Member() == to.Member {
				to.Path = m.Who.ID.Path
			}
		}
	}
	if t, err = n.PassOnAbroad(ctx, thing, to, t); err != nil {
		return s.notPassed(err, o, to.Tree != thing.Tree && to.Tree != n.Self().ID.Tree)
	}
	t.Subject = to // with the path, which is not said of who is at home there
	sentence := s.language.Sentence(t, namedThere(r, thing, t))
	id := homeOf(r, thing.Tree) + ":" + t.ID.String()
	err = s.print(map[string]string{"id": id, "sentence": sentence}, id)
	s.say("%s", sentence)
	return err
}

// notPassed explains why something of another home is not passed on, which was to be to somebody of a third.
func (s *session) notPassed(err error, o shareOptions, third bool) error {
	var said *control.Error
	switch {
	case errors.Is(err, credential.ErrStranger):
		return hinted(notFound("%s is of a home that is not known here", o.path), knownHint)
	case third && errors.As(err, &said) && said.Code == control.NotFound:
		return hinted(refused("the home of %s does not know the home of %s", o.path, o.with),
			`an owner there has to know that home too: "kindred recognize"`)
	}
	return s.unreached(err, "the home of "+o.path)
}

// homeOf returns what another home is called here, or its ID.
func homeOf(r kindred.Roster, of identity.TreeID) string {
	if o, ok := r.OtherTree(of); ok {
		return o.Name
	}
	return of.String()
}

// unshareAbroad takes back what was passed on in another home.
func (s *session) unshareAbroad(ctx context.Context, n *kindred.Node, home, arg string) error {
	id, err := tree.ParseGrantID(arg)
	if err != nil {
		return usage("%q is no grant in another home: want all of what \"kindred share\" printed", arg)
	}
	of, err := homeCalled(ctx, n, home)
	if err != nil {
		return err
	}
	if err := n.UnshareAbroad(ctx, of, id); err != nil {
		return s.unreached(err, "the home "+home)
	}
	t := taken{Grants: []string{home + ":" + id.String()}, Things: []control.Reach{}}
	t.Sentence = "Taken back. The things there hear of it from their gateway."
	return s.print(t, t.Sentence)
}

// homeCalled reads an argument that names another home: as it is called here, or by its ID.
func homeCalled(ctx context.Context, n *kindred.Node, home string) (identity.TreeID, error) {
	of, err := identity.ParseTreeID(home)
	if err != nil {
		if of, err = n.TreeCalled(ctx, home); errors.Is(err, credential.ErrStranger) {
			err = hinted(notFound("no home is known as %s", home), knownHint)
		}
	}
	return of, err
}

// extendAbroad asks for what one was given in another home, until later.
func (s *session) extendAbroad(ctx context.Context, n *kindred.Node, home, prefix string, end time.Time) error {
	of, err := homeCalled(ctx, n, home)
	if err != nil {
		return err
	}
	found, err := n.GivenElsewhere(ctx, of, prefix)
	var answered *control.Error
	none := hinted(notFound("there is no %s:%s that was given to you: it may have been taken back, or is over", home, prefix),
		`"kindred request" asks for something new`)
	switch {
	case errors.As(err, &answered) && (answered.Code == control.Refused || answered.Code == control.NotFound):
		return none
	case err != nil:
		return s.unreached(err, "the home "+home)
	case len(found) == 0:
		return none
	case len(found) > 1:
		return hinted(conflict("%s:%s could be %d grants", home, prefix, len(found)), "write more of it")
	}
	r, err := s.roster(ctx, n)
	if err != nil {
		return err
	}
	t, err := s.longer(found[0].Terms, home+":"+r.ShortID(found[0].Terms.ID), end)
	if err != nil {
		return err
	}
	return s.requestMore(ctx, n, r.Elsewhere(found[0].At), t)
}
