package kindred

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// Introduce makes an introduction of the node's own tree, which calls itself name, and makes it known to the gateway. The
// line of text is for an owner of the tree that is to know this one.
func (n *Node) Introduce(ctx context.Context, name string) (in pairing.Introduction, text string, err error) {
	fail := func(err error) (pairing.Introduction, string, error) {
		return pairing.Introduction{}, "", fmt.Errorf("kindred: introducing this home: %w", err)
	}
	if !n.self.Owner() {
		return fail(errors.New("only owners do"))
	}
	if _, err := n.lookUp(ctx, control.Lookup{Member: n.gateway.Member.String()}); err != nil { // where it is by now
		n.log.Info("the gateway does not say where it is", "error", err)
	}
	gateway, err := n.contactFor(ctx, n.gateway.Member)
	if err != nil {
		return fail(err)
	}
	charter := n.Charter()
	addresses := bare(gateway.Addresses)
	in, text, err = pairing.NewIntroduction(n.key, pairing.Home{
		Tree: n.self.ID.Tree, Epoch: charter.Epoch, Charter: charter.Digest, Name: name,
		Gateway: n.gateway.Member, GatewayKey: gateway.Key, Addresses: addresses[:min(len(addresses), 8)],
	}, n.cfg.Clock())
	if err == nil {
		err = n.Gateway().Introduce(ctx, in.Offer())
	}
	if err != nil {
		return fail(err)
	}
	return in, text, nil
}

// AwaitAnswer waits until an introduction that the node made was taken. face is what to know of the other tree to recognize
// it in turn; without an answer, because the other side does not want that, it is zero.
func (n *Node) AwaitAnswer(ctx context.Context, in pairing.Introduction) (face tree.Recognition, err error) {
	for {
		a, err := n.Gateway().Introduced(ctx, in.ID())
		var e *control.Error
		switch {
		case ctx.Err() != nil:
			return face, context.Cause(ctx)
		case errors.As(err, &e) && e.Code != control.Unavailable:
			return face, err
		case err != nil: // it is away, and comes back
			select {
			case <-time.After(firstRetry):
			case <-ctx.Done():
			}
		case a.Taken && a.Answer == nil:
			return face, nil
		case a.Taken:
			return openAnswer(in, a)
		}
	}
}

// openAnswer reads what the other side says of its tree. Who it is, the binding tells, which the gateway cannot make.
func openAnswer(in pairing.Introduction, a pairing.Acquaintance) (face tree.Recognition, err error) {
	fail := func(err error) (tree.Recognition, error) {
		return tree.Recognition{}, fmt.Errorf("kindred: reading the answer to an introduction: %w", err)
	}
	if len(a.Answer) > pairing.MaxAnswer {
		return fail(fmt.Errorf("%d bytes, of at most %d", len(a.Answer), pairing.MaxAnswer))
	}
	if !in.Bound(a.Answer, a.Binding) {
		return fail(pairing.ErrSwapped)
	}
	if err := signed.Unmarshal(a.Answer, &face); err != nil {
		return fail(err)
	}
	if _, err := tree.OpenCharter(face.Charter, face.Other); err != nil {
		return fail(err)
	}
	if face.Other == in.Tree || !tree.ValidName(face.Name) {
		return fail(fmt.Errorf("it is of tree %s, called %.80q", face.Other, face.Name))
	}
	return face, nil
}

// A Meeting is an introduction that was read, and what the gateway it names says of its tree.
type Meeting struct {
	pairing.Introduction
	Face tree.Recognition // to be recognized; called what the tree calls itself

	client *http.Client
}

// Meet reads an introduction and asks the gateway that it names, and nobody else, about its tree. Nothing is changed by it.
func (n *Node) Meet(ctx context.Context, text string) (Meeting, error) {
	m, err := n.meet(ctx, text)
	if err != nil {
		return Meeting{}, fmt.Errorf("kindred: meeting another home: %w", err)
	}
	return m, nil
}

func (n *Node) meet(ctx context.Context, text string) (Meeting, error) {
	in, err := pairing.ParseIntroduction(text, n.cfg.Clock())
	if err != nil {
		return Meeting{}, err
	}
	if in.Tree == n.self.ID.Tree {
		return Meeting{}, errors.New("it introduces this very home")
	}
	m := Meeting{Introduction: in, client: &http.Client{Transport: n.host.Transport(func(context.Context, string) (peer.Target, error) {
		return peer.Target{Key: in.GatewayKey, Addresses: in.Addresses}, nil
	})}}
	said, err := m.say(ctx, pairing.Response{})
	if err != nil {
		return Meeting{}, err
	}
	m.Face, err = faceOf(in, said)
	return m, err
}

// faceOf checks what a gateway says of its tree against the introduction.
func faceOf(in pairing.Introduction, said pairing.Greeting) (face tree.Recognition, err error) {
	charter, err := tree.OpenCharter(said.Charter, in.Tree)
	if err != nil {
		return face, err
	}
	if charter.Digest != in.Charter || charter.Epoch != in.Epoch {
		return face, fmt.Errorf("the gateway shows another charter of tree %s than the one its owner signed for", in.Tree)
	}
	c, err := contactIn(in.Tree, charter, control.Contact{Chain: said.Chain, Address: said.Address}, in.Issued)
	if err != nil {
		return face, err
	}
	if c.Member() != in.Gateway || !identity.SameKey(c.Key, in.GatewayKey) {
		return face, fmt.Errorf("the gateway of tree %s shows somebody else's certificates", in.Tree)
	}
	face = tree.Recognition{Other: in.Tree, Epoch: in.Epoch, Name: in.Name, Charter: said.Charter}
	face.Gateway, err = doorOf(c)
	for _, a := range in.Addresses {
		if len(face.Gateway.Addresses) < tree.MaxAddresses && !slices.Contains(bare(face.Gateway.Addresses), a) {
			face.Gateway.Addresses = append(face.Gateway.Addresses, a)
		}
	}
	return face, err
}

// Taken tells the other home that it is recognized now, and, where both want to, what it has to know to recognize the
// node's own in turn, which calls itself own.
func (n *Node) Taken(ctx context.Context, m Meeting, mutual bool, own string) error {
	r := pairing.Response{Taken: true}
	if mutual {
		face, err := n.Face(ctx)
		if err != nil {
			return err
		}
		face.Name = own
		if r.Answer, err = signed.Marshal(face); err != nil {
			return err
		}
		r.Binding = m.Bind(r.Answer)
	}
	if _, err := m.say(ctx, r); err != nil {
		return fmt.Errorf("kindred: telling the other home: %w", err)
	}
	return nil
}

// maxGreeting bounds what a gateway says, in bytes.
const maxGreeting = 64 << 10

// say asks the gateway, with what the introduction has to prove that the node holds it.
func (m Meeting) say(ctx context.Context, r pairing.Response) (said pairing.Greeting, err error) {
	r.ID, r.Token = m.ID(), m.Token()
	body, err := json.Marshal(r)
	if err != nil {
		return said, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, urlOf(m.Tree, m.Gateway)+pairing.IntroductionPath, bytes.NewReader(body))
	if err != nil {
		return said, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header["Idempotency-Key"] = nil // net/http: may be repeated, and nothing is sent
	resp, err := m.client.Do(req)
	if err != nil {
		return said, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return said, json.NewDecoder(io.LimitReader(resp.Body, maxGreeting)).Decode(&said)
	case http.StatusConflict:
		return said, pairing.ErrUsed
	case http.StatusForbidden:
		return said, pairing.ErrUnknown
	}
	return said, fmt.Errorf("its gateway answered %s", resp.Status)
}
