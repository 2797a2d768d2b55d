package kindred

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
)

// An Exported is a member for software that knows nothing of Kindred, with all that such software has to be given.
type Exported struct {
	ID           identity.ID
	Until        time.Time
	Certificates []byte           // PEM, the leaf first
	Key          []byte           // PEM, PKCS #8; it is not kept
	Issuer       []byte           // PEM: whose word to take for the names of the home's servers
	Servers      []control.Server // that it may have some right to
}

// MaxExport is how long an exported member lasts, at most.
const MaxExport = 24 * time.Hour

// ErrNoAuthority says that the key of the owner or person that a member acts for is not kept in its directory.
var ErrNoAuthority = errors.New("the key that signs apps is not on this device")

// Export makes an app of the node's own owner or person, with a key of its own, and lets it in. It takes the place of
// one that was exported under the same name before.
func (n *Node) Export(ctx context.Context, name string, life time.Duration) (Exported, error) {
	e, err := n.export(ctx, name, life)
	if err != nil {
		return Exported{}, fmt.Errorf("kindred: exporting a key: %w", err)
	}
	return e, nil
}

func (n *Node) export(ctx context.Context, name string, life time.Duration) (e Exported, err error) {
	if life <= 0 || life > MaxExport {
		return e, fmt.Errorf("it would last %s, want at most %s", life, MaxExport)
	}
	authority, err := n.Authority()
	if errors.Is(err, fs.ErrNotExist) || err == nil && authority.Path() != n.self.ID.Path.Parent() {
		err = ErrNoAuthority
	}
	if err != nil {
		return e, err
	}
	key, err := identity.NewP256() // the only kind of key that all browsers take
	if err != nil {
		return e, err
	}
	member, err := identity.NewMemberID(rand.Reader)
	if err != nil {
		return e, err
	}
	now := n.cfg.Clock()
	e.ID, e.Until = identity.ID{Tree: n.self.ID.Tree, Path: authority.Path().Join(name)}, now.Add(life)
	chain, err := authority.Issue(identity.Subject{
		Kind: identity.App, Tool: true, Member: member, Name: name, Key: key.Public(),
		NotBefore: now.Add(MaxExport - identity.ToolLife), NotAfter: e.Until,
	})
	if err != nil {
		return e, err
	}
	if e.Key, err = identity.MarshalKey(key); err != nil {
		return e, err
	}
	lan, err := n.Gateway().LAN(ctx)
	if err != nil {
		return e, err
	}
	issuer, err := identity.CheckServerIssuer(lan.Issuer, e.ID.Tree, now)
	if err != nil {
		return e, err
	}
	e.Servers, e.Issuer, e.Certificates = lan.Servers, certificates(issuer.Raw), certificates(chain...)
	return e, n.Gateway().AdmitTool(ctx, control.Tool{Chain: chain})
}

// certificates encodes certificates as PEM.
func certificates(chain ...[]byte) []byte {
	var out bytes.Buffer
	for _, der := range chain {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return out.Bytes()
}
