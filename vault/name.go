package vault

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"fmt"

	"github.com/kindred-iot/kindred/identity"
)

// A Name names an object: 16 random bytes, and 16 that show to who knows the thing's member ID, which is random too,
// that the object is that thing's, and of which role. To everybody else a name is 32 random bytes.
type Name [32]byte

// A role is what an object is for.
type role string

const (
	roleIndex     role = "index"
	roleRecording role = "recording"
)

var nameText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newName draws a name for an object of a thing.
func newName(thing identity.MemberID, of role) Name {
	var n Name
	rand.Read(n[:16])
	copy(n[16:], n.tag(thing, of))
	return n
}

// tag is the half of a name that says whose it is and what for.
func (n Name) tag(thing identity.MemberID, of role) []byte {
	h := hmac.New(sha256.New, thing[:])
	h.Write([]byte("kindred/vault/" + of))
	h.Write(n[:16])
	return h.Sum(nil)[:16]
}

// of reports whether the name is that of an object of a thing with this role.
func (n Name) of(thing identity.MemberID, of role) bool { return hmac.Equal(n[16:], n.tag(thing, of)) }

// String returns the 52 characters under which the object is stored.
func (n Name) String() string { return nameText.EncodeToString(n[:]) }

// ParseName reads what String returns.
func ParseName(s string) (Name, error) {
	var n Name
	data, err := nameText.DecodeString(s)
	if err != nil || len(data) != len(n) || nameText.EncodeToString(data) != s {
		return Name{}, fmt.Errorf("vault: %.60q is no name of an object: want 52 characters of base32", s)
	}
	return Name(data), nil
}
