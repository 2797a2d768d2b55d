package kindred

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

// Between puts somebody between the node and its home's gateway.
func (n *Node) Between(f func(Home) Home) { n.home = f(n.home) }
