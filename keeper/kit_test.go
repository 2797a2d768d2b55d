package keeper

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/chain"
	"github.com/kindred-iot/kindred/ledger/light"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/store/storetest"
	"github.com/kindred-iot/kindred/tree"
)

var (
	_ Store  = (*store.DB)(nil)
	_ Ledger = (*chain.Chain)(nil)
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		os.Exit(workUntilKilled(dir))
	}
	code := m.Run()
	if err := common.stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// common is the one ledger that all tests record their trees on. A node takes a while to start.
var common sharedChain

type sharedChain struct {
	once  sync.Once
	dir   string
	chain *chain.Chain
	err   error
}

func (s *sharedChain) start(t testing.TB) *chain.Chain {
	t.Helper()
	s.once.Do(func() {
		if s.dir, s.err = os.MkdirTemp("", "keeper-test-"); s.err != nil {
			return
		}
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			s.err = err
			return
		}
		s.chain, s.err = chain.Start(context.Background(), chain.Config{Dir: s.dir, ChainID: "kindred-test", Key: key})
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.chain
}

func (s *sharedChain) stop() error {
	if s.chain == nil {
		return s.err
	}
	return errors.Join(s.chain.Stop(), os.RemoveAll(s.dir))
}

// A net is a test's way to the ledger. Its submissions can be made to fail.
type net struct {
	*chain.Chain
	blocks chan struct{}

	mu       sync.Mutex
	submits  int
	fail     map[int]storetest.Fault // by submission, counted from 1
	onSubmit func(n int)
	permits  chan struct{} // one is taken for each submission; nil: none is needed
}

var errInjected = errors.New("this submission was made to fail")

func newNet(c *chain.Chain) *net {
	return &net{Chain: c, blocks: make(chan struct{}, 1), fail: map[int]storetest.Fault{}}
}

// NewBlock returns a channel of the test's own: the chain's has one reader.
func (n *net) NewBlock() <-chan struct{} { return n.blocks }

// block says that there is a new block.
func (n *net) block() { n.blocks <- struct{}{} }

// hold has submissions wait for a permit each.
func (n *net) hold() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.permits = make(chan struct{}, 1024)
}

// permit lets so many submissions through.
func (n *net) permit(count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for range count {
		n.permits <- struct{}{}
	}
}

func (n *net) Submit(ctx context.Context, tx []byte) error {
	n.mu.Lock()
	n.submits++
	fault, faulty := n.fail[n.submits]
	permits := n.permits
	if n.onSubmit != nil {
		n.onSubmit(n.submits)
	}
	n.mu.Unlock()
	if permits != nil {
		select {
		case <-permits:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if faulty && fault == storetest.Failed {
		return errInjected
	}
	if err := n.Chain.Submit(ctx, tx); err != nil || !faulty {
		return err
	}
	return errInjected
}

// A home is a tree with its keeper: owner sam with an app, anna with a phone, a place with a gateway and a lock.
type home struct {
	*identitytest.Tree
	*Keeper
	t       testing.TB
	key     crypto.Signer
	charter []byte
	store   Store
	net     *net
	clock   func() time.Time

	mu     sync.Mutex
	events []Event
	noted  chan struct{} // closed at the next event

	stopRun func()
}

var family = []struct {
	kind identity.Kind
	path identity.Path
}{
	{identity.Owner, "sam"}, {identity.App, "sam/laptop"}, {identity.Person, "sam/anna"}, {identity.App, "sam/anna/phone"},
	{identity.Place, "home"}, {identity.Device, "home/gateway"}, {identity.Device, "home/lock"},
}

// newHome makes a home whose keeper runs.
func newHome(t testing.TB) *home { return newHomeOn(t, storetest.Open(t)) }

func newHomeOn(t testing.TB, s Store) *home {
	t.Helper()
	h := makeHome(t, s)
	if err := h.create(); err != nil {
		t.Fatal(err)
	}
	h.open()
	h.run()
	return h
}

// makeHome makes the tree of a home and no roster.
func makeHome(t testing.TB, s Store) *home {
	t.Helper()
	h := &home{
		Tree: identitytest.NewTree(t, time.Now()), t: t, key: identitytest.NewKey(t), store: s, net: newNet(common.start(t)),
		clock: time.Now,
	}
	h.charter = makeCharter(t, h.Tree, h.key, h.net.Anchor())
	for _, m := range family {
		h.Add(m.kind, m.path)
	}
	return h
}

func makeCharter(t testing.TB, tr *identitytest.Tree, key crypto.Signer, anchor ledger.Anchor) []byte {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signed.Sign(tr.RootKey, tree.CharterType, tree.Charter{
		Tree: tr.ID, Root: tr.Root.Raw, Keeper: spki, Anchors: []tree.Anchor{anchor},
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (h *home) first() tree.Update {
	u := tree.Update{By: h.At("sam/laptop").Member()}
	for _, m := range family {
		u.Members = append(u.Members, tree.Admission{Chain: h.At(m.path).Chain})
	}
	return u
}

func (h *home) create() error {
	return Create(h.t.Context(), h.store, h.charter, h.key, h.RootKey, h.first(), h.clock())
}

func (h *home) config() Config {
	return Config{
		Store: h.store, Ledger: h.net, Key: h.key, Gateway: h.At("home/gateway").Member(),
		Clock:  func() time.Time { return h.clock() },
		Notify: h.note,
	}
}

// open opens the keeper, as after a start of the process.
func (h *home) open() {
	h.t.Helper()
	k, err := Open(h.t.Context(), h.config())
	if err != nil {
		h.t.Fatal(err)
	}
	h.Keeper = k
}

// run has the keeper run until the test or halt ends it.
func (h *home) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	k := h.Keeper
	go func() { done <- k.Run(ctx) }()
	h.stopRun = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
	h.t.Cleanup(h.stopRun)
}

// restart ends the keeper's run, opens it again and runs it.
func (h *home) restart() {
	h.t.Helper()
	h.stopRun()
	h.open()
	h.run()
}

func (h *home) note(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	close(h.moreLocked())
	h.noted = nil
}

// moreLocked returns a channel that is closed at the next event.
func (h *home) moreLocked() chan struct{} {
	if h.noted == nil {
		h.noted = make(chan struct{})
	}
	return h.noted
}

func (h *home) laptop() identity.Chain { return h.At("sam/laptop").Chain }

func (h *home) member(path identity.Path) identity.MemberID { return h.At(path).Member() }

// sign returns a grant of the lock to anna, signed by the laptop, and its ID.
func (h *home) sign(change ...func(*grant.Terms)) (tree.GrantID, []byte) {
	h.t.Helper()
	return h.signBy("sam/laptop", "sam", change...)
}

func (h *home) signBy(app, giver identity.Path, change ...func(*grant.Terms)) (tree.GrantID, []byte) {
	h.t.Helper()
	id, err := tree.NewGrantID(rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	terms := grant.Terms{
		Tree: h.ID, ID: id, Giver: h.member(giver), Subject: grant.Subject{Tree: h.ID, Member: h.member("sam/anna")},
		Thing: grant.Thing{Member: h.member("home/lock")}, Actions: grant.Use, Time: h.clock().Unix(),
	}
	for _, c := range change {
		c(&terms)
	}
	raw, err := grant.Sign(h.At(app).Signer, h.At(app).Raw, terms)
	if err != nil {
		h.t.Fatal(err)
	}
	return terms.ID, raw
}

// share admits a grant of the lock to anna.
func (h *home) share() tree.GrantID {
	h.t.Helper()
	_, raw := h.sign()
	id, _, err := h.Grant(h.t.Context(), h.laptop(), raw)
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

func (h *home) admit(path identity.Path) error {
	return h.Admit(h.t.Context(), h.laptop(), []tree.Admission{{Chain: h.At(path).Chain}})
}

// proof returns a proof of members and grants.
func (h *home) proof(members []identity.MemberID, grants ...tree.GrantID) credential.Proof {
	h.t.Helper()
	p, err := h.Prove(h.t.Context(), members, grants, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// verify checks a proof as somebody who has the charter alone.
func (h *home) verify(p credential.Proof) credential.Live {
	h.t.Helper()
	trusted, err := credential.Trust(h.ID, h.charter)
	if err != nil {
		h.t.Fatal(err)
	}
	live, _, err := credential.VerifyProof(p, trusted, time.Now())
	if err != nil {
		h.t.Fatal(err)
	}
	return live
}

// pending returns the verified revocation that an app signed, on a proof made now.
func (h *home) pending(app identity.Path, r tree.Revocation) credential.Pending {
	h.t.Helper()
	n := credential.Notice{Proof: h.proof([]identity.MemberID{h.member(app)})}
	r.Tree, r.Time = h.ID, h.clock().Unix()
	h.View(func(s *tree.State) {
		n.Value, _ = s.Value(r.Key())
		if e, ok := s.Member(r.Member); ok {
			n.Chain = e.Chain.Raw
		}
	})
	r.Leaf = merkle.LeafHash(r.Key(), n.Value)
	var err error
	if n.Statement, err = signed.Sign(h.At(app).Signer, tree.RevocationType, r, h.At(app).Raw...); err != nil {
		h.t.Fatal(err)
	}
	trusted, err := credential.Trust(h.ID, h.charter)
	if err != nil {
		h.t.Fatal(err)
	}
	p, _, err := credential.VerifyNotice(n, trusted, time.Now())
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

func (h *home) revokeGrant(id tree.GrantID) credential.Pending {
	h.t.Helper()
	return h.pending("sam/laptop", tree.Revocation{Grant: id})
}

func (h *home) revokeMember(path identity.Path) credential.Pending {
	h.t.Helper()
	return h.pending("sam/laptop", tree.Revocation{Member: h.member(path)})
}

func (h *home) sequence() uint64 {
	_, _, n := h.Head()
	return n
}

// renew returns a new chain for the member at a path: the same member, with a key and at a path as given, below whom
// the tree has there.
func (h *home) renew(old identity.Chain, path identity.Path, key crypto.Signer) identity.Chain {
	h.t.Helper()
	raw, err := h.Authority(path.Parent()).Issue(identity.Subject{
		Kind: old.Kind(), Member: old.Member(), Name: path.Name(), Key: key.Public(),
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(identitytest.Lifetime / 2),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return h.chainOf(raw)
}

func (h *home) chainOf(raw [][]byte) identity.Chain {
	h.t.Helper()
	c, err := identity.Verify(raw, h.ID, h.Root, time.Now())
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// live reports whether a grant is in the roster.
func (h *home) live(id tree.GrantID) (ok bool) {
	h.View(func(s *tree.State) { _, ok = s.Grant(id) })
	return ok
}

// entry returns the roster's entry at a path.
func (h *home) entry(path identity.Path) (e tree.Entry, ok bool) {
	h.View(func(s *tree.State) { e, ok = s.At(path) })
	return e, ok
}

// unchanged checks that what was done left the newest head as it was.
func (h *home) unchanged(what string, done func()) {
	h.t.Helper()
	before := h.sequence()
	done()
	if after := h.sequence(); after != before {
		h.t.Errorf("%s: there is head %d after head %d", what, after, before)
	}
}

func spki(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// An emptyLedger has no record of the tree.
type emptyLedger struct{ *net }

func (emptyLedger) Prove(context.Context, identity.TreeID) (ledger.Proof, light.Proof, error) {
	return ledger.Proof{}, light.Proof{}, fmt.Errorf("proving: %w", ledger.ErrUnknown)
}

// A brokenLedger proves nothing.
type brokenLedger struct{ *net }

func (brokenLedger) Prove(context.Context, identity.TreeID) (ledger.Proof, light.Proof, error) {
	return ledger.Proof{}, light.Proof{}, errInjected
}

// A forgetful ledger records a head and says that it had it.
type forgetful struct{ *net }

func (f forgetful) Submit(ctx context.Context, tx []byte) error {
	if err := f.net.Submit(ctx, tx); err != nil {
		return err
	}
	return fmt.Errorf("submitting: %w", ledger.ErrAlready)
}
