package kindred

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tree"
	"github.com/kindred-iot/kindred/vault"
)

// ownVault is what the node needs to read what was sealed to it while it was away. Only an app or a service has it.
type ownVault struct {
	key    vault.Key
	said   []byte // the signed tree.Recipient; nil: nobody seals to this node
	digest signed.Digest
	told   atomic.Bool // the gateway has it
}

// saidKey is where the node's signed recipient is kept: the same bytes every time, for the gateway to compare.
const saidKey = "recipient"

// load opens the node's key, or makes it, and has its public part signed by the leaf's key.
func (v *ownVault) load(ctx context.Context, n *Node) error {
	if kind := n.self.Kind(); kind != identity.App && kind != identity.Service {
		return nil
	}
	var err error
	if v.key, err = vault.OpenOrCreateKey(filepath.Join(n.cfg.Dir, KeysDir)); err != nil {
		return err
	}
	if v.said, err = n.db.Load(ctx, saidKey); err != nil {
		return err
	}
	text := v.key.Recipient().String()
	r, err := tree.OpenRecipient(v.said, n.self.ID.Tree, n.self.Member(), n.key.Public())
	if err != nil || r.Sealed != text { // there is none yet, or it names a key that was lost
		if v.said, err = n.signRecipient(text, r.Time); err != nil {
			return err
		}
		if err := n.db.Save(ctx, map[string][]byte{saidKey: v.said}); err != nil {
			return err
		}
	}
	said, err := signed.Parse(v.said)
	v.digest = said.Digest
	return err
}

// signRecipient signs to which key is sealed for the node, later than it last did.
func (n *Node) signRecipient(text string, last int64) ([]byte, error) {
	r := tree.Recipient{Tree: n.self.ID.Tree, Member: n.self.Member(), Sealed: text, Time: max(n.cfg.Clock().Unix(), last+1)}
	var err error
	if r.Key, err = spki(n.key); err != nil {
		return nil, err
	}
	return signed.Sign(n.key, tree.RecipientType, r)
}

// compareRecipient tells the gateway to which key is sealed for the node, unless the evidence says that it knows.
func (n *Node) compareRecipient(ctx context.Context, e control.Evidence) {
	n.vault.told.Store(bytes.Equal(e.Recipient, n.vault.digest[:]))
	n.tellRecipient(ctx)
}

// tellRecipient tells the gateway to which key is sealed for the node, unless it knows. If it cannot be told now, it is
// told when it next gives evidence.
func (n *Node) tellRecipient(ctx context.Context) {
	v := &n.vault
	if v.said == nil || v.told.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askGateway)
	defer cancel()
	if err := n.home.Publish(ctx, v.said); err != nil {
		n.log.Warn("the gateway was not told to which key to seal for this member", "error", err)
		return
	}
	v.told.Store(true)
}

// SealedKey returns the key that opens what is sealed to the node; the zero key if it is no app and no service.
func (n *Node) SealedKey() vault.Key { return n.vault.key }

// A Recorder seals what the node's thing records to those who may read it, and stores it.
type Recorder struct {
	node  *Node
	vault *vault.Recorder
}

// Recorder returns a recorder into a store. A node has one for all that its thing records.
func (n *Node) Recorder(store vault.Store) *Recorder {
	return &Recorder{n, vault.NewRecorder(store, n.key, n.self, n.cfg.Clock)}
}

// Record seals a recording to those who could read all of it in a call now (see Node.Readers), and stores it; see
// vault.Recorder. The error is ErrNoReaders if that is nobody, and vault.ErrFull if the store has no room.
func (r *Recorder) Record(ctx context.Context, rec thing.Recording) error {
	to, err := r.node.Readers(ctx, rec.Affordance, rec.From, rec.Until)
	if err != nil {
		return err
	}
	return r.vault.Record(ctx, vault.Recording(rec), to)
}

// Forget deletes what the node's thing stored before a moment, and returns how many objects that were.
func (r *Recorder) Forget(ctx context.Context, before time.Time) (int, error) {
	return r.vault.Forget(ctx, before)
}

// Sealed returns a reader of what is sealed to the node in a store. It needs nobody to be reachable.
func (n *Node) Sealed(store vault.Store) vault.Reader {
	return vault.Reader{Store: store, Key: n.vault.key, Verify: func(chain [][]byte, at time.Time) (identity.Chain, error) {
		return identity.Verify(chain, n.trust.tree(), n.trust.charter().RootCertificate(), at)
	}}
}

// Recorded returns the member whose recordings are meant by a path: the one that is there, and else, where the gateway
// is out of reach or knows of nobody there any more, the one that was there when it was asked last.
func (n *Node) Recorded(ctx context.Context, path identity.Path) (identity.MemberID, error) {
	asking, cancel := context.WithTimeout(ctx, askGateway)
	defer cancel()
	c, err := n.lookUp(asking, control.Lookup{Path: path})
	if err == nil {
		return c.Member(), nil
	}
	member, lerr := n.db.Load(ctx, pathPrefix+string(path))
	if lerr != nil || len(member) != len(identity.MemberID{}) {
		return identity.MemberID{}, errors.Join(err, lerr)
	}
	return identity.MemberID(member), nil
}
