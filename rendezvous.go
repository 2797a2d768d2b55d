package kindred

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/relay"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// rendezvous is how the node is found at relays, and finds others, when the gateway cannot be asked.
type rendezvous struct {
	late time.Duration // how long after the others of the world the node goes to its next point
	poke chan struct{} // capacity 1: there may be something to publish

	mu     sync.Mutex
	looked map[identity.MemberID]time.Time // when each was last looked for
}

const (
	// lateAtMost spreads over time what all members publish when an epoch begins.
	lateAtMost = 10 * time.Minute

	// appearEvery is how often the node looks whether what it published still holds, and appearWithin how long a
	// relay has to take it.
	appearEvery  = 15 * time.Second
	appearWithin = 10 * time.Second

	// lookEvery is how soon a member is looked for again, and lookWithin how long relays have to answer.
	lookEvery  = 10 * time.Second
	lookWithin = 3 * time.Second
)

func (r *rendezvous) start() {
	r.late, r.poke = rand.N(lateAtMost), make(chan struct{}, 1)
	r.looked = map[identity.MemberID]time.Time{}
}

// again says that there may be something to publish.
func (r *rendezvous) again() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// mayLook reports whether it is time to look for a member, and notes that it is looked for now.
func (r *rendezvous) mayLook(member identity.MemberID, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := now.Sub(r.looked[member]); d >= 0 && d < lookEvery {
		return false
	}
	r.looked[member] = now
	return true
}

// notLooked takes back that a member was looked for.
func (r *rendezvous) notLooked(member identity.MemberID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.looked, member)
}

// relays returns the home's relays, as far as the node was told.
func (n *Node) relays(ctx context.Context) []relay.At {
	all := n.cfg.Relays
	if all == nil && n.cfg.Gateway == nil {
		if c, err := n.known(ctx, n.gateway.Member); err == nil {
			all = c.Relays
		}
	}
	at, err := relay.Relays(all)
	if err != nil {
		n.log.Warn("the gateway names relays that cannot be used", "error", err)
	}
	return at
}

// secret returns what the members of the home find each other with, if the node was told.
func (n *Node) secret() (s relay.Secret, ok bool) {
	raw := n.proofs.latest().Rendezvous
	return s, copy(s[:], raw) == len(s) && len(raw) == len(s)
}

// An appearance is what the node has published at a relay.
type appearance struct {
	point     relay.Identifier
	addresses []string
	until     time.Time // when it has to be published anew
	tag       peer.Tag  // with which the node said to which household it belongs
	tagged    time.Time // when the connection began on which it did
}

// appear keeps published where the node is, until ctx ends.
func (n *Node) appear(ctx context.Context) {
	published := map[string]*appearance{} // by the relay's key
	for {
		var wait sync.WaitGroup
		for _, at := range n.relays(ctx) {
			was := published[string(at.Key)]
			if was == nil {
				was = &appearance{}
				published[string(at.Key)] = was
			}
			wait.Go(func() {
				soon, cancel := context.WithTimeout(ctx, appearWithin)
				defer cancel()
				if err := errors.Join(n.publish(soon, at, was), n.belong(soon, at, was)); err != nil && ctx.Err() == nil {
					n.log.Info("a relay is not told where this member is", "relay", at.Addresses[0], "error", err)
				}
			})
		}
		wait.Wait()
		select {
		case <-n.rendezvous.poke:
		case <-time.After(appearEvery):
		case <-ctx.Done():
			return
		}
	}
}

// publish leaves a note at a relay, if what was left before does not hold any more.
func (n *Node) publish(ctx context.Context, at relay.At, was *appearance) error {
	secret, ok := n.secret()
	if !ok {
		return nil
	}
	now := n.cfg.Clock()
	when := now.Add(-n.rendezvous.late)
	point, err := secret.Point(n.self.Member(), when)
	if err != nil {
		return err
	}
	addresses := n.host.Addresses()
	if was.point == point.ID && slices.Equal(was.addresses, addresses) && now.Before(was.until) {
		return nil
	}
	record, err := n.addressRecord(addresses)
	if err != nil {
		return err
	}
	note, err := point.Seal(record, now)
	if err != nil {
		return err
	}
	if err := at.Publish(ctx, note); err != nil {
		return err
	}
	was.point, was.addresses = point.ID, addresses
	was.until = now.Add(relay.Epoch / 6) // a relay that was started anew has forgotten it
	return nil
}

// belong tells a relay, on each connection that the node keeps with it, to which household it belongs, so that the
// relay can share fairly.
func (n *Node) belong(ctx context.Context, at relay.At, was *appearance) error {
	path, connected := n.host.Path(at.Key)
	secret, ok := n.secret()
	if !connected || !ok {
		return nil
	}
	tag, err := secret.Household(at.Key, n.cfg.Clock())
	if err != nil || tag == was.tag && path.Since.Equal(was.tagged) {
		return err
	}
	if err := at.Join(ctx, n.host, tag); err != nil {
		return err
	}
	was.tag, was.tagged = tag, path.Since
	return nil
}

// addressRecord signs where the node can be reached, now.
func (n *Node) addressRecord(addresses []string) ([]byte, error) {
	record := tree.Address{
		Tree: n.self.ID.Tree, Member: n.self.Member(), Time: n.cfg.Clock().Unix(),
		Addresses: addresses[:min(len(addresses), tree.MaxAddresses)],
	}
	var err error
	if record.Key, err = spki(n.key); err != nil {
		return nil, err
	}
	return signed.Sign(n.key, tree.AddressType, record)
}

// seek looks for a member at the home's relays, and reports whether it is elsewhere than the node knew.
func (n *Node) seek(ctx context.Context, member identity.MemberID) bool {
	secret, ok := n.secret()
	relays := n.relays(ctx)
	if !ok || len(relays) == 0 || !n.rendezvous.mayLook(member, n.cfg.Clock()) {
		return false
	}
	known, err := n.known(ctx, member)
	if err != nil {
		return false
	}
	found := n.askRelays(ctx, relays, secret, member)
	if ctx.Err() != nil {
		n.rendezvous.notLooked(member) // nobody had the time to answer
	}
	best, record := n.latest(known, found)
	if record == nil || slices.Equal(best.Addresses, known.Addresses) {
		return false
	}
	said := control.Contact{Chain: known.Raw, Address: record, Relays: known.Relays}
	if err := n.remember(context.WithoutCancel(ctx), said, best); err != nil {
		n.log.Warn("remembering where a member is", "error", err)
	}
	n.log.Info("found a member at a relay", "who", known.ID.Path)
	return true
}

// askRelays asks relays at the same time for what a member left there.
func (n *Node) askRelays(ctx context.Context, relays []relay.At, secret relay.Secret, member identity.MemberID) [][]byte {
	now := n.cfg.Clock()
	points, err := secret.Points(member, now)
	if err != nil {
		n.log.Error("computing where a member leaves notes", "error", err)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	found := make([][]byte, len(relays))
	var wait sync.WaitGroup
	for i, at := range relays {
		wait.Go(func() {
			var err error
			if found[i], _, err = at.Find(ctx, points, now); err != nil {
				n.log.Info("a member is not found at a relay", "relay", at.Addresses[0], "error", err)
			}
		})
	}
	wait.Wait()
	return found
}

// latest returns what a member said last of where it is, of what was found at relays, and its record; nil if none of that
// is newer than what is known. What is found has to be the member's own word, as the gateway would have handed it on.
func (n *Node) latest(known Contact, found [][]byte) (best Contact, record []byte) {
	best = known
	for _, raw := range found {
		if raw == nil {
			continue
		}
		c, err := n.contactOf(control.Contact{Chain: known.Raw, Address: raw, Relays: known.Relays}, known.Fetched)
		if err != nil {
			n.log.Warn("what was left at a relay is not what a member signed", "who", known.ID.Path, "error", err)
			continue
		}
		if c.Told.After(best.Told) || c.Told.Equal(best.Told) && record == nil { // where it was, nobody answers
			best, record = c, raw
		}
	}
	return best, record
}

// known returns what the node knows of a member without asking.
func (n *Node) known(ctx context.Context, member identity.MemberID) (Contact, error) {
	c, err := n.remembered(ctx, member)
	if err != nil && member == n.gateway.Member {
		return n.contactOf(control.Contact{Chain: n.gateway.Chain}, time.Time{})
	}
	return c, err
}

// outOfReach reports whether nobody answered, or somebody else did.
func outOfReach(err error) bool {
	return errors.Is(err, peer.ErrUnreachable) || errors.Is(err, peer.ErrWrongKey)
}
