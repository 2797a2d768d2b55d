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
}

// A NewsQuery is asked by the gateway of a tree that is recognized: whether something was taken away from this one since
// the head with a sequence. The answer waits for that, a while.
type NewsQuery struct {
	After uint64 `json:"after,omitempty"` // 0: the newest is wanted as it is
}

// News is the newest head, with the list of what was taken away, and of nobody what they are.
type News struct {
	Proof []byte `json:"proof,omitempty"` // an encoded credential.Proof without entries; none: nothing was taken away
}

// VisitorHandler serves visitors, as Handler serves members and within bounds of its own, so that none of them takes a
// member's share.
func VisitorHandler(home Visitors, caller func(context.Context) (credential.Principal, bool), log *slog.Logger) http.Handler {
	s := server{nil, caller, log, &shares{calls: maxCalls, watches: maxWatches, waiting: maxWaiting}}
	mux := http.NewServeMux()
	mux.Handle("POST "+Prefix+"resolve", handle(s, home.Resolve))
	mux.Handle("POST "+Prefix+"prove", handle(s, home.Prove))
	mux.Handle("POST "+Prefix+"grant", handle(s, home.Grant))
	mux.Handle("POST "+Prefix+"unshare", handle(s, home.Unshare))
	mux.Handle("POST "+Prefix+"news", handle(s, home.News))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, &Error{Code: Refused, Message: "refused"})
	})
	return mux
}
