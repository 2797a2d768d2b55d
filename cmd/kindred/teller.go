package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tunnel"
)

// A teller says in plain words what entries of a journal mean.
type teller struct {
	names names
	now   time.Time
}

func (t teller) object(e journal.Entry) logLine {
	l := logLine{
		Time: e.Time.UTC(), Op: e.Op, Path: e.Thing.ID.Path, Affordance: e.Affordance, Outcome: e.Outcome.String(),
		Grant: e.Grant, Reason: e.Reason, Offline: e.Offline, Count: e.Count,
		Bytes: e.Bytes, OneSided: e.OneSided, Signed: e.Countersigned, Sealed: e.Sealed != nil, Sentence: t.sentence(e),
	}
	if !e.Caller.IsZero() {
		l.Who = e.Caller.ID.String()
	}
	if !e.With.IsZero() {
		l.With = e.With.ID.String()
	}
	if !e.AsOf.IsZero() {
		asOf := e.AsOf.UTC()
		l.AsOf = &asOf
	}
	return l
}

// sentence says what an entry means, without a full stop: "anna saw home/meter power (allowed by g-7kqm)".
func (t teller) sentence(e journal.Entry) string {
	who, what := t.names.party(e.Caller), strings.TrimSpace(string(e.Thing.ID.Path)+" "+e.Affordance)
	network, port, service := thing.ParseServiceName(e.Affordance)
	if service = service && e.Op == journal.Invoke; service {
		what = fmt.Sprintf("%s port %d", e.Thing.ID.Path, port)
		if network == tunnel.UDP {
			what += "/udp"
		}
	}
	switch {
	case e.Op == journal.Connect:
		return t.stranger(e)
	case e.Op == journal.Private:
		return fmt.Sprintf("somebody used %s, which is sealed to them", e.Thing.ID.Path)
	case e.Op == journal.Hold:
		return because(fmt.Sprintf("%s writes far more journal than there is room for, and keeps the rest until there is", what), e.Reason)
	case e.Outcome == journal.Asked:
		return fmt.Sprintf("%s asked for %s, and no answer is known", who, what)
	case e.Outcome == journal.Refused && e.Op == journal.Withdraw:
		return because(fmt.Sprintf("%s was refused that %s deletes what it got (%s)", who, what, t.grant(e.Grant)), e.Reason)
	case e.Outcome == journal.Refused && e.Op == journal.Countersign:
		return because(fmt.Sprintf("%s did not sign a receipt for %s", who, what), e.Reason)
	case e.Outcome == journal.Refused:
		return because(fmt.Sprintf("%s was refused %s", who, what), e.Reason)
	case e.Outcome == journal.Failed:
		return because(fmt.Sprintf("%s tried %s, which failed", who, what), e.Reason)
	case e.Outcome == journal.Ended && e.Reason != "":
		return because(fmt.Sprintf("%s was cut off from %s", who, what), e.Reason)
	case e.Outcome == journal.Ended && service:
		return fmt.Sprintf("%s disconnected from %s", who, what)
	case service:
		return fmt.Sprintf("%s connected to %s", who, what) + t.ground(e)
	case e.Outcome == journal.Ended:
		return fmt.Sprintf("%s stopped watching %s", who, what)
	}
	return who + " " + t.deed(e, what) + t.ground(e)
}

// stranger tells of somebody whose name means nothing here.
func (t teller) stranger(e journal.Entry) string {
	who := e.Reason
	if who == "" {
		who = "somebody"
	}
	text := fmt.Sprintf("%s was refused at %s", who, e.Thing.ID.Path)
	if e.Count > 1 {
		text += fmt.Sprintf(", %d times", e.Count)
	}
	return text
}

func because(text, reason string) string {
	if reason == "" {
		return text
	}
	return text + ": " + reason
}

// deed is what was done.
func (t teller) deed(e journal.Entry, what string) string {
	with := t.names.party(e.With)
	switch e.Op {
	case journal.Read:
		if e.Affordance == "" {
			return "looked at what " + what + " can do"
		}
		return "saw " + what
	case journal.Write:
		return "set " + what
	case journal.Invoke:
		return "used " + what
	case journal.Observe:
		return "began to watch " + what
	case journal.Admit:
		return "let in " + string(e.With.ID.Path)
	case journal.Remove:
		return "removed " + string(e.With.ID.Path)
	case journal.Share:
		return fmt.Sprintf("shared %s with %s (%s)", what, with, t.grant(e.Grant))
	case journal.Unshare:
		if what == "" {
			return fmt.Sprintf("took back what was shared with %s (%s)", with, t.grant(e.Grant))
		}
		return fmt.Sprintf("took back %s from %s (%s)", what, with, t.grant(e.Grant))
	case journal.Ask:
		return "asked to be allowed " + orRight(what)
	case journal.Deny:
		return fmt.Sprintf("turned down what %s asked for, %s", with, orRight(what))
	case journal.Pause:
		return fmt.Sprintf("paused %s for %s (%s)", orRight(what), with, t.grant(e.Grant))
	case journal.Resume:
		return fmt.Sprintf("resumed %s for %s (%s)", orRight(what), with, t.grant(e.Grant))
	case journal.Accept:
		return fmt.Sprintf("accepted what was agreed about %s (%s)", orRight(what), t.grant(e.Grant))
	case journal.Approve:
		return fmt.Sprintf("approved that %s is shown to %s (%s)", orRight(what), with, t.grant(e.Grant))
	case journal.SetApart:
		return fmt.Sprintf("changed what of %s is never shown in clear", what)
	case journal.Withdraw:
		return fmt.Sprintf("withdrew from an agreement with %s (%s)", with, t.grant(e.Grant))
	case journal.Copy:
		return fmt.Sprintf("got %s in clear of %s: %s", size(e.Bytes), what, e.Reason)
	case journal.Delete:
		return fmt.Sprintf("answered the demand to delete what it got (%s)", t.grant(e.Grant))
	case journal.Countersign:
		return "signed for " + what
	case journal.Recognize:
		return "recognized the home " + e.Reason
	case journal.Forget:
		return "took back that the home " + e.Reason + " is recognized"
	case journal.Conceal:
		return "changed whose doings at " + what + " are private"
	case journal.Limit:
		return "changed how lately whoever uses " + what + " must have been checked"
	}
	return strings.TrimSpace(string(e.Op) + " " + what)
}

// orRight says what a right is about that nobody knows any more.
func orRight(what string) string {
	if what == "" {
		return "a right"
	}
	return what
}

// ground says what a use rested on.
func (t teller) ground(e journal.Entry) string {
	switch e.Op {
	case journal.Read, journal.Write, journal.Invoke, journal.Observe, journal.Copy:
	default:
		return ""
	}
	var text string
	if e.Grant != "" {
		text = fmt.Sprintf(" (allowed by %s)", t.grant(e.Grant))
	}
	if e.Offline {
		text += ", without the gateway, by the offline term"
		if !e.AsOf.IsZero() {
			text += ", checked " + stamp(e.AsOf, t.now)
		}
	}
	if e.OneSided {
		text += ", with a tool, which signs no receipt"
	}
	if e.Sealed != nil {
		text += ", sealed to you"
	}
	return text
}

// grant shortens a grant's ID as far as it is told from those there are.
func (t teller) grant(id string) string {
	for n := len("g-") + 4; n < len(id); n++ {
		if len(t.names.roster.GrantsNamed(id[:n])) <= 1 {
			return id[:n]
		}
	}
	return id
}
