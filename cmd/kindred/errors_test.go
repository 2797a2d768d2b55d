package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/thing"
)

func TestExplain(t *testing.T) {
	for _, tc := range []struct {
		err  error
		exit int
		code string
	}{
		{usage("no"), 2, "usage"},
		{notFound("no"), 1, "not-found"},
		{conflict("no"), 1, "conflict"},
		{refused("no"), 3, "refused"},
		{kindred.ErrNoMember, 1, "no-member"},
		{kindred.ErrMember, 1, "conflict"},
		{kindred.ErrDistrusted, 3, "distrusted"},
		{store.ErrInUse, 1, "in-use"},
		{store.ErrFull, 1, "disk-full"},
		{store.ErrDamaged, 1, "damaged"},
		{pairing.ErrUsed, 1, "used"},
		{pairing.ErrExpired, 1, "expired"},
		{pairing.ErrUnknown, 1, "unknown"},
		{pairing.ErrSwapped, 1, "swapped"},
		{&pairing.RefusedError{Reason: "no"}, 3, "refused"},
		{&control.Error{Code: control.Refused}, 3, "refused"},
		{&control.Error{Code: control.NotFound}, 1, "not-found"},
		{&control.Error{Code: control.Invalid}, 1, "invalid"},
		{&control.Error{Code: control.Conflict}, 1, "conflict"},
		{&control.Error{Code: control.Unavailable}, 4, "unavailable"},
		{&control.Error{Code: "news"}, 1, "news"},
		{fmt.Errorf("%w: %w", thing.ErrLost, peer.ErrWrongKey), 4, "unreachable"},
		{(&session{}).unreached(fmt.Errorf("%w: %w", thing.ErrLost, io.EOF), "home/lock"), 4, "unreachable"},
		{&thing.Problem{Status: http.StatusForbidden, Code: "stale"}, 3, "stale"},
		{&thing.Problem{Status: http.StatusForbidden}, 3, "refused"},
		{&thing.Problem{Status: http.StatusNotFound}, 1, "not-found"},
		{&thing.Problem{Status: http.StatusBadRequest}, 1, "invalid"},
		{&thing.Problem{Status: http.StatusServiceUnavailable}, 4, "unavailable"},
		{&thing.Problem{Status: http.StatusTeapot}, 1, "failed"},
		{credential.ErrRevoked, 3, "revoked"},
		{credential.ErrStranger, 3, "stranger"},
		{credential.ErrTooOld, 4, "too-old"},
		{peer.ErrUnreachable, 4, "unreachable"},
		{peer.ErrWrongKey, 4, "wrong-key"},
		{peer.ErrRefused, 3, "refused"},
		{context.DeadlineExceeded, 4, "unreachable"},
		{context.Canceled, 1, "interrupted"},
		{errors.New("the moon fell down"), 1, "failed"},
	} {
		for _, err := range []error{tc.err, fmt.Errorf("kindred: doing it: %w", tc.err), errors.Join(tc.err, nil)} {
			f := explain(err)
			if f.exit != tc.exit || f.Code != tc.code {
				t.Errorf("%v: exit code %d and %q, want %d and %q", err, f.exit, f.Code, tc.exit, tc.code)
			}
		}
	}
}

// A callee that was removed is no longer trusted: that says more than that something was taken away.
func TestExplainTellsTheMore(t *testing.T) {
	for _, err := range []error{
		&control.Error{Code: control.Refused, Message: "no\nhint: remove the lock"}, &thing.Problem{Detail: "no\nhint: remove the lock"},
	} {
		if f := explain(err); f.Message != "no; hint: remove the lock" {
			t.Errorf("others tell the user %q", f.Message)
		}
	}
	f := explain(fmt.Errorf("kindred: home/lock: %w: %w", kindred.ErrDistrusted, credential.ErrRevoked))
	if f.Code != "distrusted" {
		t.Errorf("%q, want distrusted", f.Code)
	}
	f = explain(fmt.Errorf("%w: %w", peer.ErrRefused, peer.ErrUnreachable))
	if f.exit != exitRefused {
		t.Errorf("exit code %d, want %d", f.exit, exitRefused)
	}
}

func TestFail(t *testing.T) {
	c := &cobra.Command{Use: "get PATH"}
	for _, tc := range []struct {
		err     error
		json    bool
		running bool
		exit    int
		want    string
	}{
		{notFound("there is no %s", "home/lock"), false, true, 1, "kindred: there is no home/lock\n"},
		{hinted(notFound("no"), "look"), false, true, 1, "kindred: no\nhint: look\n"},
		{hinted(notFound("no <b>"), "look"), true, true, 1, `{"error":{"code":"not-found","message":"no <b>","hint":"look"}}` + "\n"},
		{usage("what?"), false, true, 2, "kindred: what?\nhint: usage: get PATH\n"},
		{errors.New("accepts 1 arg(s)"), false, false, 2, "kindred: accepts 1 arg(s)\nhint: usage: get PATH\n"},
		{errors.New("kindred: opening x: broken"), false, true, 1, "kindred: opening x: broken\n"},
		{&thing.Problem{Status: 403, Code: "out-of-hours", Detail: "outside its hours"}, true, true, 3,
			`{"error":{"code":"out-of-hours","message":"outside its hours","hint":"try again within its hours"}}` + "\n"},
	} {
		var stderr bytes.Buffer
		s := &session{err: &stderr, json: tc.json, running: tc.running}
		if exit := s.fail(c, tc.err); exit != tc.exit || stderr.String() != tc.want {
			t.Errorf("%v: exit code %d and\n%s, want %d and\n%s", tc.err, exit, stderr.String(), tc.exit, tc.want)
		}
		if tc.json && !json.Valid(stderr.Bytes()) {
			t.Errorf("%s is no JSON", stderr.Bytes())
		}
	}
}
