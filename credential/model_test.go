package credential_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/tree"
)

// A world is a home that changes, what was ever shown in it, and some who look. Beside the real thing it keeps the
// plain truth: what was taken away when, and what each of those who look has been told.
type world struct {
	*credentialtest.Home
	t       *testing.T
	rand    *rand.Rand
	live    map[identity.MemberID]*identitytest.Member
	grants  []tree.GrantID
	removed []removal
	times   map[uint64]time.Time // of heads
	shown   []showing
	lookers []*looker
	names   int
	counts  map[string]int // of what came out, so that nothing goes untested
}

// A removal ends all that an entry ever was, which is what heads before it prove.
type removal struct {
	entry
	sequence uint64
}

type entry struct{ key, leaf merkle.Hash }

// A showing is a hello that somebody kept.
type showing struct {
	who    *identitytest.Member
	proof  credential.Proof
	moment credentialtest.Moment
	at     time.Time // of its block
	keys   []merkle.Hash
}

// A looker verifies, and the model of it says what it was told.
type looker struct {
	verifier
	newest uint64
	asOf   time.Time
	struck []entry
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		Home: credentialtest.New(t, now), t: t, rand: rand.New(rand.NewPCG(seed, 0)),
		live: map[identity.MemberID]*identitytest.Member{}, times: map[uint64]time.Time{}, counts: map[string]int{},
	}
	for _, path := range []identity.Path{"sam", "sam/laptop", "home"} {
		w.live[w.At(path).Member()] = w.At(path)
	}
	w.times[w.Sequence] = now
	for range 3 {
		w.lookers = append(w.lookers, &looker{verifier: verifier{w.Trusted()}})
	}
	return w
}

// apply makes a change that takes some entries away.
func (w *world) apply(u tree.Update, gone ...entry) {
	w.Apply(u)
	w.times[w.Sequence] = w.Clock
	for _, e := range gone {
		w.removed = append(w.removed, removal{e, w.Sequence})
	}
}

// pick returns one of the live members that are wanted, or nil. The owner and its laptop are never picked.
func (w *world) pick(want func(m *identitytest.Member) bool) *identitytest.Member {
	var of []*identitytest.Member
	for e := range w.State.Members() {
		if m := w.live[e.Chain.Member()]; m.ID.Path != "sam" && m.ID.Path != "sam/laptop" && want(m) {
			of = append(of, m)
		}
	}
	if len(of) == 0 {
		return nil
	}
	return of[w.rand.IntN(len(of))]
}

func anybody(*identitytest.Member) bool  { return true }
func isLeaf(m *identitytest.Member) bool { return m.Kind().Leaf() }

func (w *world) entryOf(id identity.MemberID) entry { return entry{tree.MemberKey(id), leafOf(w, id)} }

// add puts a new member below one that may sign it.
func (w *world) add() {
	kind := []identity.Kind{identity.Place, identity.Device, identity.Device, identity.Person, identity.App}[w.rand.IntN(5)]
	parent := w.pick(func(m *identitytest.Member) bool { return m.Kind().MaySign(kind) && len(m.Line) < 4 })
	path := identity.Path("")
	switch {
	case kind == identity.Person:
		path = "sam"
	case parent != nil:
		path = parent.ID.Path
	case kind != identity.Place:
		return
	}
	w.names++
	m := w.Tree.Add(kind, path.Join(fmt.Sprintf("m%d", w.names)))
	w.live[m.Member()] = m
	w.apply(tree.Update{Members: []tree.Admission{{Chain: m.Chain}}})
}

func (w *world) remove() {
	top := w.pick(anybody)
	if top == nil {
		return
	}
	var gone []entry
	for id, m := range w.live {
		if m.ID.Path.Within(top.ID.Path) {
			gone = append(gone, w.entryOf(id))
			delete(w.live, id)
		}
	}
	w.apply(tree.Update{Remove: []identity.MemberID{top.Member()}}, gone...)
}

// label gives a member, and so everybody below it, something else to prove. It takes nothing away.
func (w *world) label() {
	m := w.pick(anybody)
	if m == nil {
		return
	}
	w.names++
	w.apply(tree.Update{Members: []tree.Admission{{Chain: m.Chain, Label: fmt.Sprint(w.names)}}})
}

// renew gives a leaf another certificate: at its path, at another, or because its key was stolen.
func (w *world) renew() {
	m := w.pick(isLeaf)
	if m == nil {
		return
	}
	path, stolen := m.ID.Path, w.rand.IntN(3) == 0
	if w.rand.IntN(3) == 0 {
		w.names++
		path = path.Parent().Join(fmt.Sprintf("m%d", w.names))
	}
	var gone []entry
	if stolen || path != m.ID.Path {
		gone = append(gone, w.entryOf(m.Member()))
	}
	again := reissue(w.t, w.Home, m, path)
	w.live[m.Member()] = again
	w.apply(tree.Update{Members: []tree.Admission{{Chain: again.Chain, Stolen: stolen}}}, gone...)
}

func (w *world) grant() {
	id := give(w.t, w.Home, "sam", "sam/laptop")
	w.times[w.Sequence] = w.Clock
	w.grants = append(w.grants, id)
}

func (w *world) ungrant() {
	if len(w.grants) == 0 {
		return
	}
	i := w.rand.IntN(len(w.grants))
	id := w.grants[i]
	w.grants = slices.Delete(w.grants, i, i+1)
	key := tree.GrantKey(id)
	w.apply(tree.Update{Revoke: []tree.GrantID{id}}, entry{key, merkle.LeafHash(key, w.Value(key))})
}

// pass lets time go by, and the ledger make a block.
func (w *world) pass() {
	steps := []time.Duration{time.Second, time.Minute, time.Hour, 30 * time.Hour}
	w.Block(w.Clock.Add(steps[w.rand.IntN(len(steps))]))
}

// show keeps what a leaf would show now, with some of the grants.
func (w *world) show() {
	m := w.pick(isLeaf)
	if m == nil {
		return
	}
	var grants []tree.GrantID
	for _, id := range w.grants {
		if w.rand.IntN(3) == 0 && len(grants) < 4 {
			grants = append(grants, id)
		}
	}
	s := showing{who: m, proof: w.Prove(grants, m), moment: w.Moment, at: w.Clock}
	for _, e := range s.proof.Entries {
		s.keys = append(s.keys, e.Key())
	}
	w.shown = append(w.shown, s)
}

// from is the first head whose proofs the list of a head can judge.
func (w *world) from(head uint64) (from uint64) {
	horizon := w.times[head].Add(-tree.ListedFor)
	for _, r := range w.removed {
		if r.sequence <= head && w.times[r.sequence].Before(horizon) {
			from = max(from, r.sequence)
		}
	}
	return from
}

// expect says what a looker must answer to a showing: nil, or one of the errors that callers tell apart.
func (w *world) expect(l *looker, s showing) error {
	newest := max(l.newest, s.moment.Sequence)
	switch {
	case s.moment.Sequence < w.from(newest):
		return credential.ErrTooOld
	case slices.ContainsFunc(s.keys, func(key merkle.Hash) bool {
		return slices.ContainsFunc(l.unconfirmed(w, newest), func(e entry) bool { return e.key == key }) || slices.ContainsFunc(w.removed, func(r removal) bool {
			return r.key == key && s.moment.Sequence < r.sequence && r.sequence <= newest
		})
	}):
		return credential.ErrRevoked
	}
	return nil
}

// replay shows a looker something that was shown before.
func (w *world) replay() {
	if len(w.shown) == 0 {
		return
	}
	l, s := w.lookers[w.rand.IntN(len(w.lookers))], w.shown[w.rand.IntN(len(w.shown))]
	want := w.expect(l, s)
	p, err := l.meet(s.who, s.proof, w.Clock)
	if !errors.Is(err, want) {
		w.t.Fatalf("%s, shown under head %d to somebody at head %d: %v, want %v", s.who.ID.Path, s.moment.Sequence, l.newest, err, want)
	}
	w.counts[fmt.Sprint("replay: ", want)]++
	if want == nil {
		l.told(w, s)
		if !p.AsOf.Equal(l.asOf) {
			w.t.Fatalf("%s, shown under head %d, is known as of %s, want %s", s.who.ID.Path, s.moment.Sequence, p.AsOf, l.asOf)
		}
	}
	if l.trusted.Sequence() != l.newest {
		w.t.Fatalf("trusted is head %d, want %d", l.trusted.Sequence(), l.newest)
	}
}

// told is what a looker knows after it accepted a showing.
func (l *looker) told(w *world, s showing) {
	switch {
	case s.moment.Sequence > l.newest:
		l.newest, l.asOf = s.moment.Sequence, s.at
		l.struck = l.unconfirmed(w, l.newest)
	case s.moment.Sequence == l.newest && s.at.After(l.asOf):
		l.asOf = s.at
	}
}

// unconfirmed is what was struck and the list of a head does not name.
func (l *looker) unconfirmed(w *world, newest uint64) []entry {
	from := w.from(newest)
	return slices.DeleteFunc(slices.Clone(l.struck), func(e entry) bool {
		return slices.ContainsFunc(w.removed, func(r removal) bool {
			listed := r.sequence > from || !w.times[r.sequence].Before(w.times[newest].Add(-tree.ListedFor))
			return r.leaf == e.leaf && r.sequence <= newest && listed
		})
	})
}

// mix puts parts of one showing into another. Only what changes nothing may be accepted.
func (w *world) mix() {
	if len(w.shown) < 2 {
		return
	}
	l := w.lookers[w.rand.IntN(len(w.lookers))]
	a, b := w.shown[w.rand.IntN(len(w.shown))], w.shown[w.rand.IntN(len(w.shown))]
	if a.moment.Sequence == b.moment.Sequence {
		return
	}
	p := a.proof
	part := w.rand.IntN(5)
	switch part {
	case 0: // an old head made young
		p.Record, p.Block = b.proof.Record, b.proof.Block
	case 1:
		p.Block = b.proof.Block
	case 2: // a new head, and nothing taken away
		p.Head, p.Record, p.Block, p.Revoked = b.proof.Head, b.proof.Record, b.proof.Block, b.proof.Revoked
	case 3:
		p.Entries, p.Map = b.proof.Entries, b.proof.Map
	case 4:
		p.Head = b.proof.Head
	}
	_, _, err := credential.VerifyProof(p, l.trusted, w.Clock)
	if err == nil {
		w.t.Fatalf("part %d of head %d put into a proof of head %d, and accepted", part, b.moment.Sequence, a.moment.Sequence)
	}
	w.counts["mix"]++
}

// strike has the owner's laptop take somebody away at one looker, or a looker hear that the keeper did not confirm it.
func (w *world) strike() {
	l := w.lookers[w.rand.IntN(len(w.lookers))]
	if len(l.struck) > 0 && w.rand.IntN(3) == 0 {
		i := w.rand.IntN(len(l.struck))
		l.trusted = l.trusted.Restore(l.struck[i].leaf)
		l.struck = slices.Delete(l.struck, i, i+1)
		return
	}
	target := w.pick(isLeaf)
	if target == nil {
		return
	}
	laptop := w.At("sam/laptop")
	s := showing{moment: w.Moment, at: w.Clock}
	p, next, err := credential.VerifyNotice(w.NoticeOfMember(laptop, target, w.Clock.Unix()), l.trusted, w.Clock)
	if err != nil {
		w.t.Fatal(err)
	}
	l.told(w, s)
	l.trusted = next.Strike(p)
	if e := w.entryOf(target.Member()); !slices.Contains(l.struck, e) {
		l.struck = append(l.struck, e)
	}
	w.counts["strike"]++
}

// restart has a looker forget what it did not store.
func (w *world) restart() {
	l := w.lookers[w.rand.IntN(len(w.lookers))]
	data, err := l.trusted.Marshal()
	if err != nil {
		w.t.Fatal(err)
	}
	if l.trusted, err = credential.ParseTrusted(data); err != nil {
		w.t.Fatal(err)
	}
}

// Whatever happens in a home, and whatever is shown again of what was shown before, nobody accepts what they must know
// was taken away, and nobody refuses anything else.
func TestAgainstModel(t *testing.T) {
	total := map[string]int{}
	for seed := range uint64(10) {
		w := newWorld(t, seed)
		actions := []func(){
			w.add, w.add, w.add, w.remove, w.renew, w.label, w.grant, w.ungrant, w.pass, w.pass,
			w.show, w.show, w.show, w.replay, w.replay, w.replay, w.replay, w.mix, w.strike, w.restart,
		}
		for range 400 {
			actions[w.rand.IntN(len(actions))]()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		for what, n := range w.counts {
			total[what] += n
		}
	}
	for _, what := range []string{"replay: <nil>", "replay: was taken away", "replay: is too old to be judged", "mix", "strike"} {
		if total[what] < 15 {
			t.Errorf("%q came out %d times in %v", what, total[what], total)
		}
	}
}
