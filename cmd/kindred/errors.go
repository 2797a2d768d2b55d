package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/thing"
)

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitUnreachable = 4
)

// A failure is an error as the user is told it. Commands return one where they know best; explain makes one of any
// other error.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	exit    int
	cause   error // for those who look for it with errors.Is; may be nil
}

// Error returns the message.
func (f *failure) Error() string { return f.Message }

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.cause }

// usage says that the command was called wrongly.
func usage(format string, args ...any) error {
	return &failure{Code: "usage", Message: fmt.Sprintf(format, args...), exit: exitUsage}
}

// notFound says that there is nothing of a name.
func notFound(format string, args ...any) error {
	return &failure{Code: string(control.NotFound), Message: fmt.Sprintf(format, args...), exit: exitFailed}
}

// conflict says that something stands against it.
func conflict(format string, args ...any) error {
	return &failure{Code: string(control.Conflict), Message: fmt.Sprintf(format, args...), exit: exitFailed}
}

// refused says that somebody may not.
func refused(format string, args ...any) error {
	return &failure{Code: string(control.Refused), Message: fmt.Sprintf(format, args...), exit: exitRefused}
}

// onlyOwners says that somebody may not do something who is no owner.
func onlyOwners(do string) error {
	return hinted(refused("only owners %s", do), "this directory's member is no owner's app")
}

// hinted adds what to do about it to a failure.
func hinted(err error, hint string) error {
	f := *explain(err)
	f.Hint = hint
	return &f
}

const unreachableHint = "is it running, and on a network that this machine can reach?"

// kinds are the errors that the user is told apart, the more telling ones first. An empty message stands for the
// error's own.
var kinds = []struct {
	err           error
	exit          int
	code          string
	message, hint string
}{
	{kindred.ErrNoMember, exitFailed, "no-member", "there is no member of a tree in this directory",
		`"kindred init NAME" makes a tree, "kindred join" makes this machine a member of one; --dir names another directory`},
	{kindred.ErrMember, exitFailed, "conflict", "there is a member of a tree in this directory already", "--dir names another directory"},
	{store.ErrInUse, exitFailed, "in-use", "another kindred process uses this directory", "wait until it has ended, or stop it"},
	{store.ErrFull, exitFailed, "disk-full", "the disk is full: what was written before is safe", "make room and repeat the command"},
	{store.ErrDamaged, exitFailed, "damaged", "", "restore the directory from a copy"},
	{pairing.ErrUsed, exitFailed, "used", "the invitation was used already, perhaps by somebody else", "tell whoever invited you, and ask for a new one"},
	{pairing.ErrExpired, exitFailed, "expired", "the invitation has expired", "ask for a new one"},
	{pairing.ErrUnknown, exitFailed, "unknown", "the gateway knows no such invitation: it was withdrawn, or is long over", "ask for a new one"},
	{pairing.ErrSwapped, exitFailed, "swapped", "the keys are not those of the machine that was invited: somebody came between",
		"let nobody in with this invitation, and make a new one"},
	{kindred.ErrDistrusted, exitRefused, "distrusted", "whoever answered did not show that it is who it should be, and still a member",
		"it may have been removed, or cut off from the gateway for too long"},
	{credential.ErrRevoked, exitRefused, "revoked", "what this rests on was taken away", ""},
	{thing.ErrLost, exitUnreachable, "unreachable", "the connection was lost and did not come back", unreachableHint},
	{peer.ErrWrongKey, exitUnreachable, "wrong-key", "somebody else answered at its address", "it may have moved; it is found again through the gateway"},
	{peer.ErrRefused, exitRefused, "refused", "refused", ""},
	{peer.ErrUnreachable, exitUnreachable, "unreachable", "", unreachableHint},
	{credential.ErrTooOld, exitUnreachable, "too-old", "what this machine knows is too old to be judged", "it needs the gateway once"},
	{credential.ErrStranger, exitRefused, "stranger", "", ""},
	{context.DeadlineExceeded, exitUnreachable, "unreachable", "no answer in time", unreachableHint},
	{context.Canceled, exitFailed, "interrupted", "interrupted", ""},
}

// gatewaySays gives the exit codes of what a gateway answers.
var gatewaySays = map[control.Code]int{
	control.Refused: exitRefused, control.NotFound: exitFailed, control.Invalid: exitFailed,
	control.Conflict: exitFailed, control.Unavailable: exitUnreachable, control.Later: exitUnreachable,
}

// thingSays gives the exit code, and the code where the thing gives none, of the statuses that a thing answers with.
var thingSays = map[int]struct {
	exit int
	code string
}{
	http.StatusUnauthorized:        {exitRefused, "refused"},
	http.StatusForbidden:           {exitRefused, "refused"},
	http.StatusNotFound:            {exitFailed, "not-found"},
	http.StatusBadRequest:          {exitFailed, "invalid"},
	http.StatusMethodNotAllowed:    {exitFailed, "invalid"},
	http.StatusConflict:            {exitFailed, "conflict"},
	http.StatusBadGateway:          {exitFailed, "service-down"},
	http.StatusServiceUnavailable:  {exitUnreachable, "unavailable"},
	http.StatusGatewayTimeout:      {exitUnreachable, "unavailable"},
	http.StatusInternalServerError: {exitFailed, "failed"},
}

// hints say what to do about a code that comes from elsewhere.
var hints = map[string]string{
	"no-grant":     `the owner can change that: "kindred share"`,
	"affordance":   `the owner can change that: "kindred share"`,
	"action":       `the owner can change that: "kindred share"`,
	"ended":        `the owner can share it anew`,
	"stale":        "it is served again once the gateway has been reached",
	"out-of-hours": "try again within its hours",
	"expired":      "this machine has to join anew",
}

// explain says what an error means to the user. Parts of it may be what somebody else answered, a thing that turned bad
// say: it stays on its line, where it can pass for no other, and steers nothing, wherever it is shown or written.
func explain(err error) *failure {
	f := *meaning(err)
	f.Code, f.Message, f.Hint = flat(f.Code), flat(f.Message), flat(f.Hint)
	return &f
}

// flat returns what may be somebody else's words in one line, as text and nothing else: several errors come in several.
func flat(text string) string {
	return strings.Map(func(r rune) rune {
		if steers(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ReplaceAll(text, "\n", "; "))
}

// meaning finds what an error means.
func meaning(err error) *failure {
	var f *failure
	var said *control.Error
	var problem *thing.Problem
	var turned *pairing.RefusedError
	var exposed *identity.ExposedError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &said):
		return &failure{Code: string(said.Code), Message: packages.ReplaceAllString(said.Message, "$1"), Hint: said.Hint, exit: exitOr(gatewaySays[said.Code])}
	case errors.As(err, &turned):
		return &failure{Code: "refused", Message: turned.Error(), Hint: "ask whoever invited you", exit: exitRefused}
	case errors.As(err, &exposed):
		return &failure{Code: "exposed", Message: own(err), exit: exitFailed,
			Hint: exposed.Command() + "; if somebody may have done so already, remove this member and let it join anew"}
	case errors.As(err, &problem):
		what := thingSays[problem.Status]
		code := what.code
		if problem.Code != "" {
			code = problem.Code
		}
		if code == "" {
			code = "failed"
		}
		return &failure{Code: code, Message: problem.Error(), Hint: hints[code], exit: exitOr(what.exit)}
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			message := k.message
			if message == "" {
				message = own(err)
			}
			return &failure{Code: k.code, Message: message, Hint: k.hint, exit: k.exit}
		}
	}
	return &failure{Code: "failed", Message: own(err), exit: exitFailed}
}

// packages are names of this program's parts, which stand before what went wrong in them and mean nothing to users.
var packages = regexp.MustCompile(`(^|: )(?:(?:agreement|camera|control|credential|doorbell|gateway|grant|identity|journal|keeper|kindred|` +
	`p1meter|pairing|peer|relay|signed|speech|store|thing|tree|tunnel|vault): )+`)

// own returns an error's text as users read it.
func own(err error) string { return flat(packages.ReplaceAllString(err.Error(), "$1")) }

// exitOr returns the exit code of an error: one that nobody thought of failed.
func exitOr(code int) int {
	if code == exitDone {
		return exitFailed
	}
	return code
}

// fail tells the user why a command failed and returns the exit code.
func (s *session) fail(c *cobra.Command, err error) int {
	f := explain(err)
	if !s.running && f.exit == exitFailed { // what cobra itself has to say comes before any command runs
		f = &failure{Code: "usage", Message: err.Error(), exit: exitUsage}
	}
	if f.exit == exitUsage && f.Hint == "" {
		f.Hint = usageOf(c)
	}
	if s.json {
		e := json.NewEncoder(s.err)
		e.SetEscapeHTML(false)
		_ = e.Encode(map[string]*failure{"error": f}) // where standard error is gone there is nobody to tell
		return f.exit
	}
	fmt.Fprintf(s.err, "%s %s\n", s.paint(red, "kindred:"), f.Message)
	if f.Hint != "" {
		fmt.Fprintf(s.err, "%s\n", s.paint(faint, "hint: "+f.Hint))
	}
	return f.exit
}

// usageOf says how a command is to be called, or what there is below one that does nothing itself.
func usageOf(c *cobra.Command) string {
	if c.HasSubCommands() && !c.Runnable() {
		return fmt.Sprintf("%q lists the commands", strings.TrimSpace("kindred help"+strings.TrimPrefix(c.CommandPath(), "kindred")))
	}
	return "usage: " + strings.TrimSuffix(c.UseLine(), " [flags]")
}
