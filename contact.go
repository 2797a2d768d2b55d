package kindred

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tree"
)

// contacts remember who is where for as long as the process lives; the database does for longer.
type contacts struct {
	mu      sync.Mutex
	given   map[string]given               // whom the user gave an address of, by host of a URL
	callees map[identity.MemberID]*session // who showed what when they were called last
	known   map[identity.MemberID]Contact  // read from the database and verified
	paths   map[identity.Path]Contact      // likewise, by path
	used    map[identity.MemberID]bool     // have been used before

	checked atomic.Pointer[checked]
}

// checked says when callees were looked at last, and by what was trusted then.
type checked struct {
	version uint64
	at      time.Time
}

// given is a member at an address that the user knows.
type given struct {
	id      identity.ID
	key     crypto.PublicKey
	address string
}

// A Contact is a member that can be called.
type Contact struct {
	identity.Chain
	Addresses []string  // multiaddrs
	Relays    []string  // of the gateway: where members of its home are found from elsewhere
	Told      time.Time // when the member said where it is; zero: it never did
	Fetched   time.Time // when the gateway said who it is
}

// storedContact is a contact on disk.
type storedContact struct {
	Contact control.Contact
	Fetched time.Time
}

const (
	contactPrefix = "contact/"
	pathPrefix    = "path/"
	usedPrefix    = "used/"
)

// Resolve finds the member at a path of the node's own tree: from memory if it is there, else at the gateway.
func (n *Node) Resolve(ctx context.Context, path identity.Path) (Contact, error) {
	if c, ok := n.contact.at(path); ok && len(c.Addresses) > 0 {
		return c, nil
	}
	member, err := n.db.Load(ctx, pathPrefix+string(path))
	if err != nil {
		return Contact{}, err
	}
	if len(member) == len(identity.MemberID{}) {
		if c, err := n.remembered(ctx, identity.MemberID(member)); err == nil && c.ID.Path == path && len(c.Addresses) > 0 {
			n.contact.found(c)
			return c, nil
		}
	}
	return n.lookUp(ctx, control.Lookup{Path: path})
}

// remembered returns what is kept of a member.
func (n *Node) remembered(ctx context.Context, member identity.MemberID) (Contact, error) {
	if c, ok := n.contact.recall(member); ok {
		return c, nil
	}
	data, err := n.db.Load(ctx, contactPrefix+member.String())
	if err != nil {
		return Contact{}, err
	}
	if data == nil {
		return Contact{}, fmt.Errorf("kindred: nothing is known of member %s", member)
	}
	var s storedContact
	if err := json.Unmarshal(data, &s); err != nil {
		return Contact{}, fmt.Errorf("kindred: reading what is known of %s: %w", member, err)
	}
	c, err := n.contactOf(s.Contact, s.Fetched)
	if err == nil {
		n.contact.learn(c)
	}
	return c, err
}

func (cs *contacts) recall(member identity.MemberID) (Contact, bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c, ok := cs.known[member]
	return c, ok
}

// at returns the member that was at a path when the gateway was asked last.
func (cs *contacts) at(path identity.Path) (Contact, bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c, ok := cs.paths[path]
	return c, ok
}

func (cs *contacts) learn(c Contact) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.known == nil {
		cs.known = map[identity.MemberID]Contact{}
	}
	cs.known[c.Member()] = c
}

// found notes that a contact is the member at its path.
func (cs *contacts) found(c Contact) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.paths == nil {
		cs.paths = map[identity.Path]Contact{}
	}
	cs.paths[c.ID.Path] = c
}

// lookUp asks the gateway where a member is, and remembers it.
func (n *Node) lookUp(ctx context.Context, q control.Lookup) (Contact, error) {
	found, err := n.home.Resolve(ctx, q)
	n.link.tried(n.cfg.Clock(), err)
	if err != nil {
		return Contact{}, err
	}
	c, err := n.contactOf(found, n.cfg.Clock())
	if err != nil {
		return Contact{}, err
	}
	return c, n.remember(ctx, found, c)
}

func (n *Node) remember(ctx context.Context, found control.Contact, c Contact) error {
	data, err := json.Marshal(storedContact{found, c.Fetched})
	if err != nil {
		return err
	}
	n.contact.learn(c)
	n.contact.found(c)
	id := c.Member()
	return n.db.Save(ctx, map[string][]byte{contactPrefix + id.String(): data, pathPrefix + string(c.ID.Path): id[:]})
}

// contactOf checks what the gateway said of a member: the certificates, and the member's signature on the record.
// Whether it is live, it has to prove itself.
func (n *Node) contactOf(found control.Contact, fetched time.Time) (Contact, error) {
	return contactIn(n.trust.tree(), n.trust.charter(), found, fetched)
}

// contactIn is contactOf for a member of a tree that a charter is of.
func contactIn(of identity.TreeID, charter tree.Ruled, found control.Contact, fetched time.Time) (Contact, error) {
	at, err := identity.ValidFrom(found.Chain)
	if err != nil {
		return Contact{}, err
	}
	chain, err := identity.Verify(found.Chain, of, charter.RootCertificate(), at)
	if err != nil {
		return Contact{}, err
	}
	c := Contact{Chain: chain, Fetched: fetched, Relays: found.Relays}
	if found.Address == nil {
		return c, nil
	}
	record, err := tree.OpenAddress(found.Address, chain.ID.Tree, chain.Member(), chain.Key)
	c.Addresses = record.Addresses
	if err == nil {
		c.Told = time.Unix(record.Time, 0)
	}
	return c, err
}

// contactFor returns how to call a member: the gateway from what the node was told when it joined if need be.
func (n *Node) contactFor(ctx context.Context, member identity.MemberID) (Contact, error) {
	c, err := n.remembered(ctx, member)
	if err == nil && len(c.Addresses) > 0 {
		if member == n.gateway.Member {
			c.Addresses = slices.Concat(n.gateway.Addresses, c.Addresses)
		}
		return c, nil
	}
	if member != n.gateway.Member {
		return n.lookUp(ctx, control.Lookup{Member: member.String()})
	}
	c, err = n.contactOf(control.Contact{Chain: n.gateway.Chain}, time.Time{})
	c.Addresses = n.gateway.Addresses
	return c, err
}

// whereGateway asks the gateway where it is reached by now, unless that was asked lately: a member that only calls never
// announces itself, and may be elsewhere when it calls next.
func (n *Node) whereGateway(ctx context.Context) {
	c, err := n.remembered(ctx, n.gateway.Member)
	if err == nil && n.cfg.Clock().Sub(c.Fetched) < evidenceFor || len(n.cfg.Listen) > 0 {
		return
	}
	if _, err := n.lookUp(ctx, control.Lookup{Member: n.gateway.Member.String()}); err != nil {
		n.log.Info("the gateway does not say where it is", "error", err)
	}
}

// memberOf reads the host of a URL kindred://MEMBER.TREE.
func (n *Node) memberOf(host string) (identity.MemberID, error) {
	name, domain, _ := strings.Cut(host, ".")
	member, err := identity.ParseMemberID(name)
	if err == nil && domain != n.domain {
		err = fmt.Errorf("kindred: %s %w", host, credential.ErrStranger)
	}
	return member, err
}

// recordFor is how old an address record may be for the request to leave before the callee has shown who it is.
const recordFor = 24 * time.Hour

// At returns the base URL of a member at an address that the user knows, in place of those the gateway knows. The
// address ends in /p2p/KEY, and nobody but the holder of that key is talked to. A member of another tree cannot be
// verified here: what it says is only as good as where the address came from.
func (n *Node) At(id identity.ID, address string) (string, error) {
	key, err := peer.KeyOf(address)
	if err != nil {
		return "", err
	}
	host := foreignHost(key, id.Tree)
	n.contact.mu.Lock()
	defer n.contact.mu.Unlock()
	if n.contact.given == nil {
		n.contact.given = map[string]given{}
	}
	n.contact.given[host] = given{id, key, address}
	return peer.Scheme + "://" + host, nil
}

// foreignHost names the holder of a key in a URL, where no member ID is known.
func foreignHost(key crypto.PublicKey, tree identity.TreeID) string {
	name, _ := peer.WithKey("", key)
	return fmt.Sprintf("at-%x.%s", sha256.Sum256([]byte(name)), tree)
}

// atGiven returns how to call somebody at an address that the user gave.
func (n *Node) atGiven(host string) (peer.Target, bool) {
	n.contact.mu.Lock()
	g, ok := n.contact.given[host]
	n.contact.mu.Unlock()
	if !ok {
		return peer.Target{}, false
	}
	t := peer.Target{Key: g.key, Addresses: []string{g.address}, Hello: func() []byte { return n.hello(identity.MemberID{}) }}
	if g.id.Tree == n.self.ID.Tree {
		t.Check = func(_ peerKey, hello []byte) error { return n.checkGiven(g, hello) }
	}
	return t, true
}

// checkGiven is checkCallee for a member of the node's own tree of whom the path and the key are known.
func (n *Node) checkGiven(g given, hello []byte) error {
	if hello == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), askGateway)
	defer cancel()
	s, err := n.examine(ctx, g.key, hello)
	if err == nil && s.who.ID != g.id {
		err = fmt.Errorf("it is %s", s.who.ID.Path)
	}
	if err != nil {
		return fmt.Errorf("kindred: %s: %w: %w", g.id.Path, ErrDistrusted, err)
	}
	return nil
}

// target tells package peer how to call the member a URL names.
func (n *Node) target(ctx context.Context, host string) (peer.Target, error) {
	if t, ok := n.atGiven(host); ok {
		return t, nil
	}
	if of, member, ok := n.memberAbroad(host); ok {
		return n.targetAbroad(ctx, of, member)
	}
	member, err := n.memberOf(host)
	if err != nil {
		return peer.Target{}, err
	}
	c, err := n.contactFor(ctx, member)
	if err != nil {
		return peer.Target{}, err
	}
	if len(c.Addresses) == 0 {
		return peer.Target{}, fmt.Errorf("kindred: %s never said where it can be reached: %w", c.ID.Path, peer.ErrUnreachable)
	}
	return peer.Target{
		Key:       c.Key,
		Addresses: c.Addresses,
		Hello:     func() []byte { return n.hello(n.scope(member)) },
		Check:     func(_ peerKey, hello []byte) error { return n.checkCallee(c, hello) },
		Hold:      n.cfg.Clock().Sub(c.Fetched) > recordFor,
	}, nil
}

// ErrDistrusted says that a callee could not show that it is who it should be, and live.
var ErrDistrusted = errors.New("the callee did not prove who it is")

// checkCallee is what a caller asks of a callee: that it is the member meant, live, and proved so lately. A member
// that was used before is accepted on an older proof. A callee that shows nothing has refused the caller; its answer,
// which can only be that, is let through.
func (n *Node) checkCallee(c Contact, hello []byte) error {
	if hello == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), askGateway)
	defer cancel()
	s, err := n.examine(ctx, c.Key, hello)
	if err != nil {
		return fmt.Errorf("kindred: %s: %w: %w", c.ID.Path, ErrDistrusted, err)
	}
	if s.who.Member() != c.Member() {
		return fmt.Errorf("kindred: %s: %w: it is %s", c.ID.Path, ErrDistrusted, s.who.ID.Path)
	}
	member := c.Member()
	n.contact.met(member, s)
	used, err := n.used(ctx, member)
	if used || err != nil {
		return err
	}
	if age := n.now().Sub(s.who.AsOf); n.now().IsZero() || age > tree.DefaultFresh {
		return fmt.Errorf("kindred: %s: %w: its proof is %s old", c.ID.Path, ErrDistrusted, age.Round(time.Minute))
	}
	n.contact.use(member)
	return n.db.Save(ctx, map[string][]byte{usedPrefix + member.String(): {1}})
}

// used reports whether the node has used a member before.
func (n *Node) used(ctx context.Context, member identity.MemberID) (bool, error) {
	n.contact.mu.Lock()
	used := n.contact.used[member]
	n.contact.mu.Unlock()
	if used {
		return true, nil
	}
	mark, err := n.db.Load(ctx, usedPrefix+member.String())
	if mark != nil {
		n.contact.use(member)
	}
	return mark != nil, err
}

func (cs *contacts) use(member identity.MemberID) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.used == nil {
		cs.used = map[identity.MemberID]bool{}
	}
	cs.used[member] = true
}

func (n *Node) now() time.Time { return n.trust.now(n.cfg.Clock) }

// clock returns the time for what two ends sign: where the clock was not set since boot, as the ledger tells it; where that
// does not, as the clock stands.
func (n *Node) clock() time.Time {
	if now := n.now(); !now.IsZero() {
		return now
	}
	return n.cfg.Clock()
}

// met remembers what a callee showed.
func (cs *contacts) met(member identity.MemberID, s *session) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.callees == nil {
		cs.callees = map[identity.MemberID]*session{}
	}
	cs.callees[member] = s
}

// recheckCallees hangs up on members that are known by now to have been taken away. What is said to them next, if
// anything, begins with a new look at what they show.
func (n *Node) recheckCallees() {
	_, version := n.trust.versioned()
	now := n.now()
	if c := n.contact.checked.Load(); c != nil && c.version == version {
		if age := now.Sub(c.at); age >= 0 && age < renewFor {
			return
		}
	}
	n.contact.checked.Store(&checked{version, now})
	n.contact.mu.Lock()
	defer n.contact.mu.Unlock()
	for member, s := range n.contact.callees {
		if _, _, err := n.renew(s); err != nil {
			delete(n.contact.callees, member)
			n.log.Info("hanging up", "on", s.who.ID.Path, "error", err)
			if err := n.host.Disconnect(s.who.Key); err != nil {
				n.log.Warn("hanging up", "error", err)
			}
		}
	}
}

// Use calls do with a client for the thing at a path. If nobody answered there, or somebody who is not a member any
// more, and the gateway says that the path is another member's now, do is called again with that.
func (n *Node) Use(ctx context.Context, path identity.Path, do func(*thing.Client) error) error {
	c, err := n.Resolve(ctx, path)
	if err != nil {
		return err
	}
	client, err := n.ThingOf(c.Member())
	if err != nil {
		return err
	}
	err = do(client)
	if !errors.Is(err, peer.ErrUnreachable) && !errors.Is(err, peer.ErrWrongKey) && !errors.Is(err, ErrDistrusted) {
		return err
	}
	now, lerr := n.lookUp(ctx, control.Lookup{Path: path})
	if lerr != nil || now.Member() == c.Member() {
		return err
	}
	if client, lerr = n.ThingOf(now.Member()); lerr != nil {
		return err
	}
	return do(client)
}
