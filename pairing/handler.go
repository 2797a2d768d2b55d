package pairing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Where the desk is served.
const (
	ClaimPath  = "/pair/claim"
	ResultPath = "/pair/result"
)

const (
	maxQuestion = 16 << 10  // bytes
	maxAnswer   = 512 << 10 // bytes
	bodyTime    = 10 * time.Second
)

type claimQuestion struct {
	Token []byte `json:"token"`
	Claim Claim  `json:"claim"`
}

type resultQuestion struct {
	Token []byte `json:"token"`
	ID    ID     `json:"id"`
	App   []byte `json:"app,omitempty"`
}

// answer is what a joiner is told.
type answer struct {
	State   Stage    `json:"state"`
	Charter []byte   `json:"charter,omitempty"`
	Chain   [][]byte `json:"chain,omitempty"`
	App     []byte   `json:"app,omitempty"`
	Proof   []byte   `json:"proof,omitempty"`
	Address []byte   `json:"address,omitempty"`
	Extra   []byte   `json:"extra,omitempty"`
}

// Handler returns what joiners call. They are strangers to the tree, so it has to be served to everybody.
func (d *Desk) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+ClaimPath, d.serve(d.serveClaim))
	mux.HandleFunc("POST "+ResultPath, d.serve(d.serveResult))
	return mux
}

// serve turns a function of a body into a handler.
func (d *Desk) serve(f func(ctx context.Context, body []byte) (answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		// Not every server can set a deadline; those that cannot have their own.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
		body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxQuestion))
		if err != nil {
			err = fmt.Errorf("%w: %w", errInvalid, err)
		}
		var a answer
		if err == nil {
			a, err = f(req.Context(), body)
		}
		w.Header().Set("Cache-Control", "no-store")
		if err == nil {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(a) // a client that is gone asks again
			return
		}
		status, p := problemOf(err)
		if p.Code == "internal" && req.Context().Err() == nil {
			d.cfg.Log.Error("pairing failed", "error", err)
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(p)
	}
}

func (d *Desk) serveClaim(ctx context.Context, body []byte) (answer, error) {
	var q claimQuestion
	if err := decode(body, &q); err != nil {
		return answer{}, err
	}
	e, err := d.authorized(q.Claim.ID, q.Token)
	if err != nil {
		return answer{}, err
	}
	var a answer
	err = d.withRecord(ctx, q.Claim.ID, e, func(r *record) error {
		if err := d.claim(ctx, q.Claim.ID, e, r, q.Claim); err != nil {
			return err
		}
		if err := d.drive(ctx, q.Claim.ID, e, r); err != nil {
			return err
		}
		a, err = d.answer(ctx, r)
		return err
	})
	return a, err
}

func (d *Desk) serveResult(ctx context.Context, body []byte) (answer, error) {
	var q resultQuestion
	if err := decode(body, &q); err != nil {
		return answer{}, err
	}
	e, err := d.authorized(q.ID, q.Token)
	if err != nil {
		return answer{}, err
	}
	if !d.ask(e, 1) {
		return answer{}, errBusy
	}
	defer d.ask(e, -1)
	timer := time.NewTimer(d.cfg.Wait)
	defer timer.Stop()
	for {
		changed := d.news(e)
		var a answer
		err := d.withRecord(ctx, q.ID, e, func(r *record) error {
			if r.Stage == StageOpen {
				return fmt.Errorf("%w: the invitation was not claimed", errInvalid)
			}
			if q.App != nil {
				if err := d.certifyApp(ctx, q.ID, e, r, q.App); err != nil {
					return err
				}
			}
			if err := d.drive(ctx, q.ID, e, r); err != nil {
				return err
			}
			var err error
			a, err = d.answer(ctx, r)
			return err
		})
		if err != nil || a.State != StageWaiting {
			return a, err
		}
		select {
		case <-changed:
		case <-timer.C:
			return a, nil
		case <-ctx.Done():
			return answer{}, ctx.Err()
		}
	}
}

// ask counts the open questions for the result of an invitation; it reports false if there are too many.
func (d *Desk) ask(e *entry, n int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.asking+n > maxAsking {
		return false
	}
	e.asking += n
	return true
}

// answer returns what the joiner is told of a record.
func (d *Desk) answer(ctx context.Context, r *record) (answer, error) {
	a := answer{State: r.Stage}
	if r.Stage != StageSigned && r.Stage != StageJoined {
		return a, nil
	}
	var err error
	if a.Charter, err = d.cfg.Gateway.Charter(ctx); err != nil {
		return answer{}, err
	}
	a.Chain, a.App = r.Chain, r.App
	if w := r.Welcome; w != nil {
		a.Proof, a.Address, a.Extra = w.Proof, w.Address, w.Extra
	}
	return a, nil
}

// decode reads a question, strictly.
func decode(body []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, next := dec.Token(); next != io.EOF {
			err = errors.New("more than one JSON value")
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errInvalid, err)
	}
	return nil
}
