package kindred

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tree"
)

// roundTripper calls members by the URLs kindred://MEMBER.TREE/…. Before a call it sees to it that the node has
// something to show; after a refusal, or when nobody answered, it asks the gateway for newer and tries once more.
func (n *Node) roundTripper() http.RoundTripper {
	return transport{n, n.host.Transport(n.target)}
}

type transport struct {
	node *Node
	base http.RoundTripper
}

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	n := t.node
	if _, ok := n.atGiven(req.URL.Host); ok {
		if err := n.prepare(req.Context(), identity.MemberID{}); err != nil {
			n.log.Info("calling with nothing but certificates to show", "error", err)
		}
		return t.tell(req, func(req *http.Request) (*http.Response, error) {
			resp, err := t.base.RoundTrip(req)
			if err != nil || !t.settles(req, resp) {
				return resp, err
			}
			return t.again(req, resp, err)
		})
	}
	if of, member, ok := n.memberAbroad(req.URL.Host); ok {
		return t.roundTripAbroad(req, of, member)
	}
	member, err := n.memberOf(req.URL.Host)
	if err != nil {
		return nil, err
	}
	if member == n.gateway.Member {
		return t.askGateway(req)
	}
	if err := n.prepare(req.Context(), member); err != nil {
		return nil, err
	}
	n.recheckCallees()
	return t.tell(req, func(req *http.Request) (*http.Response, error) { return t.call(req, member) })
}

// tell makes a call and tells the node's journal of it.
func (t transport) tell(req *http.Request, call func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	out, sent := t.node.accounts.begin(req)
	resp, err := call(sent)
	if out == nil {
		t.node.accounts.countRead(req, resp, err)
		return resp, err
	}
	return out.end(resp, err)
}

// settles signs what a thing says that the node owes it, and reports whether it may now have what it asked for.
func (t transport) settles(req *http.Request, resp *http.Response) bool {
	if resp.StatusCode != http.StatusForbidden || resp.Header.Get(owesHeader) == "" || !repeatable(req) {
		return false
	}
	err := t.node.accounts.settle(req.Context(), req.URL.Host, false)
	if err != nil {
		t.node.log.Warn("what is owed cannot be signed for", "at", req.URL.Host, "error", err)
	}
	return err == nil
}

// call calls a member, twice if something can be done about a first try that failed.
func (t transport) call(req *http.Request, member identity.MemberID) (*http.Response, error) {
	resp, err := t.base.RoundTrip(req)
	if !t.worthAnother(req, member, resp, err) {
		return resp, err
	}
	return t.again(req, resp, err)
}

// again makes a call once more, unless its body cannot be had again.
func (t transport) again(req *http.Request, resp *http.Response, err error) (*http.Response, error) {
	again, rerr := repeat(req)
	if rerr != nil {
		return resp, err
	}
	if resp != nil {
		resp.Body.Close()
	}
	return t.base.RoundTrip(again)
}

// turnedDown reports whether a request was refused before anything was done. A thing that says no itself gives a receipt.
func turnedDown(resp *http.Response) bool {
	return resp.StatusCode == http.StatusForbidden && resp.Header.Get(receiptHeader) == ""
}

// repeatable reports whether a request can be made again; repeat makes it again, of which nothing was done.
func repeatable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

func repeat(req *http.Request) (*http.Request, error) {
	again, body := req.Clone(req.Context()), req.GetBody
	if o, ok := req.Context().Value(outgoingKey{}).(*outgoing); ok {
		body = o.body
	}
	if body == nil {
		return again, nil
	}
	var err error
	again.Body, err = body()
	return again, err
}

// worthAnother asks the gateway for what could change the outcome of a call, and reports whether there is any.
func (t transport) worthAnother(req *http.Request, member identity.MemberID, resp *http.Response, err error) bool {
	n := t.node
	if !repeatable(req) {
		return false
	}
	if err == nil && !turnedDown(resp) {
		return false
	}
	ctx, cancel := context.WithTimeout(req.Context(), askGateway)
	defer cancel()
	switch {
	case outOfReach(err):
		before, _ := n.remembered(ctx, member)
		c, err := n.lookUp(ctx, control.Lookup{Member: member.String()})
		return err == nil && fmt.Sprint(c.Addresses) != fmt.Sprint(before.Addresses) || n.seek(req.Context(), member)
	case err != nil:
		return false
	case resp.Header.Get(owesHeader) != "":
		return t.settles(req, resp)
	}
	var maxAge time.Duration
	if ms, err := strconv.ParseInt(resp.Header.Get(maxAgeHeader), 10, 64); err == nil {
		maxAge = time.Duration(ms) * time.Millisecond
	}
	before, _ := n.proofs.get(n.scope(member))
	if err := n.refresh(ctx, member, maxAge); err != nil {
		n.log.Info("no fresh proof to be had", "error", err)
		return false
	}
	after, _ := n.proofs.get(n.scope(member))
	if callee, _ := peer.Callee(resp); maxAge > 0 || !callee.Showed { // the proof was not good enough
		return !bytes.Equal(before.Evidence.Proof, after.Evidence.Proof)
	}
	return !slices.EqualFunc(before.Evidence.Grants, after.Evidence.Grants, bytes.Equal) ||
		!slices.EqualFunc(before.Evidence.Consents, after.Evidence.Consents, bytes.Equal) || !before.sameHead(after)
}

// Thing returns a client for the thing at a path of the node's own tree.
func (n *Node) Thing(ctx context.Context, path identity.Path) (*thing.Client, error) {
	c, err := n.Resolve(ctx, path)
	if err != nil {
		return nil, err
	}
	return n.ThingOf(c.Member())
}

// ThingOf returns a client for the thing that a member of the node's own tree is.
func (n *Node) ThingOf(member identity.MemberID) (*thing.Client, error) {
	base, err := url.Parse(n.url(member))
	if err != nil {
		return nil, fmt.Errorf("kindred: calling %s: %w", member, err)
	}
	return n.Client(base), nil
}

// Client returns a client for the thing at a URL such as [Node.At] gives. Its streams heal as long as nobody answers, and
// leave a relay once there is a direct way, unless that would count as another use.
func (n *Node) Client(base *url.URL) *thing.Client {
	unreachable := func(err error) bool { return errors.Is(err, peer.ErrUnreachable) }
	better := func(resp *http.Response) bool { return resp.Header.Get(countsHeader) == "" && peer.Superseded(resp) }
	return &thing.Client{HTTP: n.http, Base: base, Healing: thing.Healing{Passing: unreachable, Better: better}}
}

// A Target is what a revocation takes away.
type Target struct {
	Grant  tree.GrantID        // a grant,
	Member identity.MemberID   // or a member,
	Other  identity.TreeID     // or the recognition of another tree,
	Value  []byte              // with its roster entry,
	Chain  [][]byte            // of a member: its certificates
	Pause  bool                // of a grant: only until it is resumed
	Since  time.Time           // of a member: with what it made since; zero: with nothing of that
	Things []identity.MemberID // the things it concerns, to be told directly
}

// Revoke takes something away: at the gateway, and straight at the things it concerns, at the same time. The report
// joins what both came to. It succeeds if the gateway or any thing obeys.
func (n *Node) Revoke(ctx context.Context, target Target) (control.Report, error) {
	notice, err := n.notice(ctx, target)
	if err != nil {
		return control.Report{}, fmt.Errorf("kindred: taking away: %w", err)
	}
	// Kept before it is told to anybody: whatever hears of it first, the gateway hears of it too.
	leaf, err := n.obey(ctx, notice)
	if err != nil {
		return control.Report{}, fmt.Errorf("kindred: taking away: %w", err)
	}
	var report control.Report
	var atGateway error
	told := make([]error, len(target.Things))
	var wait sync.WaitGroup
	wait.Go(func() {
		if n.isolated() { // it was tried a moment ago, and is handed the revocation when it is back
			atGateway = fmt.Errorf("the gateway is out of reach: %w", peer.ErrUnreachable)
			return
		}
		report, atGateway = n.home.Revoke(ctx, notice)
		n.link.tried(n.cfg.Clock(), atGateway)
	})
	for i, member := range target.Things {
		wait.Go(func() { told[i] = n.tell(ctx, member, notice) })
	}
	wait.Wait()
	closed := n.join(ctx, &report, target, told)
	report.Leaf = leaf[:]
	if atGateway != nil && closed == 0 {
		return report, fmt.Errorf("kindred: taking away: %w", errors.Join(append(told, atGateway)...))
	}
	return report, nil
}

// join works what the things said themselves into the gateway's report, and returns how many of them obey.
func (n *Node) join(ctx context.Context, report *control.Report, target Target, told []error) (closed int) {
	for i, member := range target.Things {
		c, err := n.remembered(ctx, member)
		if err != nil {
			continue
		}
		at := -1
		for j := range report.Things {
			if report.Things[j].Path == c.ID.Path {
				at = j
			}
		}
		if at < 0 {
			at = len(report.Things)
			report.Things = append(report.Things, control.Reach{Path: c.ID.Path, Refuses: n.cfg.Clock().Add(tree.DefaultFresh)})
		}
		if told[i] == nil {
			closed++
			report.Things[at] = control.Reach{Path: c.ID.Path, Closed: true}
		}
	}
	return closed
}

// tell brings a revocation to a thing.
func (n *Node) tell(ctx context.Context, member identity.MemberID, notice []byte) error {
	ctx, cancel := context.WithTimeout(ctx, askGateway)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url(member)+revokePath, bytes.NewReader(notice))
	if err != nil {
		return err
	}
	resp, err := n.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s answered %s", member, resp.Status)
	}
	return nil
}

// notice signs a revocation and adds what those need who must obey it before any head does.
func (n *Node) notice(ctx context.Context, target Target) ([]byte, error) {
	k, ok := n.proofs.get(identity.MemberID{})
	if !ok {
		if err := n.refresh(ctx, identity.MemberID{}, 0); err != nil {
			return nil, err
		}
		k, _ = n.proofs.get(identity.MemberID{})
	}
	proof, err := credential.ParseProof(k.Evidence.Proof)
	if err != nil {
		return nil, err
	}
	r := tree.Revocation{Tree: n.self.ID.Tree, Grant: target.Grant, Member: target.Member, Other: target.Other, Pause: target.Pause, Time: n.cfg.Clock().Unix()}
	if !target.Since.IsZero() {
		r.MadeSince = max(1, target.Since.Unix())
	}
	r.Leaf = merkle.LeafHash(r.Key(), target.Value)
	statement, err := signed.Sign(n.key, tree.RevocationType, r, n.self.Raw...)
	if err != nil {
		return nil, err
	}
	return credential.Notice{Statement: statement, Value: target.Value, Chain: target.Chain, Proof: proof}.Marshal()
}

// Deliver hands the gateway the revocations that it has not confirmed. A node that serves does so by itself.
func (n *Node) Deliver(ctx context.Context) error {
	notices, err := n.notices(ctx)
	if err != nil {
		return err
	}
	if err := n.deliver(ctx, notices); err != nil {
		return err
	}
	return n.deliverDemands(ctx)
}

// spki encodes the public part of a key as SubjectPublicKeyInfo.
func spki(key crypto.Signer) ([]byte, error) { return x509.MarshalPKIXPublicKey(key.Public()) }
