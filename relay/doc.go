// Package relay runs a relay, which anyone can run for anyone: it carries calls between members that cannot reach each
// other (package peer does), and holds sealed notes that say where a member is, for others of its home to find.
//
// A relay knows no tree and no member. It sees who connects from where and when, by IP address and, of those who call
// or are called through it, by key; what is said it cannot read. What it holds it can neither read nor sort: this page
// says how.
//
// # Rendezvous
//
// The members of a home share a secret of 32 random bytes. The home's keeper makes it, and makes another whenever a
// member is removed; members get it with their proofs, from the gateway, over the peer network. It grants no access to
// anything: with it one finds where members are, which members are told anyway.
//
// Time is cut into epochs of six hours: epoch = ⌊Unix seconds / 21600⌋. For each member and epoch there is a point, and
// all of it is derived by HKDF-SHA-256 (RFC 5869; secret as input keying material, no salt, 32 bytes each) from the
// secret, where info is a text followed by the member's ID (16 bytes) and the epoch (8 bytes, big-endian):
//
//	seed of an Ed25519 key   "kindred rendezvous 1 write"
//	key of AES-256-GCM       "kindred rendezvous 1 seal"
//
// The public half of the Ed25519 key is the point's identifier. So a relay can tell that whoever writes at a point knows
// the secret, and not who or for whom; and nobody who does not know it can tell that two points have to do with each
// other, or come first to one that is not theirs.
//
// A note is, in this order, all numbers big-endian:
//
//	version     1 byte    0x01
//	identifier  32 bytes
//	sequence    8 bytes   when it was written, Unix milliseconds; a later note takes an earlier one's place
//	expires     8 bytes   Unix seconds; at most 13 hours after it arrives
//	nonce       12 bytes  random
//	sealed      1040 or 4112 bytes: AES-256-GCM over 1024 or 4096 bytes of text, with all before the nonce as
//	            additional data
//	signature   64 bytes  Ed25519 by the point's key, over "kindred rendezvous note 1\x00" and all before
//
// and its text is a length (2 bytes), so many bytes of payload, and zeros. The payload is the member's own signed
// address record (package tree), which a reader verifies as if it came from the gateway: a member that writes at
// another's point can hide where that is, and not make anybody believe that it is elsewhere.
//
// Whoever publishes writes at the point of the current epoch, or within its first ten minutes still of the last, with an
// expiry at the end of the epoch that follows the point's. Whoever looks reads at the current point and at the one before,
// and believes the later note. Both do it from a key made for it alone, so that the connection says
// nothing of whose it is.
//
// # Calls
//
// A relay serves, over package peer and to callers that show no hello:
//
//	PUT /rendezvous/1/IDENTIFIER   a note is left: 204; 400 malformed or from the future, 403 not signed by the point's
//	                               key, 409 a later one is there, 410 expired, 413 too long, 429 too many requests or
//	                               notes from one address, 507 full, and the network has its share
//	GET /rendezvous/1/IDENTIFIER   the note, or 404
//	PUT /household/1               the tag, 32 bytes, of the household to which the caller's reservation counts: 204;
//	                               429 the household holds as many as it may
//
// IDENTIFIER is 64 hexadecimal digits, lower case. Nothing lists what there is. A tag is derived like a point's keys,
// with the text "kindred relay 1 household", the relay's Ed25519 public key in place of the member's ID, and the epoch: two
// relays cannot compare theirs.
//
// # Bounds
//
// Notes are kept in memory, at most 64 MiB of them and 256 from one IPv4 address or IPv6 /56, until they expire; a relay
// that starts anew knows none. None makes way for another's until there is no more room. Then so many go that a sixteenth is
// free, of the networks that have most: no IPv4 /24 and no IPv6 /32 loses a note while another has more than it, and so
// within an IPv6 /32 among /48s and in these among addresses; of one address the points go that came last. Five requests a second are answered for one
// address, sixty at once. Who asks stays a stranger, of whom there are at most 256 connections together and each is closed
// after a quarter of a minute (package peer); whoever holds a reservation, or calls somebody who does, is none. Of one
// address 512 streams are open at most.
package relay
