package kindred

// HangUp closes the connection with a member, so that the next call is a cold one.
func (n *Node) HangUp(c Contact) error { return n.host.Disconnect(c.Key) }
