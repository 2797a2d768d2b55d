package pairing

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
)

// appLife is how long the certificate is valid that a person's first app gets, unless the person's own ends before.
const appLife = 2 * 365 * 24 * time.Hour

const (
	firstPause = 250 * time.Millisecond
	maxPause   = 8 * time.Second
	maxTries   = 6 // of a claim nobody has acknowledged; about eight seconds of pauses
)

// Joined is what a new member is, verified against its invitation.
type Joined struct {
	Leaf    identity.Chain     // of the device, app or service; of a person or owner: of the first app
	CA      identity.Chain     // of a person or owner; zero for others
	Trusted credential.Trusted // the tree: its charter and, with a proof, its newest head
	Proof   []byte             // that the leaf and all above it are live: an encoded credential.Proof; nil if none is there yet
	Address []byte             // the gateway's address record, as it was given: to be verified by those who know its form
	Extra   []byte             // anything else, as it was given
}

// Join claims an invitation with keys and waits until the member is let in. The client must reach the gateway that
// the invitation names, by its key, at base (a URL without the path), and give it half a minute for an answer. When somebody has to confirm, progress is
// called with the six digits to show; it may be nil.
//
// Everything that Joined holds apart from its opaque parts has been verified: the charter is the one that the
// invitation names, the certificates are for these keys, of the kind and at the path invited, and live if there is a
// proof. Errors wrap ErrUsed, ErrExpired, ErrUnknown or ErrRefused, where it was that. A claim is repeated for some
// seconds, and once it was acknowledged, questions for the result until ctx ends. Join may be called again with the
// same keys after any error that is none of those, also by a later process.
func Join(ctx context.Context, client *http.Client, base string, inv Invitation, keys Keys, progress func(digits string)) (Joined, error) {
	joined, err := join(ctx, client, base, inv, keys, progress)
	if err != nil {
		return Joined{}, fmt.Errorf("pairing: joining as %s: %w", inv.Path, err)
	}
	return joined, nil
}

func join(ctx context.Context, client *http.Client, base string, inv Invitation, keys Keys, progress func(string)) (Joined, error) {
	claim, err := NewClaim(inv, keys)
	if err != nil {
		return Joined{}, err
	}
	public, err := claim.Check(inv)
	if err != nil {
		return Joined{}, err
	}
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	j := joiner{client: &c, base: strings.TrimSuffix(base, "/"), inv: inv, keys: keys, public: public}
	a, err := j.ask(ctx, ClaimPath, claimQuestion{Token: inv.token(), Claim: claim}, maxTries)
	if err != nil {
		return Joined{}, err
	}
	if a.State == StageWaiting && progress != nil {
		digits, err := inv.Digits(public)
		if err != nil {
			return Joined{}, err
		}
		progress(digits)
	}
	var app []byte
	for a.State != StageJoined {
		if a.State == StageSigned && app == nil && keys.CA != nil {
			if app, err = j.certifyApp(a, time.Now()); err != nil {
				return Joined{}, err
			}
		}
		before, began := a.State, time.Now()
		q := resultQuestion{Token: inv.token(), ID: inv.ID(), App: app}
		if a, err = j.ask(ctx, ResultPath, q, 0); err != nil {
			return Joined{}, err
		}
		if a.State == before && time.Since(began) < time.Second {
			if err := sleep(ctx, time.Second); err != nil { // it should have stayed open
				return Joined{}, err
			}
		}
	}
	return j.accept(a, time.Now())
}

// joiner is one Join under way.
type joiner struct {
	client *http.Client
	base   string
	inv    Invitation
	keys   Keys
	public PublicKeys
}

// ask asks until there is an answer, or tries times unless that is 0.
func (j joiner) ask(ctx context.Context, path string, question any, tries int) (answer, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return answer{}, err
	}
	pause := firstPause
	for n := 1; ; n++ {
		began := time.Now()
		a, again, err := j.post(ctx, path, body)
		switch {
		case err == nil:
			return a, nil
		case ctx.Err() != nil:
			return answer{}, fmt.Errorf("%w; the last try: %w", ctx.Err(), err)
		case !again || n == tries:
			return answer{}, err
		}
		if time.Since(began) > maxPause/2 {
			pause = firstPause // it was open for a while, as it should be
		}
		if ended := sleep(ctx, pause); ended != nil {
			return answer{}, fmt.Errorf("%w; the last try: %w", ended, err)
		}
		pause = min(2*pause, maxPause)
	}
}

// sleep pauses; it returns the context's error if that ends before.
func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// post asks once. again says that it may help to repeat an error.
func (j joiner) post(ctx context.Context, path string, body []byte) (a answer, again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, j.base+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, false, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := j.client.Do(req)
	if err != nil {
		return answer{}, true, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return answer{}, true, err
	case len(data) > maxAnswer:
		return answer{}, false, fmt.Errorf("the gateway's answer is longer than %d bytes", maxAnswer)
	case resp.StatusCode != http.StatusOK:
		var p problem
		if json.Unmarshal(data, &p) != nil || p.Code == "" {
			return answer{}, resp.StatusCode >= 500, fmt.Errorf("the gateway answered %q", clean(resp.Status, maxReason))
		}
		err, again = p.err()
		return answer{}, again, err
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return answer{}, false, fmt.Errorf("the gateway's answer: %w", err)
	}
	if a.State != StageWaiting && a.State != StageSigned && a.State != StageJoined {
		return answer{}, false, fmt.Errorf("the gateway answered that the invitation is %s", a.State)
	}
	return a, false, nil
}

// trust opens the charter of an answer, which must be the one that the invitation names.
func (j joiner) trust(a answer) (credential.Trusted, error) {
	trusted, err := credential.Trust(j.inv.Tree, a.Charter)
	if err != nil {
		return credential.Trusted{}, err
	}
	if c := trusted.Charter(); c.Digest != j.inv.Charter || c.Epoch != j.inv.Epoch {
		return credential.Trusted{}, fmt.Errorf("the gateway has charter %s of epoch %d, the invitation names %s of epoch %d: ask for a new one",
			c.Digest, c.Epoch, j.inv.Charter, j.inv.Epoch)
	}
	return trusted, nil
}

// certifyApp certifies a person's first app with the CA that was certified just now.
func (j joiner) certifyApp(a answer, now time.Time) ([]byte, error) {
	trusted, err := j.trust(a)
	if err != nil {
		return nil, err
	}
	root := trusted.Charter().RootCertificate()
	ca, _, err := verifyChains(j.inv.Tree, root, j.inv.Kind, j.inv.Path, j.public, a.Chain, nil, now)
	if err != nil {
		return nil, err
	}
	authority, err := identity.NewAuthority(ca, j.keys.CA)
	if err != nil {
		return nil, err
	}
	member, err := identity.NewMemberID(rand.Reader)
	if err != nil {
		return nil, err
	}
	chain, err := authority.Issue(identity.Subject{
		Kind: identity.App, Member: member, Name: j.keys.App, Key: j.public.Leaf,
		NotBefore: now.Add(-backdated), NotAfter: now.Add(appLife),
	})
	if err != nil {
		return nil, err
	}
	return chain[0], nil
}

// accept verifies the final answer.
func (j joiner) accept(a answer, now time.Time) (Joined, error) {
	trusted, err := j.trust(a)
	if err != nil {
		return Joined{}, err
	}
	switch hasApp := a.App != nil; {
	case bringsCA(j.inv.Kind) && !hasApp:
		return Joined{}, fmt.Errorf("the gateway let the %s in without its app", j.inv.Kind)
	case !bringsCA(j.inv.Kind) && hasApp:
		return Joined{}, fmt.Errorf("the gateway sent the certificate of an app, which a %s has not", j.inv.Kind)
	}
	root := trusted.Charter().RootCertificate()
	member, app, err := verifyChains(j.inv.Tree, root, j.inv.Kind, j.inv.Path, j.public, a.Chain, a.App, now)
	if err != nil {
		return Joined{}, err
	}
	joined := Joined{Leaf: member, Trusted: trusted, Proof: a.Proof, Address: a.Address, Extra: a.Extra}
	if bringsCA(j.inv.Kind) {
		joined.Leaf, joined.CA = app, member
	}
	if a.Proof == nil {
		return joined, nil
	}
	proof, err := credential.ParseProof(a.Proof)
	if err != nil {
		return Joined{}, err
	}
	live, next, err := credential.VerifyProof(proof, trusted, now)
	if err != nil {
		return Joined{}, err
	}
	if err := live.Check(joined.Leaf); err != nil {
		return Joined{}, err
	}
	joined.Trusted = next
	return joined, nil
}
