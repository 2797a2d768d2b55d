package tree

import (
	"crypto"
	"errors"
	"fmt"
	"strings"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// RecipientType is the type of a signed Recipient.
const RecipientType signed.Type = "kindred/recipient"

// A Recipient says to which key is sealed what a leaf may read while it is away. It is signed by the leaf's own key,
// so that nobody between the leaf and whoever seals can put another one in its place.
type Recipient struct {
	Tree   identity.TreeID   `cbor:"1,keyasint"`
	Member identity.MemberID `cbor:"2,keyasint"`
	Key    []byte            `cbor:"3,keyasint"` // the leaf's, SubjectPublicKeyInfo, DER
	Sealed string            `cbor:"4,keyasint"` // an age recipient, ML-KEM-768 and X25519: age1pq1…, about 2 KB
	Time   int64             `cbor:"5,keyasint"` // Unix time, seconds
}

const (
	sealedPrefix = "age1pq1"
	maxSealed    = 4 << 10 // bytes
)

// OpenRecipient reads the recipient of the member of a tree whose key is pub. That its text is a key is for whoever
// seals to see.
func OpenRecipient(raw []byte, tree identity.TreeID, member identity.MemberID, pub crypto.PublicKey) (Recipient, error) {
	var r Recipient
	s, err := signed.Parse(raw)
	if err == nil {
		err = s.Open(pub, RecipientType, &r)
	}
	switch {
	case err != nil:
	case r.Tree != tree || r.Member != member:
		err = fmt.Errorf("it is of member %s of tree %s", r.Member, r.Tree)
	case !sameKey(r.Key, pub):
		err = errors.New("it names another key than the one that signed it")
	case !strings.HasPrefix(r.Sealed, sealedPrefix) || len(r.Sealed) > maxSealed:
		err = fmt.Errorf("%.20q is no post-quantum recipient of at most %d bytes: want %s…", r.Sealed, maxSealed, sealedPrefix)
	}
	if err != nil {
		return Recipient{}, fmt.Errorf("tree: reading a recipient: %w", err)
	}
	return r, nil
}
