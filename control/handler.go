package control

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
)

// maxQuestion bounds a question, in bytes. The largest is a journal batch.
const maxQuestion = 1 << 20

var statusOf = map[Code]int{
	Refused:     http.StatusForbidden,
	NotFound:    http.StatusNotFound,
	Invalid:     http.StatusBadRequest,
	Conflict:    http.StatusConflict,
	Unavailable: http.StatusServiceUnavailable,
	Later:       http.StatusTooManyRequests,
}

// Handler serves home. caller returns the verified caller of a request; without one every call is refused. Of each
// member 16 calls are answered at a time, and 64 more wait; it may have four watches.
func Handler(home Home, caller func(context.Context) (credential.Principal, bool), log *slog.Logger) http.Handler {
	s := server{home, caller, log, aMember, &shares{calls: maxCalls, watches: maxWatches, waiting: maxWaiting}}
	mux := http.NewServeMux()
	for name, call := range map[string]http.Handler{
		"resolve":      handle(s, home.Resolve),
		"prove":        handle(s, home.Prove),
		"roster":       handle(s, home.Roster),
		"place":        handle(s, home.AddPlace),
		"grant":        handle(s, home.Grant),
		"consent":      handle(s, home.Consent),
		"classify":     handle(s, home.Classify),
		"withdraw":     handle(s, home.Withdraw),
		"deleted":      handle(s, home.Deleted),
		"withdrawn":    handle(s, home.Withdrawn),
		"revoke":       handle(s, home.Revoke),
		"ask":          handle(s, home.Ask),
		"asks":         handle(s, home.Asks),
		"asked":        handle(s, home.AnswerAsk),
		"follow":       handle(s, home.Follow),
		"neighbours":   handle(s, home.Neighbours),
		"resume":       handle(s, home.Resume),
		"obeyed":       handle(s, home.Obeyed),
		"limit":        handle(s, home.Limit),
		"announce":     handle(s, home.Announce),
		"publish":      handle(s, home.Publish),
		"readers":      handle(s, home.Readers),
		"invite":       handle(s, home.Invite),
		"joins":        handle(s, home.Joins),
		"join":         handle(s, home.Join),
		"answer":       handle(s, home.Answer),
		"record":       handle(s, home.Record),
		"history":      handle(s, home.History),
		"conceal":      handle(s, home.Conceal),
		"journals":     handle(s, home.Journals),
		"entries":      handle(s, home.Entries),
		"excerpt":      handle(s, home.Excerpt),
		"certificates": handle(s, home.Certificates),
		"vouch":        handle(s, home.Vouch),
		"certify":      handle(s, home.Certify),
		"lan":          handle(s, home.LAN),
		"forwards":     handle(s, home.Forwards),
		"tool":         handle(s, home.AdmitTool),
	} {
		mux.Handle("POST "+Prefix+name, call)
	}
	mux.Handle("POST "+Prefix+"recognize", handle(s, home.Recognize))
	mux.Handle("POST "+Prefix+"introduce", handle(s, home.Introduce))
	mux.Handle("POST "+Prefix+"introduced", handle(s, home.Introduced))
	mux.HandleFunc("GET "+Prefix+"watch", s.watch)
	return mux
}

type server struct {
	home   Home
	caller func(context.Context) (credential.Principal, bool)
	log    *slog.Logger
	whose  func(credential.Principal) identity.TreeMember // share a caller takes of
	shares *shares
}

// handle turns a method of Home into a handler.
func handle[Q, A any](s server, call func(context.Context, credential.Principal, Q) (A, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, ok := s.caller(r.Context())
		if !ok {
			s.fail(w, r, &Error{Code: Refused, Message: "refused"})
			return
		}
		done, err := s.shares.call(r.Context(), s.whose(who))
		if err != nil {
			s.fail(w, r, err)
			return
		}
		defer done()
		var question Q
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxQuestion))
		d.DisallowUnknownFields()
		if err := d.Decode(&question); err != nil {
			s.fail(w, r, &Error{Code: Invalid, Message: "the question cannot be read: " + err.Error()})
			return
		}
		answer, err := call(r.Context(), who, question)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			s.log.Debug("answering a control call", "path", r.URL.Path, "error", err)
		}
	})
}

// watch streams events, a line each.
func (s server) watch(w http.ResponseWriter, r *http.Request) {
	who, ok := s.caller(r.Context())
	if !ok {
		s.fail(w, r, &Error{Code: Refused, Message: "refused"})
		return
	}
	done, err := s.shares.watch(s.whose(who))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer done()
	w.Header().Set("Content-Type", "application/jsonl")
	rc := http.NewResponseController(w)
	if err := rc.Flush(); err != nil {
		return
	}
	lines := json.NewEncoder(w)
	err = s.home.Watch(r.Context(), who, func(e Event) error {
		return errors.Join(lines.Encode(e), rc.Flush())
	})
	if err != nil && r.Context().Err() == nil {
		s.log.Debug("a watch ended", "who", who.ID.Path, "error", err)
	}
}

// fail answers with a problem. Errors that were not made for the caller stay here.
func (s server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var e *Error
	if !errors.As(err, &e) {
		if r.Context().Err() == nil {
			s.log.Error("a control call failed", "path", r.URL.Path, "error", err)
		}
		e = &Error{Code: Unavailable, Message: "the gateway could not do it", Hint: "its log says why"}
	}
	if err := Fail(w, e); err != nil {
		s.log.Debug("answering a control call", "path", r.URL.Path, "error", err)
	}
}

// Fail answers a request with a failure. Its error is that of writing to a caller who has gone away.
func Fail(w http.ResponseWriter, e *Error) error {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(statusOf[e.Code])
	return json.NewEncoder(w).Encode(e)
}
