package pairing

import (
	"crypto"
	"crypto/hmac"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// IntroductionType is the type of a signed introduction.
const IntroductionType signed.Type = "kindred/introduction"

const introductionPrefix = "kindred-home1"

// A Home is what an introduction says: which tree it introduces, and where its gateway is.
type Home struct {
	Tree       identity.TreeID
	Epoch      uint64        // of the charter
	Charter    signed.Digest // the charter in force
	Gateway    identity.MemberID
	GatewayKey crypto.PublicKey
	Addresses  []string      // of the gateway, 1 to 8
	Name       string        // what the tree calls itself: a name such as those on paths
	Life       time.Duration // whole seconds, at most MaxLife; 0: DefaultLife
}

// An Introduction is an owner's word about their own tree to somebody who is to recognize it, and be recognized in turn if
// both want. It is one line of text, as an invitation is, and like that holds a secret, which no method and no format verb
// reveals.
//
// The line is "kindred-home1" and then, in base64url, a signed statement of the type "kindred/introduction" followed by its
// CRC-32. It is signed by the leaf key of the owner's app. Its payload has the fields 1 to 7 of an invitation and
//
//	 8  what the tree calls itself
//	10  when it was made, Unix time in seconds
//	11  how long it holds, in seconds
//	12  secret, 16 random bytes
//	13  key of the app
//
// From the secret come, by D(label, data) = HMAC-SHA-256(secret, "kindred/introduction/" label 0x00 data):
//
//	ID       D("id", "")[:16]       names the introduction
//	token    D("token", "")         lets its holder ask the gateway, and answer once; the gateway is given its SHA-256 hash
//	binding  D("answer", answer)    proves to the owner that the answer is by a holder of the secret
//	digits   D("digits", both tree IDs) as a number, its first 8 bytes mod 1,000,000: both ends show them
type Introduction struct {
	Home
	Introducer crypto.PublicKey // the key that signed it
	Issued     time.Time        // whole seconds

	secret secret
}

type introductionPayload struct {
	promise
	Name string `cbor:"8,keyasint"`
}

// NewIntroduction makes an introduction with a new secret, signed by the leaf key of an owner's app. The text is for whoever
// is to know the tree, and nobody else.
func NewIntroduction(key crypto.Signer, home Home, now time.Time) (in Introduction, text string, err error) {
	fail := func(err error) (Introduction, string, error) {
		return Introduction{}, "", fmt.Errorf("pairing: introducing %q: %w", home.Name, err)
	}
	p := introductionPayload{
		promise: promise{Tree: home.Tree, Epoch: home.Epoch, Charter: home.Charter, Gateway: home.Gateway}, Name: home.Name,
	}
	if err = p.make(key.Public(), home.GatewayKey, home.Addresses, now, home.Life); err != nil {
		return fail(err)
	}
	if in, err = p.introduction(); err != nil {
		return fail(err)
	}
	raw, err := signed.Sign(key, IntroductionType, p)
	if err == nil {
		text, err = writeLine(introductionPrefix, raw)
	}
	if err != nil {
		return fail(err)
	}
	return in, text, nil
}

// ParseIntroduction reads an introduction and checks that it holds now. The error wraps ErrExpired if its time is over.
func ParseIntroduction(text string, now time.Time) (Introduction, error) {
	in, err := readLine(introductionPrefix, "an introduction", text, IntroductionType, func(p introductionPayload) (Introduction, crypto.PublicKey, error) {
		in, err := p.introduction()
		return in, in.Introducer, err
	})
	if err == nil {
		err = inTime(in.Issued, in.Expires(), now)
	}
	if err != nil {
		return Introduction{}, fmt.Errorf("pairing: reading an introduction: %w", err)
	}
	return in, nil
}

// introduction checks a payload and returns the introduction that it is.
func (p introductionPayload) introduction() (Introduction, error) {
	if !validHomeName(p.Name) {
		return Introduction{}, fmt.Errorf("%.80q is no name for a tree", p.Name)
	}
	o, err := p.open()
	if err != nil {
		return Introduction{}, err
	}
	return Introduction{
		Home: Home{
			Tree: p.Tree, Epoch: p.Epoch, Charter: p.Charter, Gateway: p.Gateway, GatewayKey: o.gateway, Addresses: o.addresses,
			Name: p.Name, Life: p.life(),
		},
		Introducer: o.signer, Issued: p.issued(), secret: p.Secret,
	}, nil
}

func validHomeName(s string) bool {
	p, err := identity.ParsePath(s)
	return err == nil && p.Parent() == ""
}

// Expires returns until when the introduction holds.
func (in Introduction) Expires() time.Time { return in.Issued.Add(in.Life) }

// ID returns the introduction's name.
func (in Introduction) ID() ID { return ID(in.derive("id", nil)[:16]) }

// Token lets its holder ask the gateway, and answer.
func (in Introduction) Token() []byte { return in.derive("token", nil) }

// Bind proves to who made the introduction that an answer is by a holder of its secret.
func (in Introduction) Bind(answer []byte) []byte { return in.derive("answer", answer) }

// Bound reports whether an answer is by a holder of the secret.
func (in Introduction) Bound(answer, binding []byte) bool {
	return hmac.Equal(binding, in.Bind(answer))
}

// Digits returns the six digits that both ends show if it is they who know each other by it.
func (in Introduction) Digits(other identity.TreeID) string {
	n := binary.BigEndian.Uint64(in.derive("digits", append(in.Tree[:], other[:]...)))
	return fmt.Sprintf("%06d", n%1_000_000)
}

// String names the introduction without its secret.
func (in Introduction) String() string { return fmt.Sprintf("introduction %s of %s", in.ID(), in.Name) }

// Format prints String for every verb (fmt.Formatter).
func (in Introduction) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, in.String()) }

func (in Introduction) derive(label string, data []byte) []byte {
	return in.secret.derive(IntroductionType, label, data)
}

// IntroductionPath is where a gateway serves whoever holds an introduction: a POST of a Response, answered with a Greeting.
const IntroductionPath = "/pair/introduction"

// An IntroductionOffer tells the gateway of an introduction.
type IntroductionOffer struct {
	ID      ID        `json:"id"`
	Token   []byte    `json:"token"`   // SHA-256 of the token
	Expires time.Time `json:"expires"` // whole seconds
}

// Offer returns what the gateway is told of the introduction.
func (in Introduction) Offer() IntroductionOffer {
	token := signed.Sum(in.Token())
	return IntroductionOffer{ID: in.ID(), Token: token[:], Expires: in.Expires()}
}

// A Response is what the holder of an introduction says to the gateway. With neither Taken nor Answer it only asks.
type Response struct {
	ID      ID     `json:"id"`
	Token   []byte `json:"token"`
	Taken   bool   `json:"taken,omitempty"`   // the tree that was introduced is recognized now; that is said once
	Answer  []byte `json:"answer,omitempty"`  // and this is the other, to be recognized in turn
	Binding []byte `json:"binding,omitempty"` // by Bind
}

// A Greeting is what the gateway says about its tree. The introduction tells what of it is true.
type Greeting struct {
	Charter []byte   `json:"charter"`
	Chain   [][]byte `json:"chain"`             // the gateway's certificates
	Address []byte   `json:"address,omitempty"` // its signed address record
}

// An Acquaintance is what has become of an introduction. The answer counts if it is Bound.
type Acquaintance struct {
	Taken   bool   `json:"taken"`
	Answer  []byte `json:"answer,omitempty"`
	Binding []byte `json:"binding,omitempty"`
}

// MaxAnswer is the length of an answer in bytes, at most.
const MaxAnswer = 8 << 10
