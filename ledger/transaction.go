package ledger

import (
	"crypto"
	"errors"
	"fmt"

	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// MaxTransaction is the size of a transaction in bytes, at most.
const MaxTransaction = 64 << 10

// The types of transaction.
const (
	RegisterType   signed.Type = "kindred/register"
	AdvanceType    signed.Type = "kindred/advance"
	RecharterType  signed.Type = "kindred/recharter"
	ValidatorsType signed.Type = "kindred/validators"
)

// register puts a tree on the ledger.
type register struct {
	Chain    string        `cbor:"1,keyasint"`
	Tree     TreeID        `cbor:"2,keyasint"`
	Charters [][]byte      `cbor:"3,keyasint"` // from epoch 0 to the current one
	Sequence uint64        `cbor:"4,keyasint"`
	Head     signed.Digest `cbor:"5,keyasint"`
}

// advance records a tree's next head.
type advance struct {
	Chain    string        `cbor:"1,keyasint"`
	Tree     TreeID        `cbor:"2,keyasint"`
	Charter  signed.Digest `cbor:"3,keyasint"`
	Sequence uint64        `cbor:"4,keyasint"`
	Head     signed.Digest `cbor:"5,keyasint"`
}

// NewRegister returns the transaction that puts a tree on a chain, starting with the head of the given sequence and
// digest. The key is the tree's current root key; charters lead from the first to the current one, which has an
// anchor on the chain.
func NewRegister(root crypto.Signer, chain string, charters [][]byte, sequence uint64, head signed.Digest) ([]byte, error) {
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("ledger: making a registration: %w", err)
	}
	if len(charters) == 0 {
		return fail(errors.New("no charter given"))
	}
	s, err := signed.Parse(charters[0])
	if err != nil {
		return fail(err)
	}
	var c tree.Charter
	if err := signed.Unmarshal(s.Payload, &c); err != nil {
		return fail(err)
	}
	tx, err := signed.Sign(root, RegisterType, register{Chain: chain, Tree: c.Tree, Charters: charters, Sequence: sequence, Head: head})
	if err == nil && len(tx) > MaxTransaction {
		err = fmt.Errorf("%d bytes, of at most %d", len(tx), MaxTransaction)
	}
	if err != nil {
		return fail(err)
	}
	return tx, nil
}

// NewAdvance returns the transaction that records a tree's next head under its recorded charter.
func NewAdvance(keeper crypto.Signer, chain string, id TreeID, charter signed.Digest, sequence uint64, head signed.Digest) ([]byte, error) {
	tx, err := signed.Sign(keeper, AdvanceType, advance{Chain: chain, Tree: id, Charter: charter, Sequence: sequence, Head: head})
	if err != nil {
		return nil, fmt.Errorf("ledger: making an advance: %w", err)
	}
	return tx, nil
}

// parse reads a transaction: the statement and what it says, a *register or an *advance. No signature has been
// checked.
func parse(raw []byte) (signed.Statement, any, error) {
	if len(raw) > MaxTransaction {
		return signed.Statement{}, nil, fmt.Errorf("%d bytes, of at most %d", len(raw), MaxTransaction)
	}
	s, err := signed.Parse(raw)
	if err != nil {
		return s, nil, err
	}
	if n := len(s.Chain); n > 0 {
		return s, nil, fmt.Errorf("it carries %d certificates, want none", n)
	}
	var body any
	switch s.Type {
	case RegisterType:
		body = new(register)
	case AdvanceType:
		body = new(advance)
	case RecharterType, ValidatorsType:
		return s, nil, fmt.Errorf("%q: %w", s.Type, ErrUnsupported)
	default:
		return s, nil, fmt.Errorf("a %q is no transaction", s.Type)
	}
	return s, body, signed.Unmarshal(s.Payload, body)
}
