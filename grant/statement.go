package grant

import (
	"crypto"
	"errors"
	"fmt"

	"github.com/kindred-iot/kindred/signed"
)

// Sign returns the grant of these terms, signed by a leaf that acts for the giver. The chain is the leaf's: its
// certificates, DER, leaf first, without the root.
func Sign(key crypto.Signer, chain [][]byte, t Terms) ([]byte, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	if len(chain) == 0 {
		return nil, errors.New("grant: signing: no certificates of the signer")
	}
	raw, err := signed.Sign(key, Type, t, chain...)
	if err != nil {
		return nil, fmt.Errorf("grant: signing: %w", err)
	}
	return raw, nil
}

// signChecked signs what somebody says about grants, after it was checked. What names it in errors.
func signChecked[P interface{ validate() error }](key crypto.Signer, chain [][]byte, t signed.Type, what string, p P) ([]byte, error) {
	err := p.validate()
	var raw []byte
	if err == nil {
		raw, err = signed.Sign(key, t, p, chain...)
	}
	if err != nil {
		return nil, fmt.Errorf("grant: signing %s: %w", what, err)
	}
	return raw, nil
}

// Parse reads a grant to show it or to file it. It checks the form and verifies nothing.
func Parse(raw []byte) (Terms, signed.Statement, error) {
	t, s, err := parse(raw)
	if err != nil {
		return Terms{}, signed.Statement{}, fmt.Errorf("grant: reading: %w", err)
	}
	return t, s, nil
}

func parse(raw []byte) (Terms, signed.Statement, error) {
	var t Terms
	s, err := signed.Read(raw, Type, &t)
	if err == nil {
		err = t.Validate()
	}
	return t, s, err
}
