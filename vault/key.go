package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"github.com/kindred-iot/kindred/identity"
)

// KeyFile is the name of a member's key in its folder of keys.
const KeyFile = "sealed.key"

// A Key opens what is sealed to one member: ML-KEM-768 and X25519 together. Its zero value opens nothing.
type Key struct{ identity *age.HybridIdentity }

// A Recipient is the public part of a Key: to whom is sealed. Its zero value is nobody.
type Recipient struct{ recipient *age.HybridRecipient }

// NewKey makes a key that is kept nowhere.
func NewKey() (Key, error) {
	made, err := age.GenerateHybridIdentity()
	if err != nil {
		return Key{}, fmt.Errorf("vault: making a key: %w", err)
	}
	return Key{made}, nil
}

// Recipient returns to whom is sealed for the holder of the key.
func (k Key) Recipient() Recipient {
	if k.identity == nil {
		return Recipient{}
	}
	return Recipient{k.identity.Recipient()}
}

// ParseRecipient reads what String returns.
func ParseRecipient(text string) (Recipient, error) {
	r, err := age.ParseHybridRecipient(text)
	if err != nil {
		return Recipient{}, fmt.Errorf("vault: %.20q is no recipient: want age1pq1 and a key", text)
	}
	return Recipient{r}, nil
}

// String returns the recipient as age writes it, age1pq1…, about 2 KB; "" for nobody.
func (r Recipient) String() string {
	if r.recipient == nil {
		return ""
	}
	return r.recipient.String()
}

// maxKeyFile is far more than a key file takes, in bytes.
const maxKeyFile = 4 << 10

// keyFileHead begins a key file. The form is that of age: its command opens with the file what kindred sealed.
const keyFileHead = "# Opens what is sealed to this member. Whoever has this file can read all of it.\n"

// OpenKey returns the key kept in a folder of keys; an error that is fs.ErrNotExist says that there is none, an
// *identity.ExposedError that others can read it.
func OpenKey(dir string) (Key, error) {
	fail := func(err error) (Key, error) { return Key{}, fmt.Errorf("vault: opening the key: %w", err) }
	name := filepath.Join(dir, KeyFile)
	data, err := identity.ReadKeyFile(name, maxKeyFile)
	if err != nil {
		return fail(err)
	}
	key, err := parseKey(data)
	if err != nil {
		return fail(fmt.Errorf("%s: %w", name, err))
	}
	return key, nil
}

// parseKey reads a key file: one key on a line of its own, and comments. Errors do not quote it.
func parseKey(data []byte) (Key, error) {
	if len(data) > maxKeyFile {
		return Key{}, fmt.Errorf("%d bytes, of at most %d", len(data), maxKeyFile)
	}
	var found Key
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parsed, err := age.ParseHybridIdentity(line)
		if err != nil || found.identity != nil {
			return Key{}, errors.New("it is no file with one key AGE-SECRET-KEY-PQ-1…")
		}
		found.identity = parsed
	}
	if found.identity == nil {
		return Key{}, errors.New("there is no key in it")
	}
	return found, nil
}

// CreateKey makes the key of a member and stores it in its folder of keys (mode 0600; the folder 0700), durably, before
// it returns. It replaces none.
func CreateKey(dir string) (Key, error) {
	key, err := NewKey()
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		data := bytes.Join([][]byte{[]byte(keyFileHead), []byte(key.identity.String()), []byte("\n")}, nil)
		err = write(filepath.Join(dir, KeyFile), data, os.Link) // a link, unlike a rename, never replaces
	}
	if err != nil {
		return Key{}, fmt.Errorf("vault: making the key of a member: %w", err)
	}
	return key, nil
}

// OpenOrCreateKey returns the key kept in a folder of keys, which is made if there is none.
func OpenOrCreateKey(dir string) (Key, error) {
	key, err := OpenKey(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return CreateKey(dir)
	}
	return key, err
}

// write puts a file where name says by place, os.Link or os.Rename, whole or not at all, and on the disk when it
// returns: written under another name, synced, placed, and the folder synced.
func write(name string, data []byte, place func(from, to string) error) error {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, temporary+"*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = place(f.Name(), name)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// temporary begins the names of files that are being written.
const temporary = ".new-"
