package gateway

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/signed"
)

// introductions are those that owners of this home gave away and that are not over. Whoever holds one asks, as a stranger,
// about this home, and answers once.
//
//	      Taken, with or without an answer           the owner's app asks
//	open ─────────────────────────────────▶ taken ─────────────────────────▶ told
//	  └──────────────── its time is over ─────┴──▶ gone
type introductions struct {
	g *Gateway

	mu   sync.Mutex // held while records are written: each is answered once
	news chan struct{}
}

// An introductionRecord is an introduction on disk, under "introduction/ID".
type introductionRecord struct {
	By           string // member ID of the owner's app that made it
	Token        []byte // SHA-256
	Expires      time.Time
	Acquaintance pairing.Acquaintance
}

const (
	introductionPrefix = "introduction/"
	maxIntroductions   = 64                    // that are open at a time
	maxIntroductionsOf = maxIntroductions / 2  // of one app: what a stolen phone made keeps nobody else from it
	maxResponse        = 2 * pairing.MaxAnswer // bytes of JSON
	responseTime       = 10 * time.Second
)

// told returns a channel that is closed when some introduction was answered.
func (is *introductions) told() <-chan struct{} {
	is.mu.Lock()
	defer is.mu.Unlock()
	if is.news == nil {
		is.news = make(chan struct{})
	}
	return is.news
}

func (is *introductions) load(ctx context.Context, id pairing.ID) (r introductionRecord, ok bool, err error) {
	data, err := is.g.db.Load(ctx, introductionPrefix+id.String())
	if err != nil || data == nil {
		return r, false, err
	}
	err = json.Unmarshal(data, &r)
	return r, err == nil && is.g.cfg.Clock().Before(r.Expires.Add(credential.MaxSkew)), err
}

func (is *introductions) save(ctx context.Context, id pairing.ID, r introductionRecord, gone ...string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	changes := map[string][]byte{introductionPrefix + id.String(): data}
	for _, key := range gone {
		changes[key] = nil
	}
	return is.g.db.Save(ctx, changes)
}

// add keeps a new introduction, and drops those that are over.
func (is *introductions) add(ctx context.Context, by identity.MemberID, o pairing.IntroductionOffer) error {
	now := is.g.cfg.Clock()
	if len(o.Token) != len(signed.Digest{}) || !now.Before(o.Expires) || o.Expires.After(now.Add(pairing.MaxLife+credential.MaxSkew)) {
		return invalid(errors.New("an introduction has the hash of a token, and a time at which it is over within a week"))
	}
	is.mu.Lock()
	defer is.mu.Unlock()
	var over []string
	open, theirs := 0, 0
	err := is.g.db.Scan(ctx, introductionPrefix, func(key string, value []byte) error {
		var r introductionRecord
		if err := json.Unmarshal(value, &r); err != nil || now.After(r.Expires.Add(credential.MaxSkew)) {
			over = append(over, key)
		} else if open++; strings.TrimPrefix(key, introductionPrefix) == o.ID.String() {
			return &control.Error{Code: control.Conflict, Message: "there is an introduction of this ID"}
		} else if r.By == by.String() {
			theirs++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if open >= maxIntroductions || theirs >= maxIntroductionsOf {
		return &control.Error{Code: control.Conflict, Message: fmt.Sprintf("%d introductions are open already", open), Hint: "wait until some are over"}
	}
	return is.save(ctx, o.ID, introductionRecord{By: by.String(), Token: o.Token, Expires: o.Expires}, over...)
}

// respond takes what the holder of an introduction says.
func (is *introductions) respond(ctx context.Context, q pairing.Response) error {
	is.mu.Lock()
	defer is.mu.Unlock()
	r, ok, err := is.load(ctx, q.ID)
	if err != nil {
		return err
	}
	if sum := signed.Sum(q.Token); !ok || subtle.ConstantTimeCompare(sum[:], r.Token) != 1 {
		return pairing.ErrUnknown
	}
	switch {
	case r.Acquaintance.Taken:
		if q.Taken && slices.Equal(q.Answer, r.Acquaintance.Answer) && slices.Equal(q.Binding, r.Acquaintance.Binding) {
			return nil // said again because the answer was lost
		}
		return pairing.ErrUsed
	case !q.Taken:
		return nil
	}
	r.Acquaintance = pairing.Acquaintance{Taken: true, Answer: q.Answer, Binding: q.Binding}
	if err := is.save(ctx, q.ID, r); err != nil {
		return err
	}
	if is.news != nil {
		close(is.news)
		is.news = nil
	}
	return nil
}

// ServeHTTP serves holders of introductions, who are strangers. Without one nothing is said.
func (is *introductions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(responseTime)) // not every server can
	var q pairing.Response
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxResponse))
	if err == nil {
		err = json.Unmarshal(body, &q)
	}
	if err == nil && (len(q.Answer) > pairing.MaxAnswer || len(q.Token) > 64 || len(q.Binding) > 64) {
		err = errors.New("it is too long")
	}
	if err != nil {
		http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
		return
	}
	switch err := is.respond(r.Context(), q); {
	case errors.Is(err, pairing.ErrUsed):
		http.Error(w, err.Error(), http.StatusConflict)
		return
	case errors.Is(err, pairing.ErrUnknown):
		http.Error(w, http.StatusText(http.StatusForbidden), http.StatusForbidden)
		return
	case err != nil:
		is.g.cfg.Log.Error("an introduction was not answered", "error", err)
		http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
		return
	}
	self := is.g.contact(is.g.started().Self())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	// A client that is gone asks again.
	_ = json.NewEncoder(w).Encode(pairing.Greeting{Charter: is.g.keeper.Charter().Raw, Chain: self.Chain, Address: self.Address})
}

// Introduce keeps an introduction that the caller, an owner's app, made.
func (h *home) Introduce(ctx context.Context, who credential.Principal, o pairing.IntroductionOffer) (control.None, error) {
	if !who.Owner() {
		return control.None{}, refused("only owners introduce their home")
	}
	return control.None{}, h.introductions.add(ctx, who.Member(), o)
}

// Introduced waits a moment until an introduction of the caller's was taken, and says what became of it.
func (h *home) Introduced(ctx context.Context, who credential.Principal, q control.IntroductionQuery) (pairing.Acquaintance, error) {
	ctx, cancel := context.WithTimeout(ctx, joinWait)
	defer cancel()
	for {
		news := h.introductions.told()
		r, ok, err := h.introductions.load(context.WithoutCancel(ctx), q.ID)
		switch {
		case err != nil:
			return pairing.Acquaintance{}, err
		case !ok || r.By != who.Member().String():
			return pairing.Acquaintance{}, &control.Error{Code: control.NotFound, Message: "there is no such introduction, or its time is over"}
		case r.Acquaintance.Taken:
			return r.Acquaintance, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return pairing.Acquaintance{}, nil
		}
	}
}
