package kindred

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
)

// callers remembers those who came with nothing but certificates, by what these are.
type callers struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]*vouched
}

// A vouched caller is one whom the gateway vouches for, because it shows neither proof nor grants itself. What the
// gateway says is verified like a hello from the caller, and then holds like one: it grows old with what the node
// knows of the tree, and ends with a revocation, whoever brings that.
//
//	           the gateway vouches
//	unknown ────────────────────────▶ known ──▶ asked about again: after ten minutes, when it was refused
//	   │ ▲                              │       something (it may have new grants), when what it rests on
//	   │ └────── it does not ───────────┘       was taken away
//	   └──▶ the gateway is silent: refused, with the reason
type vouched struct {
	chain [][]byte
	key   crypto.PublicKey // the first certificate's, which the connection proved
	turn  chan struct{}    // holds a value while somebody looks at what follows, or asks

	session *session  // nil: unknown
	asked   time.Time // when the gateway answered last
	refused error     // what it said then, if it does not vouch
}

// vouchPause is how long the gateway's word about a caller stands before the same is asked again.
const vouchPause = time.Second

// A silentError says that the gateway did not answer.
type silentError struct{ error }

func (e *silentError) Unwrap() error { return e.error }

// of returns what is kept of the caller that a connection is from.
func (cs *callers) of(chain [][]byte, key crypto.PublicKey) *vouched {
	h := sha256.New()
	for _, der := range chain {
		h.Write(der) // each says how long it is
	}
	id := [sha256.Size]byte(h.Sum(nil))
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if v, ok := cs.known[id]; ok {
		return v
	}
	if cs.known == nil {
		cs.known = map[[sha256.Size]byte]*vouched{}
	}
	for old := range cs.known { // any will do
		if len(cs.known) < maxSessions {
			break
		}
		delete(cs.known, old)
	}
	v := &vouched{chain: chain, key: key, turn: make(chan struct{}, 1)}
	cs.known[id] = v
	return v
}

// session returns who calls over a connection whose handshake has shown that the key is the caller's.
func (cs *callers) session(ctx context.Context, n *Node, state tls.ConnectionState) (*session, error) {
	v := cs.of(rawChain(state), state.PeerCertificates[0].PublicKey)
	end, err := v.take(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if s := v.session; s != nil && n.cfg.Clock().Sub(v.asked).Abs() < evidenceFor {
		if _, _, err := n.renew(s); err == nil {
			return s, nil
		}
	}
	if err := n.ask(ctx, v); err != nil {
		return nil, err
	}
	return v.session, nil
}

// take waits for the turn.
func (v *vouched) take(ctx context.Context) (end func(), err error) {
	select {
	case v.turn <- struct{}{}:
		return func() { <-v.turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ask has the gateway vouch for a caller, unless it said a moment ago that it does not. A caller who is known already
// stays so while the gateway is silent: how long it may be served on what is known is decided for each request. The
// caller holds the turn.
func (n *Node) ask(ctx context.Context, v *vouched) error {
	if v.refused != nil && n.cfg.Clock().Sub(v.asked).Abs() < vouchPause {
		return v.refused
	}
	s, err := n.vouch(ctx, v)
	var silent *silentError
	switch {
	case err == nil:
		v.session, v.refused, v.asked = s, nil, n.cfg.Clock()
	case errors.As(err, &silent) && v.session != nil:
		_, _, err = n.renew(v.session)
		return err
	case errors.As(err, &silent):
	default:
		v.session, v.refused, v.asked = nil, err, n.cfg.Clock()
	}
	return err
}

// vouchAgain asks again about a caller who was refused something, and reports whether that may change the outcome.
func (n *Node) vouchAgain(ctx context.Context, c *call) bool {
	v := c.session.vouched
	if v == nil {
		return false
	}
	end, err := v.take(ctx)
	if err != nil {
		return false
	}
	defer end()
	if v.session == c.session { // else somebody has asked meanwhile
		if n.cfg.Clock().Sub(v.asked).Abs() < vouchPause {
			return false
		}
		if err := n.ask(ctx, v); err != nil {
			n.log.Info("nobody vouches for a caller any more", "who", c.session.who.ID.Path, "error", err)
			return false
		}
	}
	changed := v.session != nil && v.session != c.session
	if changed {
		c.session = v.session
	}
	return changed
}

// vouch makes a session for a caller: at the gateway from its roster, elsewhere from what the gateway says.
func (n *Node) vouch(ctx context.Context, v *vouched) (*session, error) {
	hello := credential.Hello{Chain: v.chain}
	if n.cfg.Gateway == nil {
		e, err := n.askVouch(ctx, v.chain)
		if err != nil {
			return nil, err
		}
		e.Chain = v.chain
		if hello, err = helloOf(e); err != nil {
			return nil, err
		}
	}
	s, err := n.examineHello(ctx, v.key, hello)
	if err == nil {
		s.vouched = v
	}
	return s, err
}

func (n *Node) askVouch(ctx context.Context, chain [][]byte) (control.Evidence, error) {
	if n.isolated() {
		return control.Evidence{}, &silentError{errors.New("the gateway was tried a moment ago")}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askGateway) // whoever hangs up does not make a gateway silent
	defer cancel()
	e, err := n.home.Vouch(ctx, control.VouchQuery{Chain: chain})
	n.link.tried(n.cfg.Clock(), err)
	var answer *control.Error
	switch {
	case err == nil:
		return e, nil
	case errors.As(err, &answer) && answer.Code == control.Refused:
		return e, fmt.Errorf("%w: the gateway says: %s", credential.ErrRevoked, answer.Message)
	}
	return e, &silentError{err}
}
