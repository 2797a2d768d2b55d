// Package keeper is the sole writer of a tree's roster. It checks who asks for a change, makes it, signs the head over
// it with the keeper key, and sees to it that the ledger records every head.
//
// # A change
//
//	asked ──► checked ──► planned ──► signed ──► on disk ──► acknowledged ──► on the ledger ──► provable
//	            │             │                    │              │                 │
//	          denied       refused            Notify: what   the caller's     Notify: proofs
//	                                          was revoked    call returns     are younger
//
// Changes are made one after the other. What a call to the keeper acknowledges is on disk. The ledger comes after: Run
// submits the stored bytes, in order, until the ledger has them.
//
// # What holds at any instant, whatever fails
//
//   - One Save holds all of a change: roster entries set and deleted, certificates, signed grants, the head, its
//     revocation list and the transaction for the ledger. It is on disk as a whole or not at all.
//   - A change is acknowledged, and anybody told of it, only after its Save.
//   - There are never two heads of one sequence. A head leaves the process only when it is on disk. When a Save fails,
//     the keeper reads which head is there: if it is the new one, the change is saved again and counts; if it is the
//     old one, the change did not happen; if that cannot be read, no other change is begun until it can.
//   - The transaction of a head is made once, stored with it, and submitted as stored. It may be submitted again after
//     a crash, which the ledger takes for what it is.
//   - The time of a head is never before that of the head before it.
//   - A member or grant that was taken away does not come back under its ID.
//   - A keeper that learns of a head of its own which is newer than what it has on disk, from the ledger or from
//     somebody who kept one, was restored from an old copy. It signs nothing from then on: ErrBehind.
//
// # Who may ask for what
//
// Whoever asks must be live in the roster, with every certificate on its chain, at that moment, and not only in the
// proof it showed.
//
//	an owner's app      persons, apps and services below owners, devices and places below places (their certificates
//	                    come signed by whoever is above them); grants; recognitions of other trees; labels, limits;
//	                    taking away
//	the gateway         devices and places below its own place
//	whoever gave        to pause what they gave, and to resume it; owners' apps any of it
//	whoever was given   to pass it on, as often as it says and as there is room for, and to take that back
//	any other leaf      its own address; an app or a service, to which key is sealed what it may read
//	a service           to accept a grant that is for it
//	another owner       beside an owner: to show a service what is of the never class, which the entry of the grant then
//	                    names, and to take something out of that
//
// A new owner is let in by an owner's app that brings a certificate signed with the root key. Whatever else stands
// right below the root, and other entries of live owners, take the root key and are refused here. So is taking away
// owners and places, and the gateway, without which nobody could ask for anything. Taking away is asked for with a credential.Pending, which was signed by whoever asks; it can so
// arrive by way of anybody.
//
// # Records
//
// In the store, under these keys, are:
//
//	charter            the signed charter
//	head               the newest signed head
//	list               its revocation list
//	entry/HEX          the value of the roster entry with this key
//	chain/MEMBER       CBOR array of the certificates of a live member, leaf first, without the root
//	past/MEMBER/SEQUENCE  20 digits: the same of a member that this head took away, or gave another key
//	letin/MEMBER       CBOR: who let in a member that was taken away, and when
//	grant/GRANT        the signed statement of a live grant
//	gone/HEX           the sequence of the head that took away this member or grant, in decimal
//	outbox/SEQUENCE    20 digits: the transaction for this head; recorded ones go with the Save of a later head
//	address/MEMBER     the signed address record of a live member
//	recipient/MEMBER   the signed recipient of a live member
//	consent/GRANT/WHO  a signed consent to a live grant, of member WHO or of "root"
//	class/MEMBER/NAME  what an owner signed about an affordance of a live device, and consents to it
//	withdrawn/GRANT    an agreement.Papers with a demand for deletion, and what the service answered
//	waiting/MEMBER/NAME  the same, as long as another owner has to consent
//	taken/TREE/MEMBER  when what was made by somebody who is no owner was paused or taken away, within seven days
//	rendezvous         32 random bytes, others whenever a member is taken away or gets another key
//	seen               a signed head, newer than the newest here, that somebody showed
//
// # Locks
//
// turn is held from the checks of a change to its end, and by whatever else writes to the store. mu guards what is in
// memory and is never held during I/O, so that reading goes on while a change is being written.
package keeper
