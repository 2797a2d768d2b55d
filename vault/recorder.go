package vault

import (
	"context"
	"crypto"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// A Recording is what a thing recorded.
type Recording struct {
	Affordance string    // of the thing, whose readers read it
	Title      string    // the name of a file, at most 128 bytes
	Type       string    // media type
	From       time.Time // when it begins
	Until      time.Time // when it ends
	Content    []byte    // at most MaxContent
}

// A Recorder seals what one thing records, and stores it. Its methods may be called from several goroutines.
type Recorder struct {
	store Store
	key   crypto.Signer
	thing identity.Chain
	now   func() time.Time

	mu    sync.Mutex // held while storing: an index grows by one recording at a time
	pages map[string]*page
}

// NewRecorder returns the recorder of a thing, whose leaf key signs what it lists.
func NewRecorder(store Store, key crypto.Signer, thing identity.Chain, now func() time.Time) *Recorder {
	return &Recorder{store: store, key: key, thing: thing, now: now, pages: map[string]*page{}}
}

// Record seals a recording to recipients and stores it, and then the index that lists it. When it returns nil both are
// in the store. When it does not, the recording is listed together with the next one to the same recipients, or never.
// The error is ErrFull where the store has no room.
func (r *Recorder) Record(ctx context.Context, rec Recording, to []Recipient) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.record(ctx, rec, to); err != nil {
		return fmt.Errorf("vault: recording %s: %w", rec.Title, err)
	}
	return nil
}

func (r *Recorder) record(ctx context.Context, rec Recording, to []Recipient) error {
	thing := r.thing.Member()
	e := Entry{
		Object: newName(thing, roleRecording), Title: rec.Title, Type: rec.Type,
		From: rec.From.UnixMilli(), Until: rec.Until.UnixMilli(), Size: int64(len(rec.Content)), Sum: signed.Sum(rec.Content),
	}
	if err := e.check(); err != nil {
		return err
	}
	content, err := seal(rec.Content, to)
	if err != nil {
		return err
	}
	p := r.page(rec.Affordance, to).with(e, r.now())
	index, err := p.seal(r.key, r.thing.Raw, to)
	if err != nil {
		return err
	}
	if err := r.store.Put(ctx, e.Object.String(), content); err != nil {
		return err
	}
	// Stored or not, or nobody knows: the next one lists it too.
	r.pages[rec.Affordance] = p
	return r.store.Put(ctx, p.index.Name.String(), index)
}

// page returns the page that the next recording of an affordance goes onto: the last one, if it is sealed to the same
// and has room, or a new one. It is not read back from the store: a thing cannot open what it sealed, and begins a new
// page when it is started.
func (r *Recorder) page(affordance string, to []Recipient) *page {
	var names []string
	for _, recipient := range to {
		names = append(names, recipient.String())
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if p := r.pages[affordance]; p.takes(names) {
		return p
	}
	thing := r.thing.Member()
	return &page{to: names, index: Index{
		Tree: r.thing.ID.Tree, Thing: thing, Name: newName(thing, roleIndex), Affordance: affordance,
	}}
}

// Forget deletes what the thing stored before a moment, by the store's clock, and returns how many objects that were.
func (r *Recorder) Forget(ctx context.Context, before time.Time) (deleted int, err error) {
	old, err := objectsOf(ctx, r.store, r.thing.Member(), func(put time.Time) bool { return put.Before(before) }, roleIndex, roleRecording)
	for _, name := range old {
		if err != nil {
			break
		}
		if err = r.store.Delete(ctx, name.String()); err == nil {
			deleted++
		}
	}
	if err != nil {
		return deleted, fmt.Errorf("vault: forgetting what is old: %w", err)
	}
	return deleted, nil
}
