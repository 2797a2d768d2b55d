package control

import "context"

const (
	MaxCertificates = 64 // members whose certificates are asked for at a time
	MaxChains       = 16 // that are told of one member, the newest
)

// A CertificatesQuery asks with which certificates what members signed is verified, of removed members too. Owners may.
type CertificatesQuery struct {
	Members []string `json:"members"` // 26 characters each
}

// Certificates are what members have and had, a chain for each key of their leaf, the oldest first, MaxChains of
// each member at most.
type Certificates struct {
	Chains [][][]byte `json:"chains,omitempty"` // DER, leaf first
}

// Certificates asks with what members' signatures are verified.
func (c Client) Certificates(ctx context.Context, q CertificatesQuery) (Certificates, error) {
	return call[Certificates](ctx, c, "certificates", q)
}
