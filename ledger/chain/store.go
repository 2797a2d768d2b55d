package chain

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	dbm "github.com/cometbft/cometbft-db"

	"github.com/kindred-iot/kindred/ledger"
)

var (
	heightKey = []byte("height")
	statePart = []byte("s") // before every key of the state
	stateEnd  = []byte("t")
)

// opener opens the database called name in dir.
type opener func(name, dir string) (dbm.DB, error)

func openDB(name, dir string) (dbm.DB, error) {
	db, err := dbm.NewGoLevelDB(name, dir)
	if err != nil {
		return nil, fmt.Errorf("opening %s.db (is another process using it?): %w", name, err)
	}
	return db, nil
}

// load reads the state and the height of the block that it is the state after; 0 before the first.
func load(db dbm.DB, chainID string) (uint64, ledger.State, error) {
	fail := func(err error) (uint64, ledger.State, error) {
		return 0, ledger.State{}, fmt.Errorf("reading ledger.db: %w", err)
	}
	value, err := db.Get(heightKey)
	if err != nil {
		return fail(err)
	}
	var height uint64
	if value != nil {
		if len(value) != 8 {
			return fail(fmt.Errorf("height of %d bytes, want 8", len(value)))
		}
		height = binary.BigEndian.Uint64(value)
	}
	it, err := db.Iterator(statePart, stateEnd)
	if err != nil {
		return fail(err)
	}
	state, err := ledger.Load(chainID, entries(it))
	if err = errors.Join(err, it.Error(), it.Close()); err != nil {
		return fail(err)
	}
	return height, state, nil
}

// entries yields what the iterator has left, without the key's first byte.
func entries(it dbm.Iterator) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for ; it.Valid(); it.Next() {
			if !yield(bytes.Clone(it.Key()[len(statePart):]), bytes.Clone(it.Value())) {
				return
			}
		}
	}
}

// save writes what the block at height changed, all of it or nothing, and returns when it is on disk.
func save(db dbm.DB, height uint64, writes []ledger.Write) (err error) {
	batch := db.NewBatch()
	defer func() { err = errors.Join(err, batch.Close()) }()
	for _, w := range writes {
		if err := batch.Set(append(bytes.Clone(statePart), w.Key...), w.Value); err != nil {
			return fmt.Errorf("writing ledger.db: %w", err)
		}
	}
	if err := batch.Set(heightKey, binary.BigEndian.AppendUint64(nil, height)); err != nil {
		return fmt.Errorf("writing ledger.db: %w", err)
	}
	if err := batch.WriteSync(); err != nil {
		return fmt.Errorf("writing ledger.db: %w", err)
	}
	return nil
}
