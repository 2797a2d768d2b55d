// Package vault seals what things record for members who are away, so that it can lie on any disk.
//
// # What is sealed
//
// Sealed content is an age file (age-encryption.org/v1, package filippo.io/age) whose file key is wrapped for each
// recipient by X-Wing's HPKE, ML-KEM-768 and X25519 together, so that who keeps it for a quantum computer keeps it in
// vain. Inside is
//
//	1 byte   version, 1
//	8 bytes  length of the content, big endian
//	         the content
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
package vault
