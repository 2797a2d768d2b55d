package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Keys keeps private keys. A key is used through its crypto.Signer and never handed out.
type Keys interface {
	// Create makes and stores an Ed25519 key under a name that is free, durably, before it returns.
	Create(name string) (crypto.Signer, error)
	// CreateP256 is Create for an ECDSA key on P-256, for what is shown to software that knows no Ed25519.
	CreateP256(name string) (crypto.Signer, error)
	// Open returns the key stored under name; an error that is fs.ErrNotExist says there is none, an *ExposedError that
	// others can read it.
	Open(name string) (crypto.Signer, error)
}

const pemKey = "PRIVATE KEY" // PKCS #8, RFC 5958

// maxKeyFile is far more than a key file takes, in bytes.
const maxKeyFile = 4 << 10

// KeyDir returns the keys kept as files (PEM, PKCS #8, mode 0600) in dir, which is made with mode 0700.
func KeyDir(dir string) Keys { return keyDir(dir) }

type keyDir string

func (d keyDir) file(name string) string { return filepath.Join(string(d), name+".pem") }

func (d keyDir) Create(name string) (crypto.Signer, error) {
	return d.create(name, func() (crypto.Signer, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	})
}

func (d keyDir) CreateP256(name string) (crypto.Signer, error) { return d.create(name, NewP256) }

// NewP256 makes an ECDSA key on P-256.
func NewP256() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// MarshalKey encodes a private key as KeyDir keeps it: PEM, PKCS #8.
func MarshalKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("identity: encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
}

func (d keyDir) create(name string, make func() (crypto.Signer, error)) (crypto.Signer, error) {
	fail := func(err error) (crypto.Signer, error) {
		return nil, fmt.Errorf("identity: making key %q: %w", name, err)
	}
	if !validName(name) {
		return fail(errors.New("not a name"))
	}
	if _, err := os.Stat(d.file(name)); !errors.Is(err, fs.ErrNotExist) {
		return fail(errors.Join(err, fs.ErrExist))
	}
	key, err := make()
	if err != nil {
		return fail(err)
	}
	data, err := MarshalKey(key)
	if err != nil {
		return fail(err)
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fail(err)
	}
	if err := writeNew(d.file(name), data); err != nil {
		return fail(err)
	}
	return key, nil
}

func (d keyDir) Open(name string) (crypto.Signer, error) {
	fail := func(err error) (crypto.Signer, error) {
		return nil, fmt.Errorf("identity: opening key %q: %w", name, err)
	}
	if !validName(name) {
		return fail(errors.New("not a name"))
	}
	data, err := ReadKeyFile(d.file(name), maxKeyFile)
	if err != nil {
		return fail(err)
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemKey || len(rest) > 0 {
		return fail(fmt.Errorf("%s holds no single PEM block %q", d.file(name), pemKey))
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fail(errors.New("not a PKCS #8 key")) // the library's error could quote the key
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return fail(fmt.Errorf("a key of type %T, which signs nothing", key))
	}
	if err := CheckKey(signer.Public()); err != nil {
		return fail(err)
	}
	return signer, nil
}

// writeNew writes a file that did not exist, whole or not at all, and on the disk when it returns: written under
// another name, synced, linked, and the directory synced. A link, unlike a rename, never replaces.
func writeNew(name string, data []byte) error {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), name); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
