package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/kindred-iot/kindred/agreement"
	"github.com/kindred-iot/kindred/pairing"
)

// maxAnswer, of another tree's gateway maxForeign, and maxEvent bound what the client reads, in bytes.
const (
	maxAnswer = 64 << 20
	maxEvent  = 1 << 20

	maxForeign = 1 << 20
)

// A Client calls a gateway. Errors that the gateway answered are *Error.
type Client struct {
	HTTP *http.Client
	Base string // the gateway's URL, kindred://MEMBER.TREE

	// Foreign says that the gateway is of another tree, whose owner may mean ill: less is read of what it answers, and its
	// hints, which users take for those of their own home, are dropped.
	Foreign bool
}

// Resolve finds a member.
func (c Client) Resolve(ctx context.Context, q Lookup) (Contact, error) {
	return call[Contact](ctx, c, "resolve", q)
}

// Prove fetches a proof of oneself.
func (c Client) Prove(ctx context.Context, q ProofQuery) (Evidence, error) {
	return call[Evidence](ctx, c, "prove", q)
}

// Roster fetches what of the tree the caller may see.
func (c Client) Roster(ctx context.Context) (Roster, error) {
	return call[Roster](ctx, c, "roster", None{})
}

// AddPlace makes a place.
func (c Client) AddPlace(ctx context.Context, p Place) error { return do(ctx, c, "place", p) }

// Grant hands in a signed grant.
func (c Client) Grant(ctx context.Context, raw []byte) error {
	return do(ctx, c, "grant", SignedGrant{raw})
}

// Recognize hands in the signed recognition of another tree.
func (c Client) Recognize(ctx context.Context, raw []byte) error {
	return do(ctx, c, "recognize", SignedRecognition{raw})
}

// Consent hands in a signed consent to a grant, or to a class.
func (c Client) Consent(ctx context.Context, raw []byte) error {
	return do(ctx, c, "consent", SignedConsent{raw})
}

// Classify hands in a signed class of an affordance of a thing.
func (c Client) Classify(ctx context.Context, raw []byte) (Classified, error) {
	return call[Classified](ctx, c, "classify", SignedClass{raw})
}

// Unshare takes back a grant that the caller, of another tree than the gateway, passed on.
func (c Client) Unshare(ctx context.Context, id string) error {
	return do(ctx, c, "unshare", GrantRef{id})
}

// Introduce tells the gateway of an introduction.
func (c Client) Introduce(ctx context.Context, o pairing.IntroductionOffer) error {
	return do(ctx, c, "introduce", o)
}

// Introduced waits until an introduction was taken, a few seconds at most, and returns what became of it.
func (c Client) Introduced(ctx context.Context, id pairing.ID) (pairing.Acquaintance, error) {
	return call[pairing.Acquaintance](ctx, c, "introduced", IntroductionQuery{id})
}

// Withdraw hands in an agreement that was withdrawn, with the demand for deletion.
func (c Client) Withdraw(ctx context.Context, p agreement.Papers) error {
	return do(ctx, c, "withdraw", Papers{p})
}

// Deleted hands in the caller's signed answer to a demand.
func (c Client) Deleted(ctx context.Context, raw []byte) error {
	return do(ctx, c, "deleted", SignedDeletion{raw})
}

// Withdrawn lists the agreements that were withdrawn: to a service those that it has yet to do something about.
func (c Client) Withdrawn(ctx context.Context) (Withdrawals, error) {
	return call[Withdrawals](ctx, c, "withdrawn", None{})
}

// Revoke hands in a revocation, an encoded credential.Notice, and says what has become of it.
func (c Client) Revoke(ctx context.Context, notice []byte) (Report, error) {
	return call[Report](ctx, c, "revoke", SignedNotice{notice})
}

// Ask hands in an ask, a signed grant.Ask.
func (c Client) Ask(ctx context.Context, raw []byte) error { return do(ctx, c, "ask", SignedAsk{raw}) }

// News asks the gateway of another tree what was taken away there, and waits for that a while.
func (c Client) News(ctx context.Context, q NewsQuery) (News, error) {
	return call[News](ctx, c, "news", q)
}

// Given asks the gateway of another tree what the caller was given there.
func (c Client) Given(ctx context.Context) (Given, error) {
	return call[Given](ctx, c, "given", None{})
}

// VisitorAsk hands in an ask to the gateway of another tree, or asks what became of it.
func (c Client) VisitorAsk(ctx context.Context, a VisitorAsk) (AskState, error) {
	return call[AskState](ctx, c, visitorAsk, a)
}

// Asks fetches the asks that the caller may see.
func (c Client) Asks(ctx context.Context) (Asks, error) { return call[Asks](ctx, c, "asks", None{}) }

// AnswerAsk says what became of an ask.
func (c Client) AnswerAsk(ctx context.Context, a AskAnswer) error { return do(ctx, c, "asked", a) }

// Follow tells how far a taking-back has got, once more things obey than the caller knows of; five seconds at most.
func (c Client) Follow(ctx context.Context, f Following) (Report, error) {
	return call[Report](ctx, c, "follow", f)
}

// Resume lets a paused grant allow again what it says.
func (c Client) Resume(ctx context.Context, id string) error {
	return do(ctx, c, "resume", GrantRef{id})
}

// Obeyed says that a revocation is obeyed here.
func (c Client) Obeyed(ctx context.Context, leaf []byte) error {
	return do(ctx, c, "obeyed", Obeyed{leaf})
}

// Limit changes how fresh a proof a thing asks for.
func (c Client) Limit(ctx context.Context, l Limits) error { return do(ctx, c, "limit", l) }

// Conceal asks that what some people do at a thing is sealed to them in its journal.
func (c Client) Conceal(ctx context.Context, p Privacy) error { return do(ctx, c, "conceal", p) }

// Announce says where the caller can be reached, and returns where the gateway can.
func (c Client) Announce(ctx context.Context, address []byte) (Contact, error) {
	return call[Contact](ctx, c, "announce", SignedAddress{address})
}

// Publish says to which key is sealed for the caller.
func (c Client) Publish(ctx context.Context, recipient []byte) error {
	return do(ctx, c, "publish", SignedRecipient{recipient})
}

// Readers asks whom the calling device may seal to.
func (c Client) Readers(ctx context.Context, q ReadersQuery) (Readers, error) {
	return call[Readers](ctx, c, "readers", q)
}

// Invite tells the gateway of an invitation.
func (c Client) Invite(ctx context.Context, o pairing.Offer) error { return do(ctx, c, "invite", o) }

// Joins lists who waits to be confirmed.
func (c Client) Joins(ctx context.Context) (Joins, error) {
	return call[Joins](ctx, c, "joins", None{})
}

// Join waits until an invitation is past a stage, a few seconds at most, and returns how it stands.
func (c Client) Join(ctx context.Context, q JoinQuery) (pairing.Request, error) {
	return call[pairing.Request](ctx, c, "join", q)
}

// Answer confirms or refuses a new member.
func (c Client) Answer(ctx context.Context, a JoinAnswer) error { return do(ctx, c, "answer", a) }

// Record hands in a part of the caller's journal.
func (c Client) Record(ctx context.Context, b Batch) (Recorded, error) {
	return call[Recorded](ctx, c, "record", b)
}

// Journals asks what journals there are.
func (c Client) Journals(ctx context.Context, q JournalsQuery) (Journals, error) {
	return call[Journals](ctx, c, "journals", q)
}

// Excerpt fetches entries with what proves them.
func (c Client) Excerpt(ctx context.Context, q ExcerptQuery) (Excerpt, error) {
	return call[Excerpt](ctx, c, "excerpt", q)
}

// Entries fetches a part of a member's journal.
func (c Client) Entries(ctx context.Context, q EntriesQuery) (Entries, error) {
	return call[Entries](ctx, c, "entries", q)
}

// History fetches what happened.
func (c Client) History(ctx context.Context, q HistoryQuery) (History, error) {
	return call[History](ctx, c, "history", q)
}

// Watch calls each with the gateway's events until ctx ends, the gateway goes away, or each fails.
func (c Client) Watch(ctx context.Context, each func(Event) error) error {
	resp, err := c.send(ctx, http.MethodGet, "watch", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("control: reading an event: %w", err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("control: watching: %w", err)
	}
	return fmt.Errorf("control: watching: %w", io.ErrUnexpectedEOF)
}

func do(ctx context.Context, c Client, name string, question any) error {
	_, err := call[None](ctx, c, name, question)
	return err
}

// call asks one question. Every question may be asked twice: it is repeated where a kept connection turned out dead.
func call[A any](ctx context.Context, c Client, name string, question any) (A, error) {
	var answer A
	body, err := json.Marshal(question)
	if err != nil {
		return answer, fmt.Errorf("control: asking %q: %w", name, err)
	}
	resp, err := c.send(ctx, http.MethodPost, name, body)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	limit := int64(maxAnswer)
	if c.Foreign {
		limit = maxForeign
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, limit)).Decode(&answer); err != nil {
		return answer, fmt.Errorf("control: reading the answer to %q: %w", name, err)
	}
	return answer, nil
}

func (c Client) send(ctx context.Context, method, name string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Base+Prefix+name, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("control: asking %q: %w", name, err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
		req.Header["Idempotency-Key"] = nil // net/http: may be repeated, and nothing is sent
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("control: asking %q: %w", name, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	e := &Error{}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxQuestion)).Decode(e)
	if err != nil || e.Code == "" {
		e = &Error{Code: Unavailable, Message: "the gateway answered " + resp.Status}
		if resp.StatusCode == http.StatusForbidden {
			e = &Error{Code: Refused, Message: "refused"}
		}
	}
	if c.Foreign {
		e.Hint = ""
	}
	return nil, e
}
