package keeper

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/ledger/chain"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/tree"
)

// crashDir, set, makes this test binary a gateway's keeper in that directory, with a ledger of its own. It gives
// grants, passes every other one on and takes it back, and prints each once it was acknowledged, until it is killed.
const crashDir = "KINDRED_KEEPER_CRASH_DIR"

// The keys in the directory.
const (
	keeperName    = "keeper"
	validatorName = "validator"
	laptopName    = "laptop"
)

// A machine is an open directory: store, ledger, keeper.
type machine struct {
	*Keeper
	db     *store.DB
	ledger *chain.Chain
	laptop crypto.Signer
	end    func() error
}

func openMachine(ctx context.Context, dir string) (_ *machine, err error) {
	m := &machine{}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	keys := identity.KeyDir(filepath.Join(dir, "keys"))
	key, err := keys.Open(keeperName)
	if err != nil {
		return nil, err
	}
	validator, err := keys.Open(validatorName)
	if err != nil {
		return nil, err
	}
	if m.laptop, err = keys.Open(laptopName); err != nil {
		return nil, err
	}
	if m.db, err = store.Open(ctx, filepath.Join(dir, "kindred.db")); err != nil {
		return nil, err
	}
	m.ledger, err = chain.Start(ctx, chain.Config{Dir: filepath.Join(dir, "ledger"), ChainID: "kindred-crash", Key: validator.(ed25519.PrivateKey)})
	if err != nil {
		return nil, err
	}
	m.Keeper, err = Open(ctx, Config{Store: m.db, Ledger: m.ledger, Key: key})
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- m.Run(running) }()
	m.end = func() error {
		cancel()
		return <-done
	}
	return m, nil
}

func (m *machine) close() error {
	var errs []error
	if m.end != nil {
		errs = append(errs, m.end())
	}
	if m.ledger != nil {
		errs = append(errs, m.ledger.Stop())
	}
	if m.db != nil {
		errs = append(errs, m.db.Close())
	}
	return errors.Join(errs...)
}

// makeMachine makes the keys and the roster of a directory.
func makeMachine(t *testing.T, dir string) {
	t.Helper()
	keys := identity.KeyDir(filepath.Join(dir, "keys"))
	made := map[string]crypto.Signer{}
	for _, name := range []string{keeperName, validatorName, laptopName} {
		key, err := keys.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		made[name] = key
	}
	tr := identitytest.NewTree(t, time.Now())
	u := tree.Update{}
	for _, m := range family {
		tr.Add(m.kind, m.path)
	}
	id, err := identity.NewMemberID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	laptop, err := tr.Authority("sam").Issue(identity.Subject{
		Kind: identity.App, Member: id, Name: "machine", Key: made[laptopName].Public(),
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	app, err := identity.Verify(laptop, tr.ID, tr.Root, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range family {
		u.Members = append(u.Members, tree.Admission{Chain: tr.At(m.path).Chain})
	}
	u.By, u.Members = app.Member(), append(u.Members, tree.Admission{Chain: app})
	charter := makeCharter(t, tr, made[keeperName], chain.NewAnchor("kindred-crash", made[validatorName].Public().(ed25519.PublicKey)))
	db, err := store.Open(t.Context(), filepath.Join(dir, "kindred.db"))
	if err != nil {
		t.Fatal(err)
	}
	err = Create(t.Context(), db, charter, made[keeperName], tr.RootKey, u, time.Now())
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// at returns the member at a path.
func (m *machine) at(path identity.Path) (e tree.Entry) {
	m.View(func(s *tree.State) { e, _ = s.At(path) })
	return e
}

// give gives a grant, or passes on the one that is the parent: an owner may do that too.
func (m *machine) give(ctx context.Context, parent tree.GrantID) (tree.GrantID, error) {
	id, err := tree.NewGrantID(rand.Reader)
	if err != nil {
		return id, err
	}
	by := m.at("sam/machine").Chain
	t := grant.Terms{
		Tree: by.ID.Tree, ID: id, Giver: by.ActsFor(), Actions: grant.See, Time: time.Now().Unix(), Depth: 1,
		Subject: grant.Subject{Tree: by.ID.Tree, Member: by.ActsFor()},
		Thing:   grant.Thing{Member: m.at("home/lock").Chain.Member()},
	}
	if !parent.IsZero() {
		m.View(func(s *tree.State) {
			above, _ := s.Grant(parent)
			t.Parent, t.Depth, t.Subject.Member = above.Statement, 0, m.at("sam/anna").Chain.Member()
		})
	}
	raw, err := grant.Sign(m.laptop, by.Raw, t)
	if err != nil {
		return id, err
	}
	id, _, err = m.Grant(ctx, by, raw)
	return id, err
}

func (m *machine) takeBack(ctx context.Context, id tree.GrantID) error {
	by := m.at("sam/machine").Chain
	proof, err := m.Prove(ctx, []identity.MemberID{by.Member()}, nil, 0)
	if err != nil {
		return err
	}
	n := credential.Notice{Proof: proof}
	m.View(func(s *tree.State) { n.Value, _ = s.Value(tree.GrantKey(id)) })
	n.Statement, err = signed.Sign(m.laptop, tree.RevocationType, tree.Revocation{
		Tree: by.ID.Tree, Grant: id, Leaf: merkle.LeafHash(tree.GrantKey(id), n.Value), Time: time.Now().Unix(),
	}, by.Raw...)
	if err != nil {
		return err
	}
	trusted, err := credential.Trust(by.ID.Tree, m.Charter().Raw)
	if err != nil {
		return err
	}
	p, _, err := credential.VerifyNotice(n, trusted, time.Now())
	if err != nil {
		return err
	}
	_, err = m.Revoke(ctx, p)
	return err
}

func workUntilKilled(dir string) int {
	ctx := context.Background()
	m, err := openMachine(ctx, dir)
	for i := 0; err == nil; i++ {
		var id, passed tree.GrantID
		if id, err = m.give(ctx, tree.GrantID{}); err != nil {
			break
		}
		fmt.Println("given", id)
		if i%2 == 1 {
			if passed, err = m.give(ctx, id); err != nil {
				break
			}
			fmt.Printf("given %s\ntaking %s\ntaking %s\n", passed, passed, id) // it goes with what it rests on
			if err = m.takeBack(ctx, id); err != nil {
				break
			}
			fmt.Printf("taken %s\ntaken %s\n", passed, id)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// The process is killed again and again, on the same directory, and loses nothing that it acknowledged.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	makeMachine(t, dir)
	said := map[tree.GrantID]string{}
	for _, lines := range []int{0, 1, 6, 17, 40} {
		killAfter(t, dir, lines, said)
		checkMachine(t, dir, said)
	}
}

// killAfter runs a process on a directory, kills it when it has printed so many lines, and notes what it said.
func killAfter(t *testing.T, dir string, lines int, said map[tree.GrantID]string) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), crashDir+"="+dir)
	var complaints strings.Builder
	child.Stderr = &complaints
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if lines == 0 {
		err = child.Process.Kill() // while it starts
	}
	n := 0
	for scanner := bufio.NewScanner(io.Reader(out)); err == nil && scanner.Scan(); {
		verb, name, _ := strings.Cut(scanner.Text(), " ")
		id, parseErr := tree.ParseGrantID(name)
		if parseErr != nil {
			t.Fatal(parseErr)
		}
		said[id] = verb
		if n++; n == lines {
			err = child.Process.Kill()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	if n < lines {
		t.Fatalf("the process ended by itself after %d lines: %s", n, complaints.String())
	}
}

// checkMachine opens a directory after its process was killed, and checks what was acknowledged.
func checkMachine(t *testing.T, dir string, said map[tree.GrantID]string) {
	t.Helper()
	m, err := openMachine(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.close(); err != nil {
			t.Error(err)
		}
	}()
	live := map[tree.GrantID]bool{}
	m.View(func(s *tree.State) {
		for g := range s.Grants() {
			live[g.ID] = true
		}
	})
	for id := range live {
		if chain := m.Chain(id); !m.parties[chain[len(chain)-1].ID].parent.IsZero() {
			t.Errorf("grant %s is live, and what it rests on is not", id)
		}
	}
	for id, verb := range said {
		if verb == "given" && !live[id] || verb == "taken" && live[id] {
			t.Errorf("grant %s was acknowledged as %s, and is live: %v", id, verb, live[id])
		}
	}
	lock := m.at("home/lock")
	p, err := m.Prove(t.Context(), []identity.MemberID{lock.Chain.Member()}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := credential.Trust(lock.Chain.ID.Tree, m.Charter().Raw)
	if err != nil {
		t.Fatal(err)
	}
	proved, _, err := credential.VerifyProof(p, trusted, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, sequence := m.Head(); proved.Sequence != sequence {
		t.Errorf("the ledger has head %d, the store head %d", proved.Sequence, sequence)
	}
}
