package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// ErrDamaged says that something in a store is not what a thing put there.
var ErrDamaged = errors.New("it is not what was stored")

// A Reader finds and opens what is sealed to the holder of a key.
type Reader struct {
	Store  Store
	Key    Key
	Verify Verify // chains of the tree's members
}

// A Found is a recording that is sealed to the reader and whose entry the thing signed.
type Found struct {
	Entry
	Affordance string
}

// A Shelf is what a store has of one thing.
type Shelf struct {
	Found   []Found // by when they begin
	Others  int     // indexes that are sealed to others only
	Damaged []error // indexes that are not what the thing put there, each with its name
}

// indexesAtOnce is how many indexes are read at the same time.
const indexesAtOnce = 8

// Of returns what the store has of a thing that ended at or after a moment; the zero time is since ever. A store can
// hide what it has, and give an older state of an index. It can alter nothing.
func (r Reader) Of(ctx context.Context, thing identity.MemberID, since time.Time) (Shelf, error) {
	names, err := objectsOf(ctx, r.Store, thing, func(put time.Time) bool {
		return !put.Before(since.Add(-slack)) // an index is stored anew with each recording, shortly after its end
	}, roleIndex)
	if err != nil {
		return Shelf{}, err
	}
	indexes, errs := make([]Index, len(names)), make([]error, len(names))
	var wait sync.WaitGroup
	turns := make(chan struct{}, indexesAtOnce)
	for i, name := range names {
		turns <- struct{}{}
		wait.Go(func() {
			defer func() { <-turns }()
			indexes[i], errs[i] = r.index(ctx, name, thing)
		})
	}
	wait.Wait()
	return shelf(indexes, errs, since)
}

// slack is how far a store's clock may be behind that of a thing.
const slack = time.Hour

// shelf puts indexes together, each of which was read or not.
func shelf(indexes []Index, errs []error, since time.Time) (Shelf, error) {
	var s Shelf
	for i, x := range indexes {
		switch err := errs[i]; {
		case errors.Is(err, fs.ErrNotExist): // deleted meanwhile
			continue
		case errors.Is(err, ErrNotForMe):
			s.Others++
			continue
		case errors.Is(err, ErrDamaged):
			s.Damaged = append(s.Damaged, err)
			continue
		case err != nil:
			return Shelf{}, err
		}
		for _, e := range x.Entries {
			if since.IsZero() || e.Until >= since.UnixMilli() {
				s.Found = append(s.Found, Found{e, x.Affordance})
			}
		}
	}
	slices.SortFunc(s.Found, func(a, b Found) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Title, b.Title), slices.Compare(a.Object[:], b.Object[:]))
	})
	return s, nil
}

// index reads one index.
func (r Reader) index(ctx context.Context, name Name, thing identity.MemberID) (Index, error) {
	sealed, err := r.Store.Get(ctx, name.String())
	if err != nil {
		return Index{}, err
	}
	raw, err := r.open(sealed)
	if err != nil {
		return Index{}, fmt.Errorf("vault: index %s: %w", name, err)
	}
	x, err := openIndex(raw, name, thing, r.Verify)
	if err != nil {
		return Index{}, fmt.Errorf("vault: index %s: %w: %w", name, ErrDamaged, err)
	}
	return x, nil
}

// Open returns the content of a recording. The error is ErrDamaged if it is not what the thing stored, and
// fs.ErrNotExist if it is not there any more.
func (r Reader) Open(ctx context.Context, f Found) ([]byte, error) {
	sealed, err := r.Store.Get(ctx, f.Object.String())
	if err != nil {
		return nil, err
	}
	content, err := r.open(sealed)
	if err == nil && (int64(len(content)) != f.Size || signed.Sum(content) != f.Sum) {
		err = fmt.Errorf("%w: its size or sum is another", ErrDamaged)
	}
	if errors.Is(err, ErrNotForMe) { // its index is
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, fmt.Errorf("vault: recording %s: %w", f.Title, err)
	}
	return content, nil
}

// open opens something stored. What cannot be opened, and is not for others, is damaged.
func (r Reader) open(sealed []byte) ([]byte, error) {
	content, err := r.Key.open(sealed)
	if err != nil && !errors.Is(err, ErrNotForMe) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return content, err
}
