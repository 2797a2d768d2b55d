// Package vault seals what things record for members who are away, and keeps it in stores that need not be trusted: a
// folder on any disk, or a bucket of an S3-like server. testdata/vectors.json has examples of all that follows.
//
// # What is sealed
//
// Sealed content is an age file (age-encryption.org/v1, package filippo.io/age) whose file key is wrapped for each
// recipient with ML-KEM-768 and X25519 together (HPKE, mlkem768x25519), so that keeping it until there are quantum
// computers is of no use. Inside is
//
//	1 byte   version, 1
//	8 bytes  length of the content, big endian
//	         the content, at most MaxContent
//	         zeros
//
// padded to Padmé(9 + length), and at least 1 KiB. Padmé (Nikitin, Barman, Lueks, Underwood, Hubaux, Ford: "Reducing
// Metadata Leakage from Encrypted Files and Communication with PURBs", PoPETs 2019, §4) adds at most 12 %, and lets of
// a size of up to 2^e bytes O(log e) bits be seen. The wrapped keys are in no order and do not say whose they are; keys
// wrapped for nobody make their number a power of two.
//
// # Keys
//
// An app or a service keeps its key in sealed.key in its folder of keys, in the form of age: a line
// AGE-SECRET-KEY-PQ-1…, and comments. It never leaves the folder. To whom is sealed, a leaf says in a statement that
// its own key signs (tree.Recipient), so that nobody can slip in a key of their own.
//
// # What is stored
//
// Each recording is an object of its own, and listed in an index, which is an object too:
//
//	recording   the content, sealed
//	index       a signed statement (package signed) of type kindred/recordings, sealed; its payload is an Index
//
// An index lists up to MaxEntries recordings of one affordance, with their sizes and sums, all sealed to the very
// recipients that it is sealed to itself: when these change there is a new one. So whoever comes later finds nothing of
// what was before, and whoever has gone nothing of what came after. The thing stores the recording, and then the index
// anew under its name; it cannot open what it sealed, and begins a new index when it is started.
//
// # Names
//
// A name is 32 bytes, written as 52 characters of base32 (a–z, 2–7, no padding): 16 random ones, and the first 16 of
//
//	HMAC-SHA-256(member ID of the thing, "kindred/vault/" role, the 16 random ones)
//
// where the role is index or recording. Member IDs are random and known to members only. They tell by the name which
// objects are the indexes of a thing; the store cannot.
//
// # What a store learns, and can do
//
// It learns when something is stored, replaced, read and deleted, roughly how large it is, and roughly to how many it
// is sealed. It can hide objects and give back an index as it was before. Whatever it alters, cuts off, moves to
// another name or makes up is noticed: age authenticates what is sealed, the thing's signature the index with its own
// name in it, and the index the recordings. Where what it altered is a reader's own wrapped key, that reader takes the
// object for one that is sealed to others.
//
// # What this package does not do
//
// It does not know who may read: recipients come in. It takes nothing back: what was sealed to somebody stays so, and
// whoever has a member's key reads all that was ever sealed to it and is still kept.
package vault
