package kindred

import (
	"context"
	"net/http"
	"strings"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/peer"
)

// HangUp closes the connection with a member, so that the next call is a cold one.
func (n *Node) HangUp(c Contact) error { return n.host.Disconnect(c.Key) }

// ForgetPeers makes the node verify from the start what it is shown next.
func (n *Node) ForgetPeers() {
	n.sessions.mu.Lock()
	defer n.sessions.mu.Unlock()
	clear(n.sessions.known)
}

// Find makes the node take it that a member is at addresses, as if the gateway had said so just now.
func (n *Node) Find(c Contact, addresses ...string) {
	c.Addresses, c.Fetched = addresses, n.cfg.Clock()
	n.contact.learn(c)
	n.contact.found(c)
}

// Between puts somebody between a node and its home's gateway.
func (c *Config) Between(f func(Home) Home) { c.between = f }

// Bare calls others as the node does, but signs and keeps nothing: a program of somebody who has its key.
func (n *Node) Bare(ctx context.Context, member identity.MemberID) (http.RoundTripper, error) {
	return n.host.Transport(n.target), n.prepare(ctx, member)
}

// Room makes the node take it that its disk has so much room. It is for a node that serves nothing yet.
func (n *Node) Room(room func() (free, all int64, err error)) { n.room = room }

// TellStreams gives receipts for all streams now, however short they have lasted.
func (n *Node) TellStreams() { n.calls.tellStreams(0) }

// EveryMinute does what a thing does once a minute.
func (n *Node) EveryMinute() { n.calls.everyMinute() }

// AskForReceipts does what is done once a minute.
func (n *Node) AskForReceipts(ctx context.Context) { n.accounts.askForReceipts(ctx) }

// HandBack hands back all countersignatures now.
func (n *Node) HandBack(ctx context.Context) { n.accounts.handBack(ctx) }

// The names of what goes with calls.
const (
	ReceiptsPath        = receiptsPath
	ReceiptHeader       = receiptHeader
	CountersignedHeader = countersignedHeader
	CallHeader          = callHeader
)

// Lie has the node answer as h does in place of its thing, whatever is asked of that.
func (n *Node) Lie(h http.Handler) { n.calls.offer(h, nil) }

// Owe has a caller owe a receipt that the node makes up.
func (n *Node) Owe(ctx context.Context, r journal.Receipt) ([]byte, error) {
	return n.receipts.issue(ctx, r)
}

// NoteRefusals writes down what was refused and is counted, whatever minute it is.
func (n *Node) NoteRefusals() { n.noteRefusals(true) }

// Sign signs with the node's key.
func (n *Node) Sign(c journal.Countersignature) ([]byte, error) { return c.Sign(n.key) }

// Owes returns how many receipts the node's callers have not signed.
func (n *Node) Owes() (owed int) {
	n.receipts.mu.Lock()
	defer n.receipts.mu.Unlock()
	for who := range n.receipts.owed {
		owed += len(n.receipts.owing(who))
	}
	return owed
}

// AllPages asks what happened until there is no more.
var AllPages = allPages

// Settle signs what a member says is owed to it.
func (n *Node) Settle(ctx context.Context, member identity.MemberID) error {
	host := strings.TrimPrefix(n.url(member), peer.Scheme+"://")
	return n.accounts.settle(ctx, host, false)
}
