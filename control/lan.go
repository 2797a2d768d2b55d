package control

import (
	"context"

	"github.com/kindred-iot/kindred/identity"
)

// What members need of the gateway to serve software that knows nothing of Kindred, over HTTPS on the local network,
// and to be such software.

// A VouchQuery asks for what a caller, who shows nothing but certificates, would show to the member that asks: proof
// that it is live, and the grants it has for this member. Of other members' grants nothing is told.
type VouchQuery struct {
	Chain [][]byte `json:"chain"` // the caller's certificates, DER, leaf first
}

// A ServerRequest asks for a certificate for the names of the device that asks.
type ServerRequest struct {
	Key    []byte   `json:"key"`    // SubjectPublicKeyInfo: ECDSA P-256
	Listen []string `json:"listen"` // where it serves, IP:PORT, at most MaxListen
}

// MaxListen is how many addresses a ServerRequest has, at most.
const MaxListen = 16

// A ServerCertificate answers a ServerRequest.
type ServerCertificate struct {
	Certificate []byte `json:"certificate"` // DER; its issuer is that of LAN
	Issuer      []byte `json:"issuer"`
}

// A LAN says whom to trust for the names of the home, and who serves HTTPS there.
type LAN struct {
	Issuer  []byte   `json:"issuer"`            // DER, a certificate that signs names of the home's own domain alone
	Servers []Server `json:"servers,omitempty"` // those to which the caller has some right, by path
}

// A Server is a device that serves HTTPS.
type Server struct {
	Path    identity.Path `json:"path"`
	Gateway bool          `json:"gateway,omitempty"` // it serves this API, and no thing
	Names   []string      `json:"names"`             // of its certificate, the best one first
	Listen  []string      `json:"listen"`            // IP:PORT, the best one first
}

// A Tool is an app of the caller's own owner or person, for a day at most.
type Tool struct {
	Chain [][]byte `json:"chain"` // DER, the tool's own first
}

// Vouch fetches what a caller would show.
func (c Client) Vouch(ctx context.Context, q VouchQuery) (Evidence, error) {
	return call[Evidence](ctx, c, "vouch", q)
}

// Certify fetches a certificate for the client's own names.
func (c Client) Certify(ctx context.Context, r ServerRequest) (ServerCertificate, error) {
	return call[ServerCertificate](ctx, c, "certify", r)
}

// LAN fetches who serves HTTPS.
func (c Client) LAN(ctx context.Context) (LAN, error) { return call[LAN](ctx, c, "lan", None{}) }

// AdmitTool puts a tool into the roster, in place of the one that had its path.
func (c Client) AdmitTool(ctx context.Context, t Tool) error { return do(ctx, c, "tool", t) }
