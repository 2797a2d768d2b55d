package pairing

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

const (
	// PendingFor is how long a claim waits for an answer.
	PendingFor = 7 * 24 * time.Hour
	// RememberedFor is how long the desk tells a joiner how it ended.
	RememberedFor = 24 * time.Hour
	// MaxInvitations is how many invitations a desk knows at a time, of one inviter half as many: what a stolen phone
	// made keeps nobody else from inviting.
	MaxInvitations = 4096
)

// A Gateway is what the desk needs of the gateway it stands in. Its methods may be called at the same time for
// different invitations. An error that wraps a *RefusedError turns the member away for good; after any other the desk
// tries again when the joiner asks next.
type Gateway interface {
	// Charter returns the tree's signed charter in force.
	Charter(ctx context.Context) ([]byte, error)

	// Sign certifies a device whose claim was checked (see Issue), if it lies below a place whose CA the gateway
	// holds. Without an error and without a chain it does not, and the request waits for an Answer.
	Sign(ctx context.Context, r Request, keys PublicKeys) (chain [][]byte, err error)

	// Admit puts a member into the roster. After a crash it is called again with the same certificates, which must
	// then change nothing; unless the member was removed in between, which is final and to be refused.
	Admit(ctx context.Context, e Entrance) (Welcome, error)
}

// An Entrance is a member to be admitted.
type Entrance struct {
	By      identity.MemberID // the leaf that let it in
	Label   string
	Parents bool           // places above it may be missing in the roster
	Member  identity.Chain // of the kind and path invited, for the key that claimed
	App     identity.Chain // of a person or owner: the first app; of others zero
}

// Config is what a Desk is made of.
type Config struct {
	Tree    identity.TreeID
	Store   Store
	Gateway Gateway
	Log     *slog.Logger     // nil: silence
	Now     func() time.Time // nil: time.Now
	Wait    time.Duration    // how long a question for the result stays open without news; 0: 8 s

	// Changed, unless it is nil, is told of every change of a request, once it is on disk. It must return soon and
	// call no method of the desk. A device that the gateway signs for passes through StageWaiting, too.
	Changed func(Request)
}

// A Desk is the gateway's side of pairing. It is safe for concurrent use and runs no goroutine of its own: what is
// left to do when a process dies is done when the joiner asks next.
type Desk struct {
	cfg Config

	registering sync.Mutex // held by Register, before any other
	mu          sync.Mutex
	entries     map[ID]*entry // guarded by mu
	wrong       bucket        // wrong tokens, guarded by mu
}

// entry is what the desk has in memory of an invitation. The record itself is read from the store each time.
type entry struct {
	by    identity.MemberID // who invited
	token signed.Digest
	until int64         // guarded by Desk.mu
	turn  chan struct{} // holds one value; whoever took it may change the record

	changed chan struct{} // closed and replaced at each change, guarded by Desk.mu
	asking  int           // open questions for the result, guarded by Desk.mu
}

// maxAsking is how many questions for the result of one invitation may be open at a time.
const maxAsking = 4

// NewDesk returns a desk with the invitations that are in the store, and drops those that are long over.
func NewDesk(ctx context.Context, cfg Config) (*Desk, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Wait == 0 {
		cfg.Wait = 8 * time.Second
	}
	d := &Desk{cfg: cfg, entries: map[ID]*entry{}}
	over := map[string][]byte{}
	now := cfg.Now().Unix()
	err := cfg.Store.Scan(ctx, keyPrefix, func(key string, value []byte) error {
		id, err := ParseID(strings.TrimPrefix(key, keyPrefix))
		if err != nil {
			return err
		}
		var r record
		if err := signed.Unmarshal(value, &r); err != nil {
			return err
		}
		if r.Until < now {
			over[key] = nil
			return nil
		}
		d.entries[id] = newEntry(r)
		return nil
	})
	if err == nil && len(over) > 0 {
		err = cfg.Store.Save(ctx, over)
	}
	if err != nil {
		return nil, fmt.Errorf("pairing: opening the desk: %w", err)
	}
	return d, nil
}

func newEntry(r record) *entry {
	e := &entry{by: r.Inviter, token: r.Token, until: r.Until, turn: make(chan struct{}, 1), changed: make(chan struct{})}
	e.turn <- struct{}{}
	return e
}

// Register makes an invitation known, by the leaf that signed it. Registering the same offer again changes nothing.
// Whether that leaf may invite there is for the caller to decide.
func (d *Desk) Register(ctx context.Context, inviter identity.MemberID, o Offer) error {
	fail := func(err error) error { return fmt.Errorf("pairing: registering an invitation of %q: %w", o.Path, err) }
	now := d.cfg.Now()
	switch err := CheckMember(o.Kind, o.Path); {
	case err != nil:
		return fail(err)
	case len(o.Token) != sha256.Size:
		return fail(fmt.Errorf("a token hash of %d bytes, want %d", len(o.Token), sha256.Size))
	case len(o.Label) > MaxLabel || !utf8.ValidString(o.Label):
		return fail(fmt.Errorf("a label of %d bytes, want UTF-8 of at most %d", len(o.Label), MaxLabel))
	case !o.Expires.After(now):
		return fail(ErrExpired)
	case o.Expires.After(now.Add(MaxLife + credential.MaxSkew)):
		return fail(fmt.Errorf("it holds until %s, longer than %s", o.Expires.UTC().Format(time.DateTime), MaxLife))
	}
	r := record{
		Inviter: inviter, Token: signed.Digest(o.Token), Kind: o.Kind, Path: o.Path, Label: o.Label, Parents: o.Parents,
		Expires: o.Expires.Unix(), Until: o.Expires.Add(RememberedFor).Unix(), Stage: StageOpen,
	}
	d.registering.Lock()
	defer d.registering.Unlock()
	if e := d.entry(o.ID); e != nil {
		return d.withRecord(ctx, o.ID, e, func(old *record) error {
			if !old.sameOffer(r) {
				return fail(errors.New("another one has its ID"))
			}
			return nil
		})
	}
	data, err := signed.Marshal(r)
	if err != nil {
		return fail(err)
	}
	changes, known, theirs := d.purge(now, inviter)
	if known >= MaxInvitations || theirs >= MaxInvitations/2 {
		return fail(fmt.Errorf("%d invitations are open or were lately, %d of them from here", known, theirs))
	}
	changes[o.ID.storeKey()] = data
	if err := d.cfg.Store.Save(ctx, changes); err != nil {
		return fail(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries[o.ID] = newEntry(r)
	return nil
}

// purge forgets what is over. It returns the deletions for the store, and how many invitations are left, in all and of one
// inviter.
func (d *Desk) purge(now time.Time, inviter identity.MemberID) (changes map[string][]byte, left, theirs int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	changes = map[string][]byte{}
	for id, e := range d.entries {
		if e.until < now.Unix() {
			delete(d.entries, id)
			changes[id.storeKey()] = nil
		} else if e.by == inviter {
			theirs++
		}
	}
	return changes, len(d.entries), theirs
}

// Pending returns the requests that wait for an answer, by path.
func (d *Desk) Pending(ctx context.Context) ([]Request, error) {
	d.mu.Lock()
	ids := slices.Collect(maps.Keys(d.entries))
	d.mu.Unlock()
	var list []Request
	for _, id := range ids {
		r, err := load(ctx, d.cfg.Store, id)
		if errors.Is(err, ErrUnknown) {
			continue // forgotten since
		}
		if err != nil {
			return nil, err
		}
		if r.Stage == StageWaiting {
			list = append(list, r.request(id))
		}
	}
	slices.SortFunc(list, func(a, b Request) int { return strings.Compare(string(a.Path), string(b.Path)) })
	return list, nil
}

// Watch waits until an invitation is past a stage, and returns how it stands. It ends with ErrExpired when nobody
// claimed in time, and with ErrUnknown when the desk has forgotten it.
func (d *Desk) Watch(ctx context.Context, id ID, after Stage) (Request, error) {
	e := d.entry(id)
	if e == nil {
		return Request{}, fmt.Errorf("pairing: watching invitation %s: %w", id, ErrUnknown)
	}
	for {
		changed := d.news(e)
		r, err := load(ctx, d.cfg.Store, id)
		if err != nil {
			return Request{}, err
		}
		if r.Stage > after {
			return r.request(id), nil
		}
		end := time.Unix(r.Until, 0)
		over := ErrUnknown
		if r.Stage == StageOpen {
			end, over = claimableUntil(r), ErrExpired
		}
		timer := time.NewTimer(end.Sub(d.cfg.Now()) + time.Second)
		select {
		case <-changed:
		case <-timer.C:
			if d.cfg.Now().After(end) {
				return Request{}, fmt.Errorf("pairing: watching invitation %s: %w", id, over)
			}
		case <-ctx.Done():
			timer.Stop()
			return Request{}, fmt.Errorf("pairing: watching invitation %s: %w", id, ctx.Err())
		}
		timer.Stop()
	}
}

// claimableUntil allows for an inviter's clock that is behind.
func claimableUntil(r record) time.Time { return time.Unix(r.Expires, 0).Add(credential.MaxSkew) }

// Answer lets a member in, by the leaf that answers: chain certifies the claimed key (see Issue). For a device, app or
// service the member is then admitted; a *RefusedError says that the gateway would not. For a person or owner that
// follows when the joiner hands in its app's certificate. An answer to what was answered before changes nothing; to
// what was refused it is an error.
func (d *Desk) Answer(ctx context.Context, by identity.MemberID, id ID, chain [][]byte) error {
	fail := func(err error) error { return fmt.Errorf("pairing: answering invitation %s: %w", id, err) }
	e := d.entry(id)
	if e == nil {
		return fail(ErrUnknown)
	}
	err := d.withRecord(ctx, id, e, func(r *record) error {
		switch r.Stage {
		case StageOpen:
			return errors.New("nobody has claimed it")
		case StageWaiting:
			if err := d.sign(ctx, id, e, r, by, chain); err != nil {
				return err
			}
		}
		return d.drive(ctx, id, e, r)
	})
	if err != nil {
		return fail(err)
	}
	return nil
}

// Refuse turns a member away that is not yet let in, or withdraws an invitation nobody has claimed. The joiner is told
// the reason.
func (d *Desk) Refuse(ctx context.Context, id ID, reason string) error {
	fail := func(err error) error { return fmt.Errorf("pairing: refusing invitation %s: %w", id, err) }
	e := d.entry(id)
	if e == nil {
		return fail(ErrUnknown)
	}
	err := d.withRecord(ctx, id, e, func(r *record) error {
		switch {
		case r.Stage == StageRefused:
			return nil
		case r.Stage == StageJoined || r.admissible():
			return fmt.Errorf("the member was let in: it is %s", r.Stage)
		}
		return d.refuse(ctx, id, e, r, reason)
	})
	if err != nil {
		return fail(err)
	}
	return nil
}

// entry returns the entry of an invitation, nil if there is none.
func (d *Desk) entry(id ID) *entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.entries[id]
	if e != nil && e.until < d.cfg.Now().Unix() {
		return nil
	}
	return e
}

// authorized returns the entry of an invitation to the holder of its token. Others get ErrUnknown, or errBusy when
// there are too many of them.
func (d *Desk) authorized(id ID, token []byte) (*entry, error) {
	e := d.entry(id)
	var want signed.Digest
	if e != nil {
		want = e.token
	}
	got := signed.Sum(token)
	if subtle.ConstantTimeCompare(got[:], want[:]) == 1 && e != nil {
		return e, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.wrong.take(d.cfg.Now()) {
		return nil, errBusy
	}
	return nil, ErrUnknown
}

// withRecord calls f with the record of an invitation while nobody else changes it.
func (d *Desk) withRecord(ctx context.Context, id ID, e *entry, f func(*record) error) error {
	select {
	case <-e.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { e.turn <- struct{}{} }()
	r, err := load(ctx, d.cfg.Store, id)
	if err != nil {
		return err
	}
	return f(&r)
}

// put stores a changed record and tells those who watch.
func (d *Desk) put(ctx context.Context, id ID, e *entry, r *record) error {
	if err := save(ctx, d.cfg.Store, id, *r); err != nil {
		return err
	}
	d.mu.Lock()
	e.until = r.Until
	close(e.changed)
	e.changed = make(chan struct{})
	d.mu.Unlock()
	if d.cfg.Changed != nil {
		d.cfg.Changed(r.request(id))
	}
	return nil
}

// news returns a channel that is closed at the next change.
func (d *Desk) news(e *entry) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return e.changed
}

// bucket lets through a number of events at once and then one a second.
type bucket struct {
	used float64
	last time.Time
}

const bucketSize = 20

func (b *bucket) take(now time.Time) bool {
	b.used = max(0, b.used-max(0, now.Sub(b.last).Seconds()))
	b.last = now
	if b.used > bucketSize-1 {
		return false
	}
	b.used++
	return true
}
