package identity

import (
	"fmt"
	"slices"
)

// A Kind says what a member is, and so which members it may sign and how it may be used.
type Kind uint8

// The kinds of member. The numbers stand in certificates and never change.
const (
	Root    Kind = 1 // the top of a tree
	Owner   Kind = 2 // an adult in charge
	Person  Kind = 3 // somebody who lives there or visits
	Place   Kind = 4 // the system that devices live in: a home, a hall, an apiary
	Device  Kind = 5 // a thing, a gateway
	App     Kind = 6 // acts for the owner or person right above it
	Service Kind = 7 // a company's or a helper's software
)

var kindNames = [...]string{Root: "root", Owner: "owner", Person: "person", Place: "place", Device: "device", App: "app", Service: "service"}

// nesting lists which kinds each kind may sign.
var nesting = [...][]Kind{
	Root:    {Owner, Person, Place, Service},
	Owner:   {App, Person, Service},
	Person:  {App},
	Place:   {Place, Device},
	Service: nil,
}

// ParseKind reads the name that String returns.
func ParseKind(s string) (Kind, error) {
	if i := slices.Index(kindNames[1:], s); i >= 0 {
		return Kind(i + 1), nil
	}
	return 0, fmt.Errorf("identity: %.40q is no kind of member: want one of %v", s, kindNames[2:])
}

// Valid reports whether k is one of the kinds above.
func (k Kind) Valid() bool { return k >= Root && k <= Service }

// String returns the kind's name in lower case.
func (k Kind) String() string {
	if !k.Valid() {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return kindNames[k]
}

// MaySign reports whether a member of kind k may have members of kind child right below it.
func (k Kind) MaySign(child Kind) bool {
	return int(k) < len(nesting) && slices.Contains(nesting[k], child)
}

// Leaf reports whether a member of kind k ends a chain: it holds a connection's key and signs no certificates.
func (k Kind) Leaf() bool { return k == Device || k == App || k == Service }
