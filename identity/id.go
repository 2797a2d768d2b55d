package identity

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// base32Lower is the alphabet of RFC 4648 §6 in lower case, without padding.
var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// A TreeID names a tree of trust for as long as it lives: the SHA-256 hash of the SubjectPublicKeyInfo of its
// first root key. It does not change when the root key does.
type TreeID [sha256.Size]byte

// TreeIDOf returns the ID of the tree whose first root key is pub.
func TreeIDOf(pub crypto.PublicKey) (TreeID, error) {
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return TreeID{}, fmt.Errorf("identity: naming a tree: %w", err)
	}
	return sha256.Sum256(spki), nil
}

// ParseTreeID reads the 52 characters that String returns.
func ParseTreeID(s string) (TreeID, error) {
	var t TreeID
	if err := parseBase32(t[:], s); err != nil {
		return TreeID{}, fmt.Errorf("identity: reading a tree ID: %w", err)
	}
	return t, nil
}

// String returns the ID in lower-case base32, 52 characters.
func (t TreeID) String() string { return base32Lower.EncodeToString(t[:]) }

// IsZero reports whether t names nothing.
func (t TreeID) IsZero() bool { return t == TreeID{} }

// A MemberID names a member of a tree: 16 random bytes, kept when its certificate is renewed and when it moves.
type MemberID [16]byte

// NewMemberID draws a member ID from random.
func NewMemberID(random io.Reader) (MemberID, error) {
	var m MemberID
	if _, err := io.ReadFull(random, m[:]); err != nil {
		return MemberID{}, fmt.Errorf("identity: drawing a member ID: %w", err)
	}
	return m, nil
}

// ParseMemberID reads the 26 characters that String returns.
func ParseMemberID(s string) (MemberID, error) {
	var m MemberID
	if err := parseBase32(m[:], s); err != nil {
		return MemberID{}, fmt.Errorf("identity: reading a member ID: %w", err)
	}
	return m, nil
}

// String returns the ID in lower-case base32, 26 characters.
func (m MemberID) String() string { return base32Lower.EncodeToString(m[:]) }

// IsZero reports whether m names nobody.
func (m MemberID) IsZero() bool { return m == MemberID{} }

// A TreeMember names a member among those of all trees: each gives its members what IDs it likes.
type TreeMember struct {
	Tree   TreeID
	Member MemberID
}

// String returns both IDs, with a slash between them.
func (m TreeMember) String() string { return m.Tree.String() + "/" + m.Member.String() }

// parseBase32 fills dst from s and accepts only what encoding dst gives back.
func parseBase32(dst []byte, s string) error {
	if want := base32Lower.EncodedLen(len(dst)); len(s) != want {
		return fmt.Errorf("%.80q has %d characters, want %d", s, len(s), want)
	}
	raw, err := base32Lower.DecodeString(s)
	if err != nil || base32Lower.EncodeToString(raw) != s {
		return fmt.Errorf("%q is not lower-case base32", s)
	}
	copy(dst, raw)
	return nil
}

// MaxDepth is the number of names in a path at most, and so of certificates below the root.
const MaxDepth = 8

const maxName = 63

// A Path is the names of a member and of those above it, from below the root: "home/porch/doorbell". A name is
// [a-z0-9][a-z0-9._-]{0,62}. The empty path is the root.
type Path string

// ParsePath checks that s is the path of a member, and so not empty.
func ParsePath(s string) (Path, error) {
	names := strings.Split(s, "/")
	if len(names) > MaxDepth {
		return "", fmt.Errorf("identity: path %.80q has %d names, of at most %d", s, len(names), MaxDepth)
	}
	for _, name := range names {
		if !validName(name) {
			return "", fmt.Errorf("identity: path %.80q: %.80q is no name: 1 to %d of a-z 0-9 . _ -, beginning with a letter or digit",
				s, name, maxName)
		}
	}
	return Path(s), nil
}

func validName(s string) bool {
	if len(s) == 0 || len(s) > maxName || strings.IndexByte("._-", s[0]) >= 0 {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// Name returns the last name of p.
func (p Path) Name() string { return string(p[strings.LastIndexByte(string(p), '/')+1:]) }

// Parent returns the path above p; that of a top-level path is the root, "".
func (p Path) Parent() Path { return p[:max(0, strings.LastIndexByte(string(p), '/'))] }

// Within reports whether p is branch or lies below it. Everything lies within the root.
func (p Path) Within(branch Path) bool {
	return branch == "" || p == branch || strings.HasPrefix(string(p), string(branch)+"/")
}

// Join returns the path of the member called name below p.
func (p Path) Join(name string) Path {
	if p == "" {
		return Path(name)
	}
	return p + "/" + Path(name)
}

// An ID is a member's name in the world: its tree and its path. As text it is a SPIFFE ID.
type ID struct {
	Tree TreeID
	Path Path
}

// ParseID reads a SPIFFE ID whose trust domain is a TreeID and whose path is a member's. It compares with what
// String gives back, so that no second spelling of an ID is accepted.
func ParseID(s string) (ID, error) {
	domain, path, ok := strings.Cut(strings.TrimPrefix(s, "spiffe://"), "/")
	if !strings.HasPrefix(s, "spiffe://") || !ok {
		return ID{}, fmt.Errorf("identity: %.120q is not spiffe://TREE/PATH", s)
	}
	tree, err := ParseTreeID(domain)
	if err != nil {
		return ID{}, fmt.Errorf("identity: %.120q: %w", s, err)
	}
	p, err := ParsePath(path)
	if err != nil {
		return ID{}, fmt.Errorf("identity: %.120q: %w", s, err)
	}
	return ID{tree, p}, nil
}

// String returns spiffe://TREE/PATH.
func (id ID) String() string { return id.url().String() }

func (id ID) url() *url.URL {
	u := &url.URL{Scheme: "spiffe", Host: id.Tree.String()}
	if id.Path != "" {
		u.Path = "/" + string(id.Path)
	}
	return u
}

// ParseKey reads the SubjectPublicKeyInfo, DER, of a key that may sign in a tree: Ed25519, or ECDSA on P-256. It
// accepts one encoding of a key.
func ParseKey(spki []byte) (crypto.PublicKey, error) {
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err == nil {
		err = CheckKey(pub)
	}
	if err != nil {
		return nil, fmt.Errorf("identity: reading a public key: %w", err)
	}
	if again, err := x509.MarshalPKIXPublicKey(pub); err != nil || !bytes.Equal(again, spki) {
		return nil, errors.New("identity: reading a public key: it is encoded in another way than DER has it")
	}
	return pub, nil
}

// SameKey reports whether two public keys are the same key.
func SameKey(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && key.Equal(b)
}
