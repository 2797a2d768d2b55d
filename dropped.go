package kindred

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// A revocation that the keeper did not accept is marked, so that it does not come back: this one, and none that somebody
// else signed about the same. The mark is needed for as long as the revocation counts, tree.DefaultOffline from when it was
// signed. Of one who is no owner nothing more is obeyed while there are credential.MaxWaiting of theirs.
const droppedPrefix = "dropped/"

// A mark is what is kept of a revocation that was turned down.
type mark struct {
	By   identity.MemberID `cbor:"1,keyasint"` // credential.Pending.Giver
	Time int64             `cbor:"2,keyasint"` // when it was signed, Unix time, seconds
}

var errDropped = errors.New("the home has turned this revocation down")

func droppedKey(s signed.Statement) string { return droppedPrefix + s.Digest.String() }

// marks returns the marks that are needed still, and the keys of the others.
func (n *Node) marks(ctx context.Context) (needed map[string]mark, ended map[string][]byte, _ error) {
	needed, ended = map[string]mark{}, map[string][]byte{}
	horizon := n.cfg.Clock().Add(-tree.DefaultOffline - credential.MaxSkew).Unix()
	err := n.db.Scan(ctx, droppedPrefix, func(key string, value []byte) error {
		var m mark
		if err := signed.Unmarshal(value, &m); err != nil || m.Time < horizon { // without a mark it is turned down once more
			ended[key] = nil
		} else {
			needed[key] = m
		}
		return nil
	})
	return needed, ended, err
}

// checkDropped checks that a revocation was not turned down, and not too many of the same giver.
func (n *Node) checkDropped(ctx context.Context, p credential.Pending) error {
	s, err := signed.Parse(p.Raw)
	if err != nil {
		return err
	}
	marks, _, err := n.marks(ctx)
	if err != nil {
		return err
	}
	if _, ok := marks[droppedKey(s)]; ok {
		return errDropped
	}
	theirs, by := 0, p.Giver()
	for _, m := range marks {
		if m.By == by {
			theirs++
		}
	}
	if !by.IsZero() && theirs >= credential.MaxWaiting {
		return fmt.Errorf("the home has turned down %d revocations of %s in the last seven days", theirs, p.Signer.ID.Path)
	}
	return nil
}

// dropped forgets a revocation that the keeper did not accept, and the marks of those that do not count any longer.
func (n *Node) dropped(ctx context.Context, leaf merkle.Hash, raw []byte) error {
	n.noticing.Lock()
	defer n.noticing.Unlock()
	key, value, err := n.markOf(leaf, raw)
	if err != nil {
		return err
	}
	_, change, err := n.marks(ctx)
	if err != nil {
		return err
	}
	change[key] = value
	if err := n.db.Save(ctx, change); err != nil {
		return err
	}
	err = n.trust.update(ctx, n.cfg.Clock, func(t credential.Trusted, _ time.Time) (credential.Trusted, error) {
		return t.Restore(leaf), nil
	})
	if err != nil {
		return err
	}
	return n.db.Save(ctx, map[string][]byte{noticeKey(leaf): nil})
}

// markOf returns the mark of a revocation that was obeyed.
func (n *Node) markOf(leaf merkle.Hash, raw []byte) (key string, value []byte, err error) {
	notice, err := credential.ParseNotice(raw)
	if err != nil {
		return "", nil, err
	}
	s, err := signed.Parse(notice.Statement)
	if err != nil {
		return "", nil, err
	}
	var r tree.Revocation
	if err := signed.Unmarshal(s.Payload, &r); err != nil {
		return "", nil, err
	}
	value, err = signed.Marshal(mark{n.trust.snapshot().StruckBy(leaf), r.Time})
	return droppedKey(s), value, err
}
