package kindred

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
	"github.com/kindred-iot/kindred/vault"
)

// readers are the apps and services that a device seals to, as the gateway said last. What it said is verified like
// hellos from them, and so is to which key: a gateway can leave somebody out, and put nobody in.
type readers struct {
	of    identity.MemberID // whose apps alone; zero: everybody's who may read something
	mu    sync.Mutex        // held while asking
	said  []byte            // what the gateway said, as it is kept
	known []reader
}

// A reader is somebody to seal to.
type reader struct {
	session *session
	to      vault.Recipient
	dated   int64 // when it said to which key
}

// key is where the gateway's answer is kept, for a start while it is out of reach.
func (rs *readers) key() string {
	if rs.of.IsZero() {
		return "readers"
	}
	return "readers/" + rs.of.String()
}

// query asks for them.
func (rs *readers) query(maxAge time.Duration) control.ReadersQuery {
	q := control.ReadersQuery{MaxAge: maxAge}
	if !rs.of.IsZero() {
		q.For = rs.of.String()
	}
	return q
}

// ErrNoReaders says that nobody may read something, or nobody who did say to which key to seal.
var ErrNoReaders = errors.New("nobody is known who may read it")

// Readers returns to whom is sealed what an affordance of the node's thing showed from one moment until another: those
// who could read all of it in a call now. Terms that sealing cannot keep to exclude: what is counted or rationed, what
// is shown more coarsely or in part, what is for one way or for callers at home only, and what is for a purpose. It
// asks the gateway, and goes on with what that said last, for as long as a call would, where it is out of reach.
func (n *Node) Readers(ctx context.Context, affordance string, from, until time.Time) ([]vault.Recipient, error) {
	fresh, _ := n.proofs.entry().LimitFor(affordance)
	known, err := n.askReaders(ctx, &n.readers, fresh)
	if err != nil {
		return nil, fmt.Errorf("kindred: asking to whom to seal: %w", err)
	}
	var to []vault.Recipient
	for _, r := range known {
		ok, err := n.reads(r.session, affordance, from, until)
		if err != nil {
			n.log.Info("somebody is not sealed to", "who", r.session.who.ID.Path, "error", err)
		}
		if ok {
			to = append(to, r.to)
		}
	}
	if len(to) == 0 {
		return nil, fmt.Errorf("kindred: sealing %s: %w", affordance, ErrNoReaders)
	}
	return to, nil
}

// reads reports whether somebody may read all that an affordance showed between two moments, as it is and whenever.
func (n *Node) reads(s *session, affordance string, from, until time.Time) (bool, error) {
	now := n.now()
	r, err := n.renewal(s, now)
	if err != nil {
		return false, err
	}
	facts := n.facts(affordance, now)
	facts.Way, facts.Usage = grant.Relayed, nil // whatever depends on these is refused
	req := grant.Request{Thing: n.self, Affordance: affordance, Action: grant.Read}
	d, err := grant.Decide(req, r.who, n.liveGrants(s, r, now), facts)
	if err != nil || !d.Allowed {
		return false, err
	}
	whole := d.View.Detail == grant.Detail{} && (r.who.Kind() != identity.Service || slices.Contains(d.View.Clear, affordance))
	return whole && d.View.SeesAll(from, until), nil
}

// askReaders returns those whom the gateway names, verified by proofs of at most an age.
func (n *Node) askReaders(ctx context.Context, rs *readers, maxAge time.Duration) ([]reader, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.said == nil {
		if err := n.recallReaders(ctx, rs); err != nil {
			return nil, err
		}
	}
	if n.isolated() && rs.said != nil {
		return rs.known, nil
	}
	asking, cancel := context.WithTimeout(ctx, askGateway)
	defer cancel()
	answer, err := n.home.Readers(asking, rs.query(maxAge))
	n.link.tried(n.cfg.Clock(), err)
	if err != nil {
		if rs.said == nil {
			return nil, err
		}
		n.log.Info("sealing to those known", "error", err)
		return rs.known, nil
	}
	said, err := json.Marshal(answer)
	if err != nil || bytes.Equal(said, rs.said) {
		return rs.known, err
	}
	known := n.verifyReaders(ctx, rs, answer)
	if err := n.db.Save(ctx, map[string][]byte{rs.key(): said}); err != nil {
		return nil, err
	}
	rs.said, rs.known = said, known
	return known, nil
}

// recallReaders reads what the gateway said before the node was started. The caller holds rs.mu.
func (n *Node) recallReaders(ctx context.Context, rs *readers) error {
	said, err := n.db.Load(ctx, rs.key())
	if err != nil || said == nil {
		return err
	}
	var answer control.Readers
	if err := json.Unmarshal(said, &answer); err != nil {
		return fmt.Errorf("reading %s: %w", rs.key(), err)
	}
	rs.said, rs.known = said, n.verifyReaders(ctx, rs, answer)
	return nil
}

// verifyReaders returns those of an answer who are what it says. The caller holds rs.mu.
func (n *Node) verifyReaders(ctx context.Context, rs *readers, answer control.Readers) (known []reader) {
	for _, a := range answer.Readers[:min(len(answer.Readers), control.MaxReaders)] {
		r, err := n.verifyReader(ctx, a)
		if err != nil {
			n.log.Warn("the gateway names somebody to seal to who does not verify", "error", err)
			continue
		}
		for _, old := range rs.known { // a key that was replaced does not come back
			if old.session.who.Member() == r.session.who.Member() && old.dated > r.dated {
				r.to, r.dated = old.to, old.dated
			}
		}
		known = append(known, r)
	}
	return known
}

func (n *Node) verifyReader(ctx context.Context, a control.Reader) (reader, error) {
	hello, err := helloOf(a.Evidence)
	if err != nil {
		return reader{}, err
	}
	if len(hello.Chain) == 0 {
		return reader{}, errNoHello
	}
	leaf, err := x509.ParseCertificate(hello.Chain[0])
	if err != nil {
		return reader{}, err
	}
	s, err := n.examineHello(ctx, leaf.PublicKey, hello)
	if err != nil {
		return reader{}, err
	}
	if kind := s.who.Kind(); kind != identity.App && kind != identity.Service {
		return reader{}, fmt.Errorf("%s is a %s, want an app or a service", s.who.ID.Path, kind)
	}
	said, err := tree.OpenRecipient(a.Recipient, s.who.ID.Tree, s.who.Member(), s.who.Key)
	if err != nil {
		return reader{}, err
	}
	to, err := vault.ParseRecipient(said.Sealed)
	return reader{session: s, to: to, dated: said.Time}, err
}
