// Package pairing makes a new machine a member of a tree. The member's keys are made on that machine and never leave
// it; what travels the other way is an invitation, one line of text.
//
// Three parties take part. The inviter is an app that may let somebody in. The joiner is the new machine. The desk is
// a handler in the gateway, where they meet, and which neither has to trust: it never sees the invitation's secret.
//
//	inviter                          desk                            joiner
//	NewInvitation ────────────── one line of text, by hand ───────▶  Parse
//	      Offer ───────────────────▶ Register
//	                                 POST /pair/claim  ◀───────────  Join: token, certification requests, binding
//	      Claim.Check ◀───────────── Pending, Watch
//	      both ends show six digits, a person compares them
//	      Issue ───────────────────▶ Answer (or Refuse)
//	                                 POST /pair/result  ◀─────────▶  verify all, then store
//
// Below a place whose CA the gateway holds, the desk has the certificate signed at once and nobody is asked.
//
// # Invitation
//
// An invitation is "kindred1" and then, in base64url without padding (RFC 4648 §5), a signed statement of the type
// "kindred/invitation" (package signed) followed by its CRC-32 (IEEE), big endian. It is signed by the inviter's leaf
// key, and its payload is deterministic CBOR:
//
//	 1  TreeID
//	 2  epoch of the charter, absent if 0
//	 3  digest of the charter
//	 4  member ID of the gateway
//	 5  key of the gateway
//	 6  addresses of the gateway over QUIC, each 4 or 16 bytes of IP address and 2 of UDP port
//	 7  other addresses of the gateway, text, absent if none
//	 8  kind of the member
//	 9  path of the member
//	10  when it was made, Unix time in seconds
//	11  how long it holds, in seconds
//	12  secret, 16 random bytes
//	13  key of the inviter
//
// A key is 32 bytes of Ed25519, or 33 of a compressed point on P-256. Nothing of it is secret but field 12, from
// which all else is derived by D(label, data) = HMAC-SHA-256(secret, "kindred/invitation/" label 0x00 data):
//
//	ID       D("id", "")[:16]       names the invitation
//	token    D("claim", "")         lets its holder claim; the desk is given the SHA-256 hash of it only
//	binding  D("keys", K)           proves to the inviter that the claim is by a holder of the secret
//	digits   D("digits", K) as a number, its first 8 bytes mod 1,000,000
//
// where K is the CBOR of {1: the leaf's SubjectPublicKeyInfo, 2: the CA's, 3: the app's name}. A gateway that puts
// other keys into a claim cannot make a binding for them.
//
// # Claim
//
// The claim carries a certification request (PKCS #10, RFC 2986) for each key, made with that key, whose common name
// is the invitation's ID and which is therefore good for nothing else. A device, app or service has one key. For a
// person or owner there are two: that of the person's CA and that of the person's first app on this machine, whose
// name the joiner chooses. The inviter certifies the CA; the joiner itself then certifies the app with it, and hands
// the app's certificate in with its next question for the result. Member and app are admitted together.
//
// # At the desk
//
//	open ──claim──▶ waiting ──Sign, Answer──▶ signed ──(the app's certificate) Admit──▶ joined
//	  └──────Refuse────┴──────────Refuse────────┴────────▶ refused
//
// The first claim wins. It is on disk before it is acknowledged, and from then on the invitation belongs to those
// keys: who claims it again with the same keys learns how it stands, who comes with others is told that it was used.
// An invitation is claimed before it expires; a claim may wait for its answer for PendingFor. Whoever does not hold
// the token learns nothing: an unknown ID and a wrong token get the same answer.
//
// # Requests
//
// Both are POST with a JSON object of at most 16 KiB; byte strings are base64. The answer is a JSON object with the
// field "state" ("waiting", "signed", "joined") and, as far as they are there, "charter", "chain" (of the member, or
// of the person's CA), "app" (the certificate of the person's app), "proof", "address", "extra".
//
//	/pair/claim    {"token", "claim": {"id", "leaf", "ca", "app", "binding"}}
//	/pair/result   {"token", "id", "app"}; stays open until there is news, a few seconds at most
//
// Failures are problem details (RFC 9457) with a code: "unknown", "used", "expired", "refused", "invalid", "busy",
// "internal". The joiner repeats what failed on the way, or with the last two.
//
// # What it does not do
//
// The package opens no connection. The invitation names the gateway's key, and it is for the transport of the client
// handed to Join to insist on it.
package pairing
