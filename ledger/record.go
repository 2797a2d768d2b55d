package ledger

import (
	"fmt"

	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
)

// A Record is what the ledger has of a tree.
type Record struct {
	Charter  signed.Digest `cbor:"1,keyasint"`
	Epoch    uint64        `cbor:"2,keyasint,omitempty"` // of the charter
	Sequence uint64        `cbor:"3,keyasint"`           // of the head
	Head     signed.Digest `cbor:"4,keyasint"`
}

// Key returns the key of the tree's record in the map of records.
func Key(tree TreeID) merkle.Hash { return merkle.KeyOf("ledger/record", tree[:]) }

// maxRecord is the size of an encoded record in bytes, at most.
const maxRecord = 128

// parseRecord reads an encoded record.
func parseRecord(raw []byte) (Record, error) {
	if len(raw) > maxRecord {
		return Record{}, fmt.Errorf("a record of %d bytes, of at most %d", len(raw), maxRecord)
	}
	var r Record
	if err := signed.Unmarshal(raw, &r); err != nil {
		return Record{}, err
	}
	return r, nil
}

// A Proof shows that a tree's record is in the ledger's state. It says nothing on its own: package light verifies
// that the ledger signed the application hash it leads to.
type Proof struct {
	Record []byte       `cbor:"1,keyasint"` // encoded Record
	Map    merkle.Proof `cbor:"2,keyasint"`
}

// AppHash returns the application hash of every state from which p could have been made for tree, and the record.
func (p Proof) AppHash(tree TreeID) (merkle.Hash, Record, error) {
	fail := func(err error) (merkle.Hash, Record, error) {
		return merkle.Hash{}, Record{}, fmt.Errorf("ledger: reading the proof of tree %s: %w", tree, err)
	}
	record, err := parseRecord(p.Record)
	if err != nil {
		return fail(err)
	}
	root, err := p.Map.Root([]merkle.Entry{{Key: Key(tree), Value: p.Record}})
	if err != nil {
		return fail(err)
	}
	return root, record, nil
}
