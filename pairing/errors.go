package pairing

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Errors that callers tell apart. They survive the wire.
var (
	// ErrUsed says that somebody else has claimed the invitation. Its holder tells the inviter, for it may have been
	// read by others, and asks for a new one.
	ErrUsed = errors.New("the invitation was used already")
	// ErrExpired says that the invitation's time is over. Its holder asks for a new one.
	ErrExpired = errors.New("the invitation has expired")
	// ErrUnknown says that the gateway knows no such invitation: it was withdrawn, or it is long over.
	ErrUnknown = errors.New("the gateway knows no such invitation")
	// ErrRefused says that the member was turned away. The error is a *RefusedError.
	ErrRefused = errors.New("refused")
	// ErrSwapped says that a claim was not made by a holder of the invitation's secret: somebody on the way, and
	// the gateway is on the way, changed it. Whoever meets it confirms nothing.
	ErrSwapped = errors.New("the keys are not those of the machine that was invited")
)

// A RefusedError says why a member was turned away. A Gateway returns it to turn one away for good.
type RefusedError struct {
	Reason string // one sentence, at most 200 bytes
}

// Error returns the reason.
func (e *RefusedError) Error() string {
	if e.Reason == "" {
		return ErrRefused.Error()
	}
	return fmt.Sprintf("%s: %s", ErrRefused, e.Reason)
}

// Is reports whether target is ErrRefused.
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// maxReason is the length of a reason in bytes, at most.
const maxReason = 200

// clean makes one printable line of a text from elsewhere, of at most limit bytes.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s[:min(len(s), 4*limit)])
	for len(s) > limit {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return strings.TrimSpace(s)
}

// errBusy and errInvalid are what the desk answers a client that asks too much, or what makes no sense.
var (
	errBusy    = errors.New("too many requests, try again later")
	errInvalid = errors.New("the request is not in order")
)

// problem is a failure on the wire (RFC 9457).
type problem struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// wireCodes are the failures that keep their kind on the wire.
var wireCodes = [...]struct {
	code   string
	status int
	err    error
}{
	{"unknown", http.StatusNotFound, ErrUnknown},
	{"used", http.StatusConflict, ErrUsed},
	{"expired", http.StatusGone, ErrExpired},
	{"refused", http.StatusForbidden, ErrRefused},
	{"invalid", http.StatusBadRequest, errInvalid},
	{"busy", http.StatusTooManyRequests, errBusy},
}

// problemOf returns what a client is told of err. Of failures within the gateway it is told that there was one.
func problemOf(err error) (int, problem) {
	for _, w := range wireCodes {
		if !errors.Is(err, w.err) {
			continue
		}
		p := problem{w.code, w.err.Error()}
		var refused *RefusedError
		switch {
		case errors.As(err, &refused):
			p.Detail = clean(refused.Reason, maxReason)
		case w.err == errInvalid:
			p.Detail = clean(err.Error(), maxReason)
		}
		return w.status, p
	}
	return http.StatusInternalServerError, problem{"internal", "the gateway failed"}
}

// err returns the error that a problem stands for, and whether repeating the request may help.
func (p problem) err() (err error, again bool) {
	for _, w := range wireCodes {
		if w.code != p.Code {
			continue
		}
		switch w.err {
		case ErrRefused:
			return &RefusedError{Reason: clean(p.Detail, maxReason)}, false
		case errInvalid:
			return fmt.Errorf("%w: it says %q", errInvalid, clean(p.Detail, maxReason)), false
		}
		return w.err, w.err == errBusy
	}
	return fmt.Errorf("the gateway failed: it says %q", clean(p.Detail, maxReason)), true
}
