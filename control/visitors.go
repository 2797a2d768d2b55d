package control

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/kindred-iot/kindred/credential"
)

// VisitorAskPath is where a gateway takes what members of other trees ask for, a VisitorAsk, and answers with an AskState:
// also of those who have nothing there yet, and are strangers otherwise. Asking again tells what has become of it.
const VisitorAskPath = Prefix + visitorAsk

const visitorAsk = "visitor-ask"

// A VisitorAsk is an ask by somebody of another tree, and the proof that they are live there.
type VisitorAsk struct {
	Raw      []byte `json:"raw"`                // a signed grant.Ask
	Proof    []byte `json:"proof"`              // an encoded credential.Proof
	Withdraw bool   `json:"withdraw,omitempty"` // it is not asked for any more
}

// MaxVisitorAsk bounds a VisitorAsk, in bytes of JSON.
const MaxVisitorAsk = 2 * credential.MaxHello

// Visitors answers members of other trees, of all calls of this package few: where a thing is that is shared with them,
// the proof that it is, and passing it on and taking that back. A Visitors decides, as a Home does, what each may ask and see.
type Visitors interface {
	Resolve(ctx context.Context, who credential.Principal, q Lookup) (Contact, error)
	Prove(ctx context.Context, who credential.Principal, q ProofQuery) (Evidence, error)
	Grant(ctx context.Context, who credential.Principal, g SignedGrant) (None, error)
	Unshare(ctx context.Context, who credential.Principal, g GrantRef) (None, error)
	News(ctx context.Context, who credential.Principal, q NewsQuery) (News, error)
	Given(ctx context.Context, who credential.Principal, q None) (Given, error)
}

// A NewsQuery is asked by the gateway of a tree that is recognized: whether something was taken away from this one since
// the head with a sequence, and whether other things end soon. The answer waits for that, a while.
type NewsQuery struct {
	After  uint64 `json:"after,omitempty"`  // 0: the newest is wanted as it is
	Ending []byte `json:"ending,omitempty"` // 8 bytes that stand for what it was told last of what ends soon; none: of nothing
}

// News is the newest head, with the list of what was taken away, and of nobody what they are; and which members of the
// caller's tree were given something that ends soon, which is told with every answer.
type News struct {
	Proof  []byte      `json:"proof,omitempty"` // an encoded credential.Proof without entries; none: nothing was taken away
	Ending []EndingFor `json:"ending,omitempty"`
}

// MaxEndings is how many members News tells of, at most.
const MaxEndings = 64

// An EndingFor says that something ends soon that a member of the caller's tree was given here: they may ask what.
type EndingFor struct {
	Member string `json:"member"` // 26 characters
	Tag    []byte `json:"tag"`    // 8 bytes, which change with what there is to tell
}

// An EndingIn says, to an app, that something ends soon that it, or whoever it acts for, was given in another home.
type EndingIn struct {
	Tree string `json:"tree"` // 52 characters
	Tag  []byte `json:"tag"`  // 8 or 16 bytes, which change with what there is to tell
}

// Given is what the caller was given here, the first to end first, at most MaxGiven. It proves nothing: Resolve and Prove do.
type Given struct {
	Grants []GivenGrant `json:"grants,omitempty"`
}

// MaxGiven is how many grants a Given names, at most.
const MaxGiven = 64

// A GivenGrant names a grant.
type GivenGrant struct {
	ID    string `json:"id"`
	Thing string `json:"thing"`           // or place: 26 characters
	Until int64  `json:"until,omitempty"` // Unix time; 0: it has no end
}

// VisitorHandler serves visitors, as Handler serves members and within bounds of its own, so that none of them takes a
// member's share, nor another home's.
func VisitorHandler(home Visitors, caller func(context.Context) (credential.Principal, bool), log *slog.Logger) http.Handler {
	s := server{nil, caller, log, aHome, &shares{calls: maxVisits, waiting: maxWaiting}}
	mux := http.NewServeMux()
	mux.Handle("POST "+Prefix+"resolve", handle(s, home.Resolve))
	mux.Handle("POST "+Prefix+"prove", handle(s, home.Prove))
	mux.Handle("POST "+Prefix+"grant", handle(s, home.Grant))
	mux.Handle("POST "+Prefix+"unshare", handle(s, home.Unshare))
	mux.Handle("POST "+Prefix+"news", handle(s, home.News))
	mux.Handle("POST "+Prefix+"given", handle(s, home.Given))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, &Error{Code: Refused, Message: "refused"})
	})
	return mux
}
