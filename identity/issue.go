package identity

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"time"
)

// arc is Kindred's own: 2.25.1802071524. Longer arcs, such as a whole UUID, make crypto/x509 refuse a certificate.
const arc = 1802071524

var (
	oidKind    = asn1.ObjectIdentifier{2, 25, arc, 1} // INTEGER, a Kind
	oidMember  = asn1.ObjectIdentifier{2, 25, arc, 2} // OCTET STRING, a MemberID
	oidTool    = asn1.ObjectIdentifier{2, 25, arc, 3} // BOOLEAN, true: a tool's
	oidAltName = asn1.ObjectIdentifier{2, 5, 29, 17}  // subjectAltName
)

// derTrue is the only value that oidTool has.
var derTrue = []byte{asn1.TagBoolean, 1, 0xff}

// rootName is the common name of every root. What a household calls itself stays out of certificates.
const rootName = "root"

// A Subject is what a certificate is issued to.
type Subject struct {
	Kind      Kind
	Member    MemberID
	Name      string           // the last name of the path
	Key       crypto.PublicKey // Ed25519, or ECDSA on P-256
	NotBefore time.Time
	NotAfter  time.Time
	Tool      bool // of an app, for ToolLife at most: see Link.Tool
}

// An Authority signs certificates for the members right below it.
type Authority struct {
	tree  TreeID
	path  Path
	kind  Kind
	cert  *x509.Certificate
	chain [][]byte // from cert up to, without, the root
	key   crypto.Signer
}

// NewRoot makes the root of a new tree, whose ID follows from key.
func NewRoot(key crypto.Signer, member MemberID, notBefore, notAfter time.Time) (*Authority, error) {
	tree, err := TreeIDOf(key.Public())
	if err != nil {
		return nil, err
	}
	s := Subject{Kind: Root, Member: member, Name: rootName, Key: key.Public(), NotBefore: notBefore, NotAfter: notAfter}
	der, err := create(tree, "", s, nil, key)
	if err != nil {
		return nil, fmt.Errorf("identity: making a root: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("identity: making a root: %w", err)
	}
	return &Authority{tree: tree, kind: Root, cert: cert, key: key}, nil
}

// RootAuthority returns the authority of a tree's root, given its certificate and key.
func RootAuthority(tree TreeID, der []byte, key crypto.Signer) (*Authority, error) {
	cert, err := ParseRoot(tree, der)
	if err != nil {
		return nil, err
	}
	if !SameKey(cert.PublicKey, key.Public()) {
		return nil, errors.New("identity: opening a root: the key is not the certificate's")
	}
	return &Authority{tree: tree, kind: Root, cert: cert, key: key}, nil
}

// NewAuthority returns the authority of the member that chain was verified to be.
func NewAuthority(chain Chain, key crypto.Signer) (*Authority, error) {
	if !SameKey(chain.Key, key.Public()) {
		return nil, fmt.Errorf("identity: opening the authority of %s: the key is not its certificate's", chain.ID.Path)
	}
	if chain.Kind().Leaf() {
		return nil, fmt.Errorf("identity: opening the authority of %s: a %s signs no certificates", chain.ID.Path, chain.Kind())
	}
	return &Authority{
		tree: chain.ID.Tree, path: chain.ID.Path, kind: chain.Kind(),
		cert: chain.certs[0], chain: chain.Raw, key: key,
	}, nil
}

// Tree returns the tree that a belongs to.
func (a *Authority) Tree() TreeID { return a.tree }

// Path returns a's place in the tree, "" for the root.
func (a *Authority) Path() Path { return a.path }

// Kind returns what a is.
func (a *Authority) Kind() Kind { return a.kind }

// Certificate returns a's own certificate in DER.
func (a *Authority) Certificate() []byte { return a.cert.Raw }

// Issue signs a certificate for s and returns its chain, leaf first, without the root.
func (a *Authority) Issue(s Subject) ([][]byte, error) {
	path := a.path.Join(s.Name)
	fail := func(err error) ([][]byte, error) { return nil, fmt.Errorf("identity: issuing %s: %w", path, err) }
	if !a.kind.MaySign(s.Kind) {
		return fail(fmt.Errorf("a %s does not sign a %s", a.kind, s.Kind))
	}
	if _, err := ParsePath(string(path)); err != nil {
		return fail(err)
	}
	if s.Tool && (s.Kind != App || s.NotAfter.Sub(s.NotBefore) > ToolLife) {
		return fail(fmt.Errorf("a tool is an app for %s at most", ToolLife))
	}
	if s.NotAfter.After(a.cert.NotAfter) {
		s.NotAfter = a.cert.NotAfter
	}
	if s.NotBefore.Before(a.cert.NotBefore) { // as a whole the chain would not hold then
		s.NotBefore = a.cert.NotBefore
	}
	der, err := create(a.tree, path, s, a.cert, a.key)
	if err != nil {
		return fail(err)
	}
	return append([][]byte{der}, a.chain...), nil
}

// create signs a certificate; without a parent it signs itself.
func create(tree TreeID, path Path, s Subject, parent *x509.Certificate, key crypto.Signer) ([]byte, error) {
	if err := CheckKey(s.Key); err != nil {
		return nil, err
	}
	if s.Member.IsZero() {
		return nil, errors.New("no member ID")
	}
	kind, err := asn1.Marshal(int(s.Kind))
	if err != nil {
		return nil, err
	}
	member, err := asn1.Marshal(s.Member[:])
	if err != nil {
		return nil, err
	}
	serial := make([]byte, 16)
	if _, err := rand.Read(serial); err != nil {
		return nil, err
	}
	serial[0] &= 0x7f
	t := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		Subject:      pkix.Name{CommonName: s.Name},
		NotBefore:    s.NotBefore.UTC(),
		NotAfter:     s.NotAfter.UTC(),
		ExtraExtensions: []pkix.Extension{
			{Id: oidKind, Value: kind},
			{Id: oidMember, Value: member},
		},
		BasicConstraintsValid: true,
	}
	if s.Tool {
		t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: oidTool, Value: derTrue})
	}
	if s.Kind.Leaf() {
		t.URIs = []*url.URL{ID{tree, path}.url()}
		t.KeyUsage = x509.KeyUsageDigitalSignature
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	} else {
		confine(t, tree, s.Kind)
	}
	if parent == nil {
		parent = t
	}
	return x509.CreateCertificate(rand.Reader, t, parent, s.Key, key)
}

// confine makes t a CA that can sign names of the tree's trust domain and nothing else: no DNS name, no address, no
// mail box. crypto/x509 enforces it, and so does every other verifier.
func confine(t *x509.Certificate, tree TreeID, kind Kind) {
	t.IsCA = true
	t.KeyUsage = x509.KeyUsageCertSign
	t.URIs = []*url.URL{ID{Tree: tree}.url()}
	switch kind {
	case Owner:
		t.MaxPathLen = 1 // a person, and below it an app
	case Person:
		t.MaxPathLenZero = true
	}
	t.PermittedDNSDomainsCritical = true // the flag of the whole extension (RFC 5280 §4.2.1.10)
	t.PermittedURIDomains = []string{tree.String()}
	t.ExcludedDNSDomains = anyDomain
	t.ExcludedEmailAddresses = anyDomain
	t.ExcludedIPRanges = anyAddress
}

// confined reports whether a certificate has the name constraints that confine gives, no more and no less.
func confined(cert *x509.Certificate, tree TreeID) bool {
	return cert.PermittedDNSDomainsCritical &&
		slices.Equal(cert.PermittedURIDomains, []string{tree.String()}) &&
		slices.Equal(cert.ExcludedDNSDomains, anyDomain) &&
		slices.Equal(cert.ExcludedEmailAddresses, anyDomain) &&
		excludesAddresses(cert) &&
		len(cert.PermittedDNSDomains)+len(cert.PermittedEmailAddresses)+len(cert.PermittedIPRanges)+len(cert.ExcludedURIDomains) == 0
}
