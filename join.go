package kindred

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/store"
)

// Join makes the directory the member that an invitation is for, unless it is one already, and opens it. A person's
// first app is called app. The digits are to be shown while somebody has to confirm the member; show may be nil.
func Join(ctx context.Context, cfg Config, invitation, app string, show func(digits string)) (*Node, error) {
	if err := join(ctx, cfg.withDefaults(), invitation, app, show); err != nil {
		return nil, fmt.Errorf("kindred: joining: %w", err)
	}
	n, err := Open(ctx, cfg)
	if err == nil {
		n.tellRecipient(ctx)
	}
	return n, err
}

// ErrMember says that a directory holds a member already.
var ErrMember = errors.New("this directory holds a member of a tree already")

func join(ctx context.Context, cfg Config, invitation, app string, show func(string)) (err error) {
	db, err := store.Open(ctx, filepath.Join(cfg.Dir, StoreFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	switch _, err := loadSelf(ctx, db); {
	case err == nil && invitation == "":
		return nil
	case err == nil:
		return ErrMember
	case !errors.Is(err, ErrNoMember):
		return err
	case invitation == "":
		return ErrNoMember
	}
	inv, err := pairing.Parse(invitation, cfg.Clock())
	if err != nil {
		return err
	}
	keys, err := joinKeys(identity.KeyDir(filepath.Join(cfg.Dir, KeysDir)), inv.Kind, app)
	if err != nil {
		return err
	}
	joined, err := claim(ctx, cfg, inv, keys, show)
	if err != nil {
		return err
	}
	return settle(ctx, db, inv, joined)
}

// joinKeys makes the keys of a new member, or finds those that an earlier try made.
func joinKeys(keys identity.Keys, kind identity.Kind, app string) (pairing.Keys, error) {
	leaf, err := openOrCreate(keys, KeyLeaf)
	if err != nil {
		return pairing.Keys{}, err
	}
	if kind != identity.Person && kind != identity.Owner {
		return pairing.Keys{Leaf: leaf}, nil
	}
	ca, err := openOrCreate(keys, KeyCA)
	return pairing.Keys{Leaf: leaf, CA: ca, App: app}, err
}

func openOrCreate(keys identity.Keys, name string) (crypto.Signer, error) {
	key, err := keys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return keys.Create(name)
	}
	return key, err
}

// claim asks the gateway that the invitation names, and nobody else, to let the member in.
func claim(ctx context.Context, cfg Config, inv pairing.Invitation, keys pairing.Keys, show func(string)) (pairing.Joined, error) {
	host, err := peer.New(peer.Config{Key: keys.Leaf, Listen: []string{}, Log: cfg.Log})
	if err != nil {
		return pairing.Joined{}, err
	}
	defer host.Close()
	client := &http.Client{Transport: host.Transport(func(context.Context, string) (peer.Target, error) {
		return peer.Target{Key: inv.GatewayKey, Addresses: inv.Addresses}, nil
	})}
	base := peer.Scheme + "://" + inv.Gateway.String() + "." + inv.Tree.String()
	return pairing.Join(ctx, client, base, inv, keys, show)
}

// settle stores what a new member was given. Package pairing has verified all of it but the gateway's contact, which
// is verified when it is used.
func settle(ctx context.Context, db *store.DB, inv pairing.Invitation, joined pairing.Joined) error {
	var gateway control.Contact
	if err := json.Unmarshal(joined.Extra, &gateway); err != nil {
		return fmt.Errorf("reading the gateway's welcome: %w", err)
	}
	s := Self{
		Tree: inv.Tree, Chain: joined.Leaf.Raw,
		Gateway: GatewayRef{Member: inv.Gateway, Chain: gateway.Chain, Addresses: inv.Addresses},
	}
	return Settle(ctx, db, s, joined.Trusted.Charter().Raw)
}
