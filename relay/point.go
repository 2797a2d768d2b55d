package relay

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
)

// Epoch is how long a point is the current one.
const Epoch = 6 * time.Hour

// A Secret is what the members of a home find each other with.
type Secret [32]byte

// NewSecret makes a secret.
func NewSecret() (s Secret) {
	rand.Read(s[:]) // never fails: crypto/rand
	return s
}

// An Identifier names a point. Without the secret it is a random number.
type Identifier [ed25519.PublicKeySize]byte

// String returns 64 hexadecimal digits.
func (id Identifier) String() string { return hex.EncodeToString(id[:]) }

// ParseIdentifier reads what String returns.
func ParseIdentifier(text string) (id Identifier, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(id) || hex.EncodeToString(raw) != text {
		return id, fmt.Errorf("relay: %.80q is no identifier", text)
	}
	return Identifier(raw), nil
}

// A Point is where a member's note is left during one epoch.
type Point struct {
	ID    Identifier
	epoch int64
	write ed25519.PrivateKey
	seal  cipher.AEAD
}

// Point returns where a member's note is to be left at a time.
func (s Secret) Point(member identity.MemberID, at time.Time) (Point, error) {
	return s.point(member, epochOf(at))
}

// Points returns where to look for a member's note at a time: there are late ones.
func (s Secret) Points(member identity.MemberID, at time.Time) ([]Point, error) {
	now, err := s.point(member, epochOf(at))
	if err != nil {
		return nil, err
	}
	before, err := s.point(member, epochOf(at)-1)
	return []Point{now, before}, err
}

func (s Secret) point(member identity.MemberID, epoch int64) (Point, error) {
	p := Point{epoch: epoch}
	seed, err := s.derive("kindred rendezvous 1 write", member[:], epoch)
	if err != nil {
		return p, err
	}
	p.write = ed25519.NewKeyFromSeed(seed)
	p.ID = Identifier(p.write.Public().(ed25519.PublicKey))
	key, err := s.derive("kindred rendezvous 1 seal", member[:], epoch)
	if err != nil {
		return p, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return p, err
	}
	p.seal, err = cipher.NewGCM(block)
	return p, err
}

// Household returns the tag by which a relay counts what members of a home hold there. relay is the relay's key.
func (s Secret) Household(relay ed25519.PublicKey, at time.Time) (peer.Tag, error) {
	tag, err := s.derive("kindred relay 1 household", relay, epochOf(at))
	if err != nil {
		return peer.Tag{}, err
	}
	return peer.Tag(tag), nil
}

func (s Secret) derive(text string, of []byte, epoch int64) ([]byte, error) {
	info := binary.BigEndian.AppendUint64(append([]byte(text), of...), uint64(epoch))
	return hkdf.Key(sha256.New, s[:], nil, string(info), 32)
}

func epochOf(at time.Time) int64 { return at.Unix() / int64(Epoch/time.Second) }

// ends returns when an epoch is over.
func ends(epoch int64) time.Time { return time.Unix((epoch+1)*int64(Epoch/time.Second), 0) }

// Until returns when the point that is current at a time is current no more.
func Until(at time.Time) time.Time { return ends(epochOf(at)) }
