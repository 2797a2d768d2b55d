package gateway

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/keeper"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/tree"
)

// Invite makes an owner's invitation known to the desk.
func (h *home) Invite(ctx context.Context, who credential.Principal, o pairing.Offer) (control.None, error) {
	if !who.Owner() {
		return control.None{}, refused("only owners invite")
	}
	if err := h.roomFor(o); err != nil {
		return control.None{}, err
	}
	if err := h.desk.Register(ctx, who.Member(), o); err != nil {
		return control.None{}, invalid(err)
	}
	return control.None{}, nil
}

// roomFor checks, while there is still somebody to tell, that an invited member could be admitted.
func (h *home) roomFor(o pairing.Offer) (err error) {
	h.keeper.View(func(s *tree.State) {
		if _, taken := s.At(o.Path); taken {
			err = &control.Error{Code: control.Conflict, Message: fmt.Sprintf("there is a %s already", o.Path), Hint: "remove it first, or take another name"}
			return
		}
		above, ok := s.At(o.Path.Parent())
		switch {
		case o.Path.Parent() == "" && o.Kind == identity.Owner: // whoever has the root key signs it
		case o.Path.Parent() == "":
			err = refused(fmt.Sprintf("%s would stand right below the root, which takes the root key", o.Path))
		case !ok && o.Parents && o.Kind == identity.Device:
		case !ok:
			err = &control.Error{Code: control.NotFound, Message: fmt.Sprintf("there is no %s to put it in", o.Path.Parent()), Hint: "kindred add place " + string(o.Path.Parent()) + ", or --parents"}
		case !above.Chain.Kind().MaySign(o.Kind):
			err = invalid(fmt.Errorf("%s is of kind %s, below which no %s can stand", o.Path.Parent(), above.Chain.Kind(), o.Kind))
		}
	})
	return err
}

// Joins lists who waits to be confirmed, to owners.
func (h *home) Joins(ctx context.Context, who credential.Principal, _ control.None) (control.Joins, error) {
	if !who.Owner() {
		return control.Joins{}, refused("only owners confirm new members")
	}
	requests, err := h.desk.Pending(ctx)
	return control.Joins{Requests: requests}, err
}

// Join says how an invitation stands.
func (h *home) Join(ctx context.Context, who credential.Principal, q control.JoinQuery) (pairing.Request, error) {
	if !who.Owner() {
		return pairing.Request{}, refused("only owners confirm new members")
	}
	ctx, cancel := context.WithTimeout(ctx, joinWait)
	defer cancel()
	r, err := h.desk.Watch(ctx, q.ID, q.After)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return r, &control.Error{Code: control.Unavailable, Message: "no news yet"}
	case errors.Is(err, pairing.ErrExpired), errors.Is(err, pairing.ErrUnknown):
		return r, &control.Error{Code: control.NotFound, Message: err.Error()}
	}
	return r, err
}

// Answer lets a new member in, or turns it away.
func (h *home) Answer(ctx context.Context, who credential.Principal, a control.JoinAnswer) (control.None, error) {
	if !who.Owner() {
		return control.None{}, refused("only owners confirm new members")
	}
	var err error
	if a.Refuse != "" {
		err = h.desk.Refuse(ctx, a.ID, a.Refuse)
	} else {
		err = h.desk.Answer(ctx, who.Member(), a.ID, a.Chain)
	}
	if err != nil {
		return control.None{}, &control.Error{Code: control.Conflict, Message: err.Error()}
	}
	return control.None{}, nil
}

// AddPlace makes a place below one of the gateway's.
func (h *home) AddPlace(ctx context.Context, who credential.Principal, p control.Place) (control.None, error) {
	if !who.Owner() {
		return control.None{}, refused("only owners add places")
	}
	if _, err := identity.ParsePath(string(p.Path)); err != nil {
		return control.None{}, invalid(err)
	}
	var taken bool
	h.keeper.View(func(s *tree.State) { _, taken = s.At(p.Path) })
	if taken {
		return control.None{}, &control.Error{Code: control.Conflict, Message: fmt.Sprintf("there is a %s already", p.Path)}
	}
	_, err := h.makePlace(ctx, who.Chain, p.Path, p.Label, p.Parents)
	return control.None{}, err
}

// makePlace returns the authority of the place at a path. If there is none it is made, and with parents also those
// above it that are missing.
func (g *Gateway) makePlace(ctx context.Context, by identity.Chain, path identity.Path, label string, parents bool) (*identity.Authority, error) {
	g.places.Lock()
	defer g.places.Unlock()
	return g.ensurePlace(ctx, by, path, label, parents, true)
}

func (g *Gateway) ensurePlace(ctx context.Context, by identity.Chain, path identity.Path, label string, parents, make bool) (*identity.Authority, error) {
	var place tree.Entry
	var ok bool
	g.keeper.View(func(s *tree.State) { place, ok = s.At(path) })
	if ok {
		a, err := g.authority(place)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, refused(fmt.Sprintf("the key of %s is not kept by this gateway", path))
		}
		return a, err
	}
	if path.Parent() == "" {
		return nil, refused(fmt.Sprintf("%s would stand right below the root, which takes the root key", path))
	}
	if !make {
		return nil, &control.Error{Code: control.NotFound, Message: fmt.Sprintf("there is no %s", path), Hint: "add it first, or --parents"}
	}
	above, err := g.ensurePlace(ctx, by, path.Parent(), "", parents, parents)
	if err != nil {
		return nil, err
	}
	root := g.keeper.Charter().RootCertificate()
	c, key, err := issue(above, root, identity.Place, path, g.cfg.Clock(), caLife, func(id identity.MemberID) (crypto.Signer, error) {
		return g.keys.Create(placeKey(id))
	})
	if err != nil {
		return nil, err
	}
	if err := g.keeper.Admit(ctx, by, []tree.Admission{{Chain: c, Label: label}}); err != nil {
		return nil, answer(err)
	}
	g.tell(ctx, journal.Admit, by, journal.Party{}, party(c), tree.GrantID{})
	return identity.NewAuthority(c, key)
}

// strangers serves the pairing desk, whoever an owner told about this home, and members of recognized trees who ask for
// something, to callers that are nobody yet, or nobody any more, and refuses all else. Members that cannot be looked up, because the roster is an old copy, are told so: it is the one thing they can do about it.
func strangers(desk, introductions, asks http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(pairing.ClaimPath, desk)
	mux.Handle(pairing.ResultPath, desk)
	mux.Handle("POST "+pairing.IntroductionPath, introductions)
	mux.Handle("POST "+control.VisitorAskPath, asks)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if caller, _ := peer.Caller(r.Context()); errors.Is(caller.Refused, keeper.ErrBehind) {
			_ = control.Fail(w, &control.Error{ // whoever has gone away needs no answer
				Code: control.Unavailable, Message: "this gateway was restored from an old copy of its directory and signs nothing",
				Hint: "restore the newest copy there is",
			})
			return
		}
		http.Error(w, http.StatusText(http.StatusForbidden), http.StatusForbidden)
	})
	return mux
}

// host is what the pairing desk needs of the gateway.
type host struct{ *Gateway }

var _ pairing.Gateway = host{}

// Charter returns the signed charter.
func (g host) Charter(context.Context) ([]byte, error) { return g.keeper.Charter().Raw, nil }

// Sign certifies devices below the gateway's places.
func (g host) Sign(ctx context.Context, r pairing.Request, keys pairing.PublicKeys) ([][]byte, error) {
	if r.Kind != identity.Device {
		return nil, nil
	}
	inviter, err := g.inviter(r.Inviter)
	if err != nil {
		return nil, err
	}
	g.places.Lock()
	a, err := g.ensurePlace(ctx, inviter, r.Path.Parent(), "", r.Parents, r.Parents)
	g.places.Unlock()
	if err != nil {
		return nil, turnAway(err)
	}
	now := g.cfg.Clock()
	return pairing.Issue(a, r.Kind, r.Path, keys, now, now.Add(leafLife))
}

func (g host) inviter(member string) (identity.Chain, error) {
	id, err := identity.ParseMemberID(member)
	if err != nil {
		return identity.Chain{}, err
	}
	e, ok := g.member(id)
	if !ok {
		return identity.Chain{}, &pairing.RefusedError{Reason: "whoever made the invitation is not a member any more"}
	}
	return e.Chain, nil
}

// turnAway makes what the caller did wrong final.
func turnAway(err error) error {
	var e *control.Error
	if errors.As(err, &e) && e.Code != control.Unavailable {
		return &pairing.RefusedError{Reason: e.Message}
	}
	return err
}

// Admit puts a new member into the roster.
func (g host) Admit(ctx context.Context, e pairing.Entrance) (pairing.Welcome, error) {
	by, err := g.inviter(e.By.String())
	if err != nil {
		return pairing.Welcome{}, err
	}
	admissions := []tree.Admission{{Chain: e.Member, Label: e.Label}}
	members := line(e.Member)
	if len(e.App.Line) > 0 {
		admissions = append(admissions, tree.Admission{Chain: e.App})
		members = line(e.App)
	}
	for _, a := range admissions {
		// Whoever certified it drew its ID: a new person that of their first app. The keeper would take it for a renewal.
		if old, ok := g.member(a.Chain.Member()); ok && old.Certificate != a.Chain.Self().Digest {
			return pairing.Welcome{}, &pairing.RefusedError{Reason: "the home does not admit it"}
		}
	}
	known := g.isLive(e.Member)
	if err := g.keeper.Admit(ctx, by, admissions); err != nil {
		if errors.Is(err, keeper.ErrDenied) || errors.Is(err, keeper.ErrGone) {
			return pairing.Welcome{}, &pairing.RefusedError{Reason: "the home does not admit it"}
		}
		return pairing.Welcome{}, turnAway(answer(err))
	}
	if !known {
		g.tell(ctx, journal.Admit, by, journal.Party{}, party(e.Member), tree.GrantID{})
	}
	return g.welcome(ctx, members)
}

func (g host) welcome(ctx context.Context, members []identity.MemberID) (w pairing.Welcome, err error) {
	contact := g.contact(g.started().Self())
	w.Address = contact.Address
	if w.Extra, err = json.Marshal(contact); err != nil {
		return w, err
	}
	proof, err := g.keeper.Prove(ctx, members, nil, 0)
	if err != nil {
		return w, err
	}
	w.Proof, err = proof.Marshal()
	return w, err
}

// own is the home as the gateway's own node asks it.
type own struct{ *home }

func (o own) self() identity.Chain { return o.started().Self() }

// Resolve finds any member.
func (o own) Resolve(_ context.Context, q control.Lookup) (control.Contact, error) {
	e, err := o.find(q.Path, q.Member)
	if err != nil {
		return control.Contact{}, err
	}
	return o.contact(e.Chain), nil
}

// Prove proves the gateway itself.
func (o own) Prove(ctx context.Context, q control.ProofQuery) (control.Evidence, error) {
	return o.evidence(ctx, o.self(), q)
}

// Roster lists what the gateway's leaf may see as a member.
func (o own) Roster(context.Context) (control.Roster, error) { return o.roster(o.self()), nil }

// Announce files where the gateway can be reached.
func (o own) Announce(ctx context.Context, address []byte) (control.Contact, error) {
	if err := o.keeper.SetAddress(ctx, o.self(), address); err != nil {
		return control.Contact{}, err
	}
	return o.contact(o.self()), nil
}

// Publish says nothing: the gateway reads nothing that is sealed.
func (o own) Publish(context.Context, []byte) error { return nil }

// Readers is not asked: the gateway seals nothing.
func (o own) Readers(context.Context, control.ReadersQuery) (control.Readers, error) {
	return control.Readers{}, errors.New("gateway: asked whom to seal to by itself")
}

// Revoke is for revocations that reached the gateway's node as they would any other.
func (o own) Revoke(ctx context.Context, notice []byte) (control.Report, error) {
	return o.home.Revoke(ctx, credential.Principal{}, control.SignedNotice{Notice: notice})
}

// Obeyed says nothing: nobody waits for the gateway itself.
func (o own) Obeyed(context.Context, []byte) error { return nil }

// Watch streams news as to any member.
func (o own) Watch(ctx context.Context, each func(control.Event) error) error {
	return o.home.Watch(ctx, credential.Principal{Chain: o.self()}, each)
}

// joinWait is how long a question about an invitation stays open without news.
const joinWait = 8 * time.Second
