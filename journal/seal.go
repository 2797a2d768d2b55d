package journal

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred/identity"
)

// A Seal is a key that entries of one log are sealed with: its secret is in the log too, sealed to whom they concern, and
// otherwise in memory alone. Entries with the same Seal are of one [SealID].
type Seal struct {
	id   SealID
	at   int64
	aead cipher.AEAD
}

// A SealID names a Seal in its log: the first bytes of a SHA-256 over its secret, so whoever has a secret knows whether
// it is the right one.
type SealID [8]byte

const (
	sealSecret  = 32 // bytes: AES-256
	sealDomain  = "kindred/journal-seal\x00"
	sealPadding = 256 // bytes that the size of what is sealed is a multiple of

	// MaxSeals is how many seals are told of at a time.
	MaxSeals = 256

	// maxSealed bounds what is sealed in an entry, in bytes: with what stands beside it, MaxEntry is enough.
	maxSealed = MaxEntry - 1024
)

func sealIDOf(secret []byte) SealID {
	sum := sha256.Sum256(append([]byte(sealDomain), secret...))
	return SealID(sum[:])
}

// OpenSeal makes a Seal of its secret, for reading.
func OpenSeal(secret []byte) (*Seal, error) {
	if len(secret) != sealSecret {
		return nil, fmt.Errorf("journal: a seal's secret of %d bytes, want %d", len(secret), sealSecret)
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &Seal{id: sealIDOf(secret), aead: aead}, err
}

// ID names the Seal.
func (s *Seal) ID() SealID { return s.id }

// NewSeal makes a Seal and has it in the log, of a thing at a time, once it is on disk. to seals its secret to those
// who are to open what is sealed with it; nobody else ever can.
func (l *Log) NewSeal(ctx context.Context, now time.Time, thing Party, to func(secret []byte) ([]byte, error)) (*Seal, error) {
	secret := make([]byte, sealSecret)
	rand.Read(secret)
	s, err := OpenSeal(secret)
	if err != nil {
		return nil, err
	}
	sealed, err := to(secret)
	if err != nil {
		return nil, fmt.Errorf("journal: making a seal: %w", err)
	}
	place, err := l.AppendAt(ctx, Entry{
		Time: now, Thing: thing, Op: MakeSeal, Outcome: Served, Sealed: &Sealed{Seal: s.id, Box: sealed},
	})
	s.at = place.Index
	return s, err
}

// A Sealed is the part of an entry that only those open whom it concerns.
type Sealed struct {
	Seal SealID `json:"seal"`
	At   int64  `json:"at,omitempty"` // which entry of the log made the Seal; 0 in that entry itself
	Box  []byte `json:"box"`          // a nonce of 12 bytes and AES-256-GCM; of [MakeSeal] the secret, as its maker sealed it
}

type wireSealed struct {
	Seal [8]byte `cbor:"1,keyasint"`
	At   int64   `cbor:"2,keyasint,omitempty"`
	Box  []byte  `cbor:"3,keyasint"`
}

func (s *Sealed) wire() *wireSealed {
	if s == nil {
		return nil
	}
	return &wireSealed{s.Seal, s.At, s.Box}
}

func (w *wireSealed) sealed() *Sealed {
	if w == nil {
		return nil
	}
	return &Sealed{w.Seal, w.At, w.Box}
}

// bound is what a sealed part is bound to besides: it opens in no entry of another tree, time, place or kind.
func (e Entry) bound(tree identity.TreeID) []byte {
	b := binary.BigEndian.AppendUint64(tree[:], uint64(e.Time.UnixMilli()))
	b = append(b, e.Thing.Member[:]...)
	return append(b, e.Op...)
}

// shell is what of a sealed entry everybody sees: when, where, and whether it is of something that an entry before tells
// of: a receipt, or how it ended. So others count nothing twice, and do not see whether it failed.
func (e Entry) shell() Entry {
	op := Private
	if e.Op == Countersign || e.Outcome == Failed || e.Outcome == Ended {
		op = Countersign
	}
	return Entry{Time: e.Time, Thing: e.Thing, Op: op, Outcome: Served}
}

// sealed returns the shell of an entry, with all of it sealed inside.
func (e Entry) sealed(tree identity.TreeID) (Entry, error) {
	by := e.Seal
	e.Seal = nil
	whole, err := e.encode(tree)
	if err != nil {
		return Entry{}, err
	}
	if len(whole) > maxSealed {
		return Entry{}, fmt.Errorf("journal: sealing an entry: %d bytes, of at most %d", len(whole), maxSealed)
	}
	plain := append(binary.BigEndian.AppendUint16(nil, uint16(len(whole))), whole...)
	plain = append(plain, make([]byte, -len(plain)&(sealPadding-1))...)
	out := e.shell()
	out.Sealed = &Sealed{Seal: by.id, At: by.at, Box: by.aead.Seal(nil, nil, plain, out.bound(tree))}
	return out, nil
}

// ErrOtherSeal says that an entry was sealed with another Seal than the one given.
var ErrOtherSeal = errors.New("journal: the entry is sealed with another key")

// Open returns the whole of a sealed entry of a log of the tree.
func (s *Seal) Open(tree identity.TreeID, e Entry) (Entry, error) {
	if e.Sealed == nil || e.Sealed.Seal != s.id {
		return Entry{}, ErrOtherSeal
	}
	plain, err := s.aead.Open(nil, nil, e.Sealed.Box, e.bound(tree))
	if err != nil {
		return Entry{}, fmt.Errorf("journal: opening a sealed entry: %w", err)
	}
	opened, err := unpad(tree, plain)
	if err != nil {
		return Entry{}, fmt.Errorf("journal: opening a sealed entry: %w", err)
	}
	if shell := opened.shell(); !shell.Time.Equal(e.Time) || shell.Thing != e.Thing || shell.Op != e.Op {
		return Entry{}, errors.New("journal: opening a sealed entry: it tells of another time or place than its outside")
	}
	return opened, nil
}

// unpad reads an entry that has its length before it and zeros behind.
func unpad(tree identity.TreeID, plain []byte) (Entry, error) {
	if len(plain) < 2 {
		return Entry{}, errors.New("there is nothing in it")
	}
	n, rest := int(binary.BigEndian.Uint16(plain)), plain[2:]
	if n > len(rest) || len(bytes.Trim(rest[n:], "\x00")) > 0 {
		return Entry{}, fmt.Errorf("an entry of %d bytes in %d, or no zeros behind it", n, len(rest))
	}
	e, err := ParseEntry(tree, rest[:n])
	if err == nil && e.Sealed != nil {
		err = errors.New("it is sealed twice")
	}
	return e, err
}

// checkSealed checks what an entry has of seals: nothing; or a sealed part, and else a shell; or a seal's secret.
func (e Entry) checkSealed() error {
	s := e.Sealed
	e.Sealed, e.Seal = nil, nil
	shell := e.shell()
	if e.Op == MakeSeal {
		shell.Op = MakeSeal
	}
	const around = 12 + 16 // nonce and tag
	switch {
	case s == nil && (e.Op == Private || e.Op == MakeSeal):
		return fmt.Errorf("%s with nothing sealed in it", e.Op)
	case s == nil:
		return nil
	case e != shell:
		return errors.New("a sealed entry that says more than when and where")
	case e.Op == MakeSeal && (s.At != 0 || len(s.Box) == 0 || len(s.Box) > maxSealed):
		return fmt.Errorf("the secret of a seal in %d bytes", len(s.Box))
	case e.Op != MakeSeal && (s.At < 0 || len(s.Box) <= around || len(s.Box) > maxSealed+sealPadding+around || (len(s.Box)-around)%sealPadding != 0):
		return fmt.Errorf("a sealed part of %d bytes, by the seal of entry %d", len(s.Box), s.At)
	}
	return nil
}

// Seals returns the sealed secrets that the entries among items are to be opened with, each once and at most MaxSeals. One
// that is not in the log, or not what an entry says, is left out: then that entry stays closed.
func (r *Replica) Seals(ctx context.Context, items []Item) (secrets [][]byte, err error) {
	seen := map[entryKey]bool{}
	for _, item := range items {
		s := item.Entry.Sealed
		if s == nil || item.Entry.Op == MakeSeal {
			continue
		}
		key := entryKey{item.Node, s.At}
		if seen[key] || len(seen) == MaxSeals {
			continue
		}
		seen[key] = true
		err := r.port.LogRows(ctx, item.Node[:], s.At, s.At+1, func(index int64, row Row) error {
			made, err := readItem(r.tree, item.Node[:], index, row)
			if err == nil && made.Entry.Op == MakeSeal && made.Entry.Sealed.Seal == s.Seal {
				secrets = append(secrets, made.Entry.Sealed.Box)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("journal: looking for seals: %w", err)
		}
	}
	return secrets, nil
}
