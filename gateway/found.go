package gateway

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/keeper"
	"github.com/kindred-iot/kindred/ledger/chain"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/tree"
)

// How long certificates last. Leaves below the first are renewed sooner.
const (
	rootLife = 30 * 365 * 24 * time.Hour
	caLife   = 20 * 365 * 24 * time.Hour
	leafLife = 5 * 365 * 24 * time.Hour
	backdate = 5 * time.Minute // for machines whose clocks are behind
)

// Founding says what a new tree is.
type Founding struct {
	Label     string        // what people call the home
	Owner     string        // the first owner's name
	App       string        // the name of the owner's app on this machine
	Place     identity.Path // the first place, one name
	Addresses []string      // where the gateway will be reached from this machine
	Now       time.Time
}

// gatewayName is the last name of a gateway's path.
const gatewayName = "gateway"

// Dir returns the gateway's directory, given its owner's or its own.
func Dir(dir string) string {
	if inner := filepath.Join(dir, gatewayName); exists(filepath.Join(inner, kindred.StoreFile)) {
		return inner
	}
	return dir
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// Found makes a new tree: in dir, which must be empty or not exist, the directory of its owner's first app, with the
// root's and the owner's key; and in it the directory of the gateway. It is there as a whole or not at all.
func Found(ctx context.Context, dir string, f Founding) error {
	if err := found(ctx, dir, f); err != nil {
		return fmt.Errorf("gateway: founding a tree in %s: %w", dir, err)
	}
	return nil
}

func found(ctx context.Context, dir string, f Founding) (err error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("it is not empty: %w", fs.ErrExist)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), ".founding-*") // mode 0700
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	b, err := plant(work, f)
	if err != nil {
		return err
	}
	if err := b.write(ctx, work, f); err != nil {
		return err
	}
	return os.Rename(work, dir)
}

// birth is a new tree while it is being made.
type birth struct {
	root, keeper  crypto.Signer
	charter       []byte
	owner, app    identity.Chain
	place, device identity.Chain
}

// plant makes the keys and certificates.
func plant(dir string, f Founding) (birth, error) {
	var b birth
	mine := identity.KeyDir(filepath.Join(dir, kindred.KeysDir))
	gateways := identity.KeyDir(filepath.Join(dir, gatewayName, kindred.KeysDir))
	var err error
	if b.root, err = mine.Create(kindred.KeyRoot); err != nil {
		return b, err
	}
	if b.keeper, err = gateways.Create(keyKeeper); err != nil {
		return b, err
	}
	validator, err := gateways.Create(keyValidator)
	if err != nil {
		return b, err
	}
	id, err := identity.NewMemberID(rand.Reader)
	if err != nil {
		return b, err
	}
	root, err := identity.NewRoot(b.root, id, f.Now.Add(-backdate), f.Now.Add(rootLife))
	if err != nil {
		return b, err
	}
	if b.charter, err = firstCharter(root, b, validator); err != nil {
		return b, err
	}
	cert, err := identity.ParseRoot(root.Tree(), root.Certificate())
	if err != nil {
		return b, err
	}
	t := planter{root: cert, now: f.Now}
	owner, app := identity.Path(f.Owner), identity.Path(f.Owner).Join(f.App)
	b.owner = t.issue(root, identity.Owner, owner, caLife, named(mine, kindred.KeyCA))
	b.app = t.issue(t.last, identity.App, app, leafLife, named(mine, kindred.KeyLeaf))
	b.place = t.issue(root, identity.Place, f.Place, caLife, func(id identity.MemberID) (crypto.Signer, error) {
		return gateways.Create(placeKey(id))
	})
	b.device = t.issue(t.last, identity.Device, f.Place.Join(gatewayName), leafLife, named(gateways, kindred.KeyLeaf))
	return b, t.err
}

// named makes a key that is not called after its member.
func named(keys identity.Keys, name string) func(identity.MemberID) (crypto.Signer, error) {
	return func(identity.MemberID) (crypto.Signer, error) { return keys.Create(name) }
}

func firstCharter(root *identity.Authority, b birth, validator crypto.Signer) ([]byte, error) {
	key, err := x509.MarshalPKIXPublicKey(b.keeper.Public())
	if err != nil {
		return nil, err
	}
	id, err := chain.NewChainID(rand.Reader)
	if err != nil {
		return nil, err
	}
	pub, ok := validator.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the validator's key is a %T, want Ed25519", validator.Public())
	}
	return signed.Sign(b.root, tree.CharterType, tree.Charter{
		Tree: root.Tree(), Root: root.Certificate(), Keeper: key, Anchors: []tree.Anchor{chain.NewAnchor(id, pub)},
	})
}

// A planter issues certificates until something fails.
type planter struct {
	root *x509.Certificate
	now  time.Time
	last *identity.Authority // of the member issued last, if it is one that signs
	err  error
}

func (t *planter) issue(above *identity.Authority, kind identity.Kind, path identity.Path, life time.Duration, create func(identity.MemberID) (crypto.Signer, error)) identity.Chain {
	if t.err != nil {
		return identity.Chain{}
	}
	c, key, err := issue(above, t.root, kind, path, t.now, life, create)
	if err == nil && !kind.Leaf() {
		t.last, err = identity.NewAuthority(c, key)
	}
	t.err = err
	return c
}

// issue certifies a new key as a new member.
func issue(above *identity.Authority, root *x509.Certificate, kind identity.Kind, path identity.Path, now time.Time, life time.Duration, create func(identity.MemberID) (crypto.Signer, error)) (identity.Chain, crypto.Signer, error) {
	id, err := identity.NewMemberID(rand.Reader)
	if err != nil {
		return identity.Chain{}, nil, err
	}
	key, err := create(id)
	if err != nil {
		return identity.Chain{}, nil, err
	}
	raw, err := above.Issue(identity.Subject{
		Kind: kind, Member: id, Name: path.Name(), Key: key.Public(), NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
	})
	if err != nil {
		return identity.Chain{}, nil, err
	}
	c, err := identity.Verify(raw, above.Tree(), root, now)
	return c, key, err
}

// write makes the two databases.
func (b birth) write(ctx context.Context, dir string, f Founding) error {
	gateway := kindred.GatewayRef{Member: b.device.Member(), Chain: b.device.Raw, Addresses: f.Addresses}
	first := tree.Update{By: b.app.Member(), Time: f.Now, Members: []tree.Admission{
		{Chain: b.owner}, {Chain: b.app}, {Chain: b.place, Label: f.Label}, {Chain: b.device},
	}}
	err := settle(ctx, filepath.Join(dir, gatewayName), kindred.Self{Tree: b.app.ID.Tree, Chain: b.device.Raw, Gateway: gateway}, b.charter,
		func(db *store.DB) error { return keeper.Create(ctx, db, b.charter, b.keeper, b.root, first, f.Now) })
	if err != nil {
		return err
	}
	return settle(ctx, dir, kindred.Self{Tree: b.app.ID.Tree, Chain: b.app.Raw, Gateway: gateway}, b.charter,
		func(*store.DB) error { return nil })
}

// settle makes a database and writes a member into it, and whatever else.
func settle(ctx context.Context, dir string, self kindred.Self, charter []byte, more func(*store.DB) error) error {
	db, err := store.Open(ctx, filepath.Join(dir, kindred.StoreFile))
	if err != nil {
		return err
	}
	if err := kindred.Settle(ctx, db, self, charter); err != nil {
		return errors.Join(err, db.Close())
	}
	return errors.Join(more(db), db.Close())
}
