package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/tree"
)

type recognizeOptions struct {
	invite, mutual, oneWay bool
	name, forget           string
}

func newRecognize(s *session) *cobra.Command {
	var o recognizeOptions
	c := &cobra.Command{
		Use:   "recognize [LINE]",
		Short: "Know another home, so that things can be shared with people there",
		Long: `Know another home, so that things can be shared with people there. That gives nobody any
right: what somebody of another home may do is shared as with anybody else, and taken back
likewise.

"--invite" prints a line, good for one home and for an hour, for an owner of the other home,
and waits until they have read it. There, "kindred recognize LINE" shows whose home it is.
Sharing takes that both know each other (--mutual): then both ends show six digits; compare
them and say yes. With --one-way only the home that reads the line knows the other.

Without anything the homes that are known are listed. "--forget" takes it back, with all
that was shared with people there.`,
		Example: `  kindred recognize --invite
  kindred recognize kindred-home1… --mutual --name birch
  kindred share home/meter --with birch:sam/anna
  kindred recognize --forget birch`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := c.Flags()
	f.BoolVar(&o.invite, "invite", false, "print a line about this home for an owner of another")
	f.BoolVar(&o.mutual, "mutual", false, "both homes are to know each other")
	f.BoolVar(&o.oneWay, "one-way", false, "only this home is to know the other")
	f.StringVar(&o.name, "name", "", "what the other home is called here: a `name` such as birch (else what it calls itself)")
	f.StringVar(&o.forget, "forget", "", "know a `home` no more: its name here, or its ID")
	hide(c.RegisterFlagCompletionFunc("forget", s.completeHomes))
	return s.does(c, func(ctx context.Context, args []string) error {
		if err := o.check(args, s.asks && !s.json); err != nil {
			return err
		}
		return s.with(ctx, func(n *kindred.Node) error {
			switch {
			case !n.Self().Owner() && (o.forget != "" || o.invite || len(args) == 1):
				return onlyOwners("say which homes are known")
			case o.forget != "":
				return s.forgetHome(ctx, n, o.forget)
			case o.invite:
				return s.introduceHome(ctx, n, o)
			case len(args) == 1:
				return s.meetHome(ctx, n, args[0], o)
			}
			return s.listHomes(ctx, n)
		})
	})
}

// check checks what goes together.
func (o recognizeOptions) check(args []string, asks bool) error {
	if o.name != "" && !tree.ValidName(o.name) {
		return usage("--name: %q is no name: want one of a-z 0-9 . _ -, such as birch", o.name)
	}
	switch read := len(args) == 1; {
	case o.forget != "" && (o.invite || o.mutual || o.oneWay || o.name != "" || read), o.invite && (read || o.mutual || o.oneWay),
		o.mutual && o.oneWay, !read && !o.invite && (o.mutual || o.oneWay || o.name != ""):
		return usage("either --invite, or a LINE with --mutual or --one-way, or --forget HOME")
	case read && !o.mutual && !o.oneWay && !asks:
		return usage("--mutual or --one-way: is the other home to know this one too?")
	}
	return nil
}

// knownHome is another home in the list, and what is printed when one is known.
type knownHome struct {
	Name     string    `json:"name"`
	Tree     string    `json:"tree"`
	Since    time.Time `json:"since"`
	By       string    `json:"by,omitempty"`
	Sentence string    `json:"sentence"`
}

func (s *session) listHomes(ctx context.Context, n *kindred.Node) error {
	r, err := s.roster(ctx, n)
	if err != nil {
		return err
	}
	if len(r.Others) == 0 {
		s.say("No other home is known.")
	}
	list := make([]knownHome, 0, len(r.Others))
	var rows [][]string
	for _, o := range r.Others {
		since := time.Unix(o.Since, 0)
		k := knownHome{Name: o.Name, Tree: o.Other.String(), Since: since.UTC(), By: r.Name(identity.TreeMember{Tree: o.Tree, Member: o.By})}
		k.Sentence = fmt.Sprintf("known since %s, by %s", stamp(since, s.now()), k.By)
		list = append(list, k)
		rows = append(rows, []string{o.Name, treeNumber(o.Other), k.Sentence})
	}
	return s.print(list, table(rows))
}

// treeNumber writes the beginning of a tree's ID so that it can be read out: 80 bits, in fours.
func treeNumber(id identity.TreeID) string {
	text := id.String()
	return strings.Join([]string{text[:4], text[4:8], text[8:12], text[12:16]}, "-")
}

// ownName is what this home calls itself to others: its name, in the letters that names have.
func (s *session) ownName() (string, error) {
	settings, err := readSettings(s.dir)
	if err != nil {
		return "", err
	}
	return homeName(settings.Name), nil
}

func homeName(label string) string {
	var out strings.Builder
	for _, r := range strings.ToLower(label) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			out.WriteRune(r)
		case out.Len() > 0 && !strings.HasSuffix(out.String(), "-"):
			out.WriteByte('-')
		}
	}
	name := out.String()
	if name = strings.TrimSuffix(name[:min(len(name), 40)], "-"); name == "" {
		return "home"
	}
	return name
}

func (s *session) introduceHome(ctx context.Context, n *kindred.Node, o recognizeOptions) error {
	own, err := s.ownName()
	if err != nil {
		return err
	}
	in, text, err := n.Introduce(ctx, own)
	if err != nil {
		return err
	}
	if err := s.print(map[string]string{"introduction": text, "name": own, "tree": in.Tree.String()}, text); err != nil {
		return err
	}
	s.say(`This line is for an owner of another home, and nobody else; "kindred recognize" reads it there, until %s.`, stamp(in.Expires(), s.now()))
	s.say("This home is %s there unless they call it otherwise. Its ID begins with %s.", own, treeNumber(in.Tree))
	face, err := n.AwaitAnswer(ctx, in)
	switch {
	case err != nil:
		return err
	case face.Other.IsZero():
		s.say("They know this home now, and do not ask to be known here.")
		return nil
	}
	if o.name != "" {
		face.Name = o.name
	}
	same, err := s.sameDigits(ctx, face, in.Digits(face.Other))
	if err != nil {
		return err
	}
	if !same {
		return &failure{
			Code: "turned-away", Message: fmt.Sprintf("%s is not known here: the digits were not confirmed", face.Name),
			Hint: "make a new line to try again", exit: exitFailed,
		}
	}
	return s.recognizeHome(ctx, n, face)
}

// sameDigits asks whether the other end shows the same digits, as confirm does of new members.
func (s *session) sameDigits(ctx context.Context, face tree.Recognition, digits string) (bool, error) {
	if s.asks && !s.json {
		s.say("%s has answered. Its ID begins with %s.", face.Name, treeNumber(face.Other))
	}
	return s.confirm(ctx, face.Name, digits)
}

// recognizeHome has this home know another, and says so.
func (s *session) recognizeHome(ctx context.Context, n *kindred.Node, face tree.Recognition) error {
	if err := n.Recognize(ctx, face); err != nil {
		return err
	}
	k := knownHome{Name: face.Name, Tree: face.Other.String(), Since: s.now().UTC()}
	k.Sentence = fmt.Sprintf("%s is known here now: things can be shared with %s:PATH.", face.Name, face.Name)
	s.say("%s", k.Sentence)
	if s.json {
		return s.object(map[string]knownHome{"recognized": k})
	}
	return nil
}

func (s *session) meetHome(ctx context.Context, n *kindred.Node, text string, o recognizeOptions) error {
	if _, err := pairing.ParseIntroduction(text, time.Now()); err != nil && !errors.Is(err, pairing.ErrExpired) {
		return unreadable("line about another home", err, "kindred-home1")
	}
	m, err := n.Meet(ctx, text)
	if err != nil {
		return s.unreached(err, "the other home's gateway")
	}
	if o.name != "" {
		m.Face.Name = o.name
	}
	if !o.mutual && !o.oneWay {
		if o.mutual, err = s.askBoth(ctx, m); err != nil {
			return err
		}
	}
	own, err := s.ownName()
	if err != nil {
		return err
	}
	if err := s.recognizeHome(ctx, n, m.Face); err != nil {
		return err
	}
	if err := n.Taken(ctx, m, o.mutual, own); err != nil {
		return s.unreached(err, "the other home's gateway")
	}
	if !o.mutual {
		return nil
	}
	digits := m.Digits(n.Self().ID.Tree)
	s.say("There somebody is asked whether you see %s.", s.paint(bold, spaced(digits)))
	if s.json {
		return s.object(map[string]string{"digits": digits})
	}
	return nil
}

// askBoth shows whose home it is and asks who is to know whom.
func (s *session) askBoth(ctx context.Context, m kindred.Meeting) (mutual bool, err error) {
	s.say("This is the home %s. Its ID begins with %s.", m.Introduction.Name, treeNumber(m.Tree))
	answer, err := s.ask(ctx, "Are both homes to know each other, or only this one the other? [both/one/no]")
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	switch strings.ToLower(answer) {
	case "both", "b":
		return true, nil
	case "one", "o":
		return false, nil
	}
	return false, &failure{Code: "turned-away", Message: "nothing was changed", exit: exitFailed}
}

func (s *session) forgetHome(ctx context.Context, n *kindred.Node, arg string) error {
	r, err := s.roster(ctx, n)
	if err != nil {
		return err
	}
	o, ok := r.Called(arg)
	if id, perr := identity.ParseTreeID(arg); perr == nil {
		o, ok = r.OtherTree(id)
	}
	if !ok {
		return hinted(notFound("no home is known as %s", arg), `"kindred recognize" lists those that are`)
	}
	report, confirmed, err := s.revoke(ctx, n, r.Forget(o))
	if err != nil {
		return err
	}
	t := taken{Forgotten: o.Name, Things: report.Things, Pending: !confirmed}
	t.Sentence = fmt.Sprintf("%s is not known here any more. %s", o.Name, closed(report, s.now()))
	return s.print(t, t.Sentence)
}
