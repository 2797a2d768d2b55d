package grant

import (
	"crypto"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// AskType is the type of a signed Ask.
const AskType signed.Type = "kindred/ask"

// MaxAskText is the length of what whoever asks says to it, in bytes, at most.
const MaxAskText = 256

// An Ask is somebody's wish to be granted something. It gives nobody anything: whoever may share it reads it, and grants
// as much of it as they like. As a signed statement of type kindred/ask its payload is a map with these keys:
//
//	1  path   of the thing or place in its tree; whoever asks may not know its member ID
//	2  terms  as of a grant, without giver, thing's member, parent and agreement; the ID names the ask
//	3  text   to whoever reads it, printable
type Ask struct {
	Path  identity.Path `cbor:"1,keyasint"`
	Terms Terms         `cbor:"2,keyasint"`
	Text  string        `cbor:"3,keyasint,omitempty"`
}

// Name returns what people call the ask: "r-" and the rest of its ID.
func (a Ask) Name() string { return "r-" + strings.TrimPrefix(a.Terms.ID.String(), "g-") }

func (a Ask) validate() error {
	if _, err := identity.ParsePath(string(a.Path)); err != nil {
		return err
	}
	t := a.Terms
	switch {
	case len(a.Text) > MaxAskText || !printable(a.Text):
		return fmt.Errorf("the text %.80q: want at most %d bytes to show", a.Text, MaxAskText)
	case !t.Giver.IsZero() || !t.Thing.Member.IsZero() || !t.GiverTree.IsZero() || !t.Parent.IsZero():
		return errors.New("it names a giver, a thing's member or a parent, which whoever grants it does")
	case !t.Agreement.IsZero():
		return errors.New("it says what is shown in clear, which an owner does who has seen it")
	}
	t.Giver, t.Thing.Member = t.Subject.Member, t.Subject.Member // so that the rest can be checked as of a grant
	return t.Validate()
}

// SignAsk returns a signed ask. The chain is the signer's, who acts for the subject of the terms, or is it.
func SignAsk(key crypto.Signer, chain [][]byte, a Ask) ([]byte, error) {
	return signChecked(key, chain, AskType, "an ask", a)
}

// AskedIn returns the tree whose member an ask says that it is of. Nothing is verified.
func AskedIn(raw []byte) (identity.TreeID, error) {
	a, _, err := parseAsk(raw)
	if err != nil {
		return identity.TreeID{}, fmt.Errorf("grant: reading an ask: %w", err)
	}
	return a.Terms.Subject.Tree, nil
}

// OpenAsk reads an ask and checks that its signer may ask for its subject, and calls it what it is called. Chains are checked by verify, as in Open.
func OpenAsk(raw []byte, verify func(chain [][]byte, at time.Time) (identity.Chain, error)) (Ask, identity.Chain, error) {
	a, signer, err := openAsk(raw, verify)
	if err != nil {
		return Ask{}, identity.Chain{}, fmt.Errorf("grant: opening an ask: %w", err)
	}
	return a, signer, nil
}

func openAsk(raw []byte, verify func([][]byte, time.Time) (identity.Chain, error)) (Ask, identity.Chain, error) {
	a, s, err := parseAsk(raw)
	if err != nil {
		return a, identity.Chain{}, err
	}
	signer, err := verify(s.Chain, time.Unix(a.Terms.Time, 0))
	if err == nil {
		err = s.Open(signer.Key, AskType, &a)
	}
	if err != nil {
		return a, signer, err
	}
	if subject := a.Terms.Subject; subject.Tree != signer.ID.Tree || subject.Member != signer.Member() && subject.Member != signer.ActsFor() {
		return a, signer, fmt.Errorf("signed by %s, which asks for somebody else, %s", signer.ID, subject.Member)
	}
	if a.Terms.Subject.Path != "" && a.Terms.Subject.Path != pathOf(signer, a.Terms.Subject.Member) {
		return a, signer, fmt.Errorf("signed by %s, which says that it is called %.80q", signer.ID, a.Terms.Subject.Path)
	}
	return a, signer, nil
}

// pathOf returns the path of a leaf, or of whom it acts for.
func pathOf(signer identity.Chain, member identity.MemberID) identity.Path {
	if member == signer.Member() {
		return signer.ID.Path
	}
	return signer.ID.Path.Parent()
}

func parseAsk(raw []byte) (Ask, signed.Statement, error) {
	var a Ask
	s, err := signed.Read(raw, AskType, &a)
	if err == nil {
		err = a.validate()
	}
	return a, s, err
}
