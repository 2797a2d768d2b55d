// Package identity says who is who: the IDs, kinds and X.509 certificates of a tree of trust.
//
// A tree has one root. Below it stand owners, persons, places and services; below those, apps and devices (the
// nesting is Kind.MaySign). Every member has a certificate (RFC 5280), Ed25519 or ECDSA P-256, signed by the member
// above:
//
//	subject             CN = the member's name, the last of its path; "root" for the root; nothing else
//	subjectAltName      exactly one URI. Leaves: spiffe://TREE/PATH, a valid SPIFFE X.509-SVID.
//	                    CAs: spiffe://TREE
//	2.25.1802071524.1   INTEGER, the Kind
//	2.25.1802071524.2   OCTET STRING, the MemberID: 16 random bytes, kept through renewals and moves
//	2.25.1802071524.3   BOOLEAN, true: of a tool, an app for a day that software has which knows nothing of Kindred
//	basicConstraints    CA or leaf; pathLen 1 for an owner, 0 for a person
//	keyUsage            keyCertSign for CAs, digitalSignature for leaves
//	nameConstraints     (CAs, critical) URIs of the tree's trust domain; every DNS name, address and mail box excluded
//
// TREE is a TreeID, the hash of the first root key, so the trust domain proves itself; PATH are the names on the
// chain. Verify checks all of that for a chain shown by a stranger. Whether a member is still one, and whether the
// root still rules the tree, is answered by package credential.
//
// Private keys stay in a Keys store and are used through crypto.Signer.
package identity
