// Package control is the gateway's API: how members look each other up, get fresh proofs, change the tree, take
// rights away and hand in their journals. It is served and called over the peer network, like everything else.
//
// Every call is POST /control/v1/NAME with a JSON object, and answers with one; byte strings are base64. Failures are
// problem details (RFC 9457) with one of the Codes. Home lists the calls. One more, GET /control/v1/watch, is a stream
// of Event objects, one a line, that stays open: revocations as soon as they are on the gateway's disk, and fresh
// proofs whenever the ledger has a new block. Where the gateway listens for HTTPS, the same is served there.
//
// Members of other trees may ask little of it: see Visitors.
//
// Nobody can take what is there for all: of each member only so many calls are answered at a time, and the next wait.
//
// Nothing said here has to be believed: proofs, grants, revocations, address records and journals are signed by those
// they come from and verified by those they go to. A gateway can withhold them until proofs age, and no more. The one
// exception is what DNS names the home's HTTPS servers have, which only software that knows nothing of Kindred goes by.
package control

import (
	"context"
	"time"

	"github.com/kindred-iot/kindred/agreement"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/tree"
)

// Prefix is where the API is served.
const Prefix = "/control/v1/"

// Home answers the calls of this package. who is the verified caller; a Home decides what each may ask and see, and
// returns an *Error to say what went wrong, which is all that the caller learns of it.
type Home interface {
	Resolve(ctx context.Context, who credential.Principal, q Lookup) (Contact, error)
	Prove(ctx context.Context, who credential.Principal, q ProofQuery) (Evidence, error)
	Roster(ctx context.Context, who credential.Principal, q None) (Roster, error)
	AddPlace(ctx context.Context, who credential.Principal, p Place) (None, error)
	Grant(ctx context.Context, who credential.Principal, g SignedGrant) (None, error)
	Consent(ctx context.Context, who credential.Principal, c SignedConsent) (None, error)
	Classify(ctx context.Context, who credential.Principal, c SignedClass) (Classified, error)
	Withdraw(ctx context.Context, who credential.Principal, p Papers) (None, error)
	Deleted(ctx context.Context, who credential.Principal, d SignedDeletion) (None, error)
	Withdrawn(ctx context.Context, who credential.Principal, q None) (Withdrawals, error)
	Revoke(ctx context.Context, who credential.Principal, n SignedNotice) (Report, error)
	Ask(ctx context.Context, who credential.Principal, a SignedAsk) (None, error)
	Asks(ctx context.Context, who credential.Principal, q None) (Asks, error)
	AnswerAsk(ctx context.Context, who credential.Principal, a AskAnswer) (None, error)
	Follow(ctx context.Context, who credential.Principal, f Following) (Report, error)
	Neighbours(ctx context.Context, who credential.Principal, q NeighboursQuery) (Neighbours, error)
	Recognize(ctx context.Context, who credential.Principal, r SignedRecognition) (None, error)
	Introduce(ctx context.Context, who credential.Principal, o pairing.IntroductionOffer) (None, error)
	Introduced(ctx context.Context, who credential.Principal, q IntroductionQuery) (pairing.Acquaintance, error)
	Resume(ctx context.Context, who credential.Principal, g GrantRef) (None, error)
	Obeyed(ctx context.Context, who credential.Principal, o Obeyed) (None, error)
	Limit(ctx context.Context, who credential.Principal, l Limits) (None, error)
	Conceal(ctx context.Context, who credential.Principal, p Privacy) (None, error)
	Announce(ctx context.Context, who credential.Principal, a SignedAddress) (Contact, error)
	Publish(ctx context.Context, who credential.Principal, r SignedRecipient) (None, error)
	Readers(ctx context.Context, who credential.Principal, q ReadersQuery) (Readers, error)
	Invite(ctx context.Context, who credential.Principal, o pairing.Offer) (None, error)
	Joins(ctx context.Context, who credential.Principal, q None) (Joins, error)
	Join(ctx context.Context, who credential.Principal, q JoinQuery) (pairing.Request, error)
	Answer(ctx context.Context, who credential.Principal, a JoinAnswer) (None, error)
	Record(ctx context.Context, who credential.Principal, b Batch) (Recorded, error)
	History(ctx context.Context, who credential.Principal, q HistoryQuery) (History, error)
	Journals(ctx context.Context, who credential.Principal, q JournalsQuery) (Journals, error)
	Entries(ctx context.Context, who credential.Principal, q EntriesQuery) (Entries, error)
	Excerpt(ctx context.Context, who credential.Principal, q ExcerptQuery) (Excerpt, error)
	Certificates(ctx context.Context, who credential.Principal, q CertificatesQuery) (Certificates, error)
	Vouch(ctx context.Context, who credential.Principal, q VouchQuery) (Evidence, error)
	Certify(ctx context.Context, who credential.Principal, r ServerRequest) (ServerCertificate, error)
	LAN(ctx context.Context, who credential.Principal, q None) (LAN, error)
	Forwards(ctx context.Context, who credential.Principal, q None) (Forwards, error)
	AdmitTool(ctx context.Context, who credential.Principal, t Tool) (None, error)
	// Watch calls send with events until ctx ends. Evidence is about the caller itself.
	Watch(ctx context.Context, who credential.Principal, send func(Event) error) error
}

// None is an empty question or answer.
type None struct{}

// A Lookup asks where a member is: by path, or by member ID. Whoever may pass something on is told who is at a path, to
// give it to them, and not where.
type Lookup struct {
	Path   identity.Path `json:"path,omitempty"`
	Member string        `json:"member,omitempty"` // 26 characters
}

// A Contact is how to reach a member: its certificates, which name its key, and its signed address record.
type Contact struct {
	Chain   [][]byte `json:"chain"`             // DER, leaf first
	Address []byte   `json:"address,omitempty"` // a signed tree.Address; none if the member never announced one
	Relays  []string `json:"relays,omitempty"`  // of the gateway itself: where its members are to be found from elsewhere
}

// A ProofQuery asks for a proof of oneself; owners also for one of somebody else, to see how they stand.
type ProofQuery struct {
	Member   string `json:"member,omitempty"`    // for owners: of this leaf, 26 characters, in place of oneself
	PassedOn bool   `json:"passed_on,omitempty"` // also the grants that are there to be passed on alone

	Thing   string        `json:"thing,omitempty"`   // with the grants that concern this member, 26 characters
	Other   string        `json:"other,omitempty"`   // with the recognition of this tree, 52 characters
	Visitor [][]byte      `json:"visitor,omitempty"` // for owners: of whoever of Other has these certificates, DER, in place of oneself
	Also    []string      `json:"also,omitempty"`    // for owners: with these members, if they are live, 26 characters each
	Signed  [][]byte      `json:"signed,omitempty"`  // with those, if they are live, who gave these signed grants or signed these demands
	MaxAge  time.Duration `json:"max_age,omitempty"` // nanoseconds; 0: as it is
}

// Evidence is what goes into a hello beside the chain.
type Evidence struct {
	Chain  [][]byte `json:"chain"`            // the caller's certificates as the roster has them
	Proof  []byte   `json:"proof"`            // an encoded credential.Proof
	Grants [][]byte `json:"grants,omitempty"` // signed grants, whose entries the proof covers
	Self   []byte   `json:"self"`             // the caller's own roster entry: an encoded tree.Member

	// Recipient names the signed tree.Recipient of the caller that the gateway has; none if it has none.
	Recipient []byte   `json:"recipient,omitempty"`
	Consents  [][]byte `json:"consents,omitempty"` // signed consents to the grants, by members whom the proof covers
	Classes   []Class  `json:"classes,omitempty"`  // of a thing, about itself and the places above: what its owners set apart, whom the proof covers

	// Beside are proofs of other trees, that those of them who passed on the grants are live: encoded credential.Proofs.
	Beside [][]byte `json:"beside,omitempty"`

	Homes *Homes `json:"homes,omitempty"` // of a device: what is new in other trees whose members it serves; nil: there are none

	Demands []agreement.Papers `json:"demands,omitempty"` // of a service: what it has yet to delete, the oldest few

	// Elsewhere are the other homes in which something ends soon that the caller, no device, was given there.
	Elsewhere []EndingIn `json:"elsewhere,omitempty"`

	// Rendezvous is the secret with which members find each other at the home's relays, 32 bytes: see package relay.
	Rendezvous []byte `json:"rendezvous,omitempty"`
}

// Homes are other trees whose members a device serves, or may.
type Homes struct {
	Proof []byte   `json:"proof"`          // of the device's own tree: that it recognizes these
	News  [][]byte `json:"news,omitempty"` // of each that is heard of the newest head: an encoded credential.Proof
}

// A Roster is the part of the tree that the caller may see: all of it for owners' apps; for others themselves, those
// above them, the things they may use, and the grants for them and from them, with what these pass on, what rests on what
// they gave, and who gave and got it, of whom certificates alone are told.
type Roster struct {
	Members []Member `json:"members"` // by path
	Grants  []Grant  `json:"grants,omitempty"`
	Others  []Other  `json:"others,omitempty"` // other trees that are recognized, by name; for owners and people
	Gone    []Gone   `json:"gone,omitempty"`   // members that are there no more, and what they let in or gave is; for owners
}

// A Gone is a member that was taken away, in a Roster.
type Gone struct {
	Member string `json:"member"` // 26 characters
	By     string `json:"by"`     // the leaf that asked for it
	Since  int64  `json:"since"`  // when that was: Unix time, seconds
}

// An Other is another tree in a Roster.
type Other struct {
	Value []byte `json:"value"` // its roster entry: an encoded tree.Known
}

// A Member is an entry of a Roster.
type Member struct {
	Chain   [][]byte      `json:"chain"` // DER, the member's own first
	Value   []byte        `json:"value"` // its roster entry: an encoded tree.Member
	Path    identity.Path `json:"path"`
	Kind    string        `json:"kind"`
	Label   string        `json:"label,omitempty"`
	Since   time.Time     `json:"since"`
	Address []byte        `json:"address,omitempty"` // its signed address record, for owners
	Limits  []tree.Limit  `json:"limits,omitempty"`
	Classes []Class       `json:"classes,omitempty"` // what of a thing was set apart, for owners
	Online  *bool         `json:"online,omitempty"`  // connected to the gateway now; absent where nobody keeps a connection
}

// A Grant is an entry of a Roster.
type Grant struct {
	Raw   []byte `json:"raw"`   // the signed grant
	Value []byte `json:"value"` // its roster entry: an encoded tree.Grant

	Consents [][]byte `json:"consents,omitempty"` // signed grant.Consents to it
}

// A Class is what an owner said of an affordance of a thing, or of all there is of a thing or place.
type Class struct {
	Raw      []byte   `json:"raw"`                // a signed grant.Class
	Consents [][]byte `json:"consents,omitempty"` // signed grant.Consents to it
	Waits    bool     `json:"waits,omitempty"`    // it does not count yet: another owner has to consent
}

// A Place asks the gateway for a place below one of its own.
type Place struct {
	Path    identity.Path `json:"path"`
	Label   string        `json:"label,omitempty"`
	Parents bool          `json:"parents,omitempty"` // and the places above it that are missing
}

// A SignedGrant hands in a grant.
type SignedGrant struct {
	Raw []byte `json:"raw"`
}

// An IntroductionQuery waits until an introduction was taken, a few seconds at most, and asks what became of it.
type IntroductionQuery struct {
	ID pairing.ID `json:"id"`
}

// A SignedRecognition hands in the recognition of another tree.
type SignedRecognition struct {
	Raw []byte `json:"raw"`
}

// A SignedConsent hands in a grant.Consent.
type SignedConsent struct {
	Raw []byte `json:"raw"`
}

// A SignedClass hands in a grant.Class.
type SignedClass struct {
	Raw []byte `json:"raw"`
}

// Papers hand in an agreement that was withdrawn, with the demand for deletion.
type Papers struct {
	Papers agreement.Papers `json:"papers"`
}

// A SignedDeletion hands in an agreement.Deletion.
type SignedDeletion struct {
	Raw []byte `json:"raw"`
}

// Withdrawals are agreements that were withdrawn, the oldest first.
type Withdrawals struct {
	Papers []agreement.Papers `json:"papers"`
}

// Classified says what has become of a class.
type Classified struct {
	Waits bool `json:"waits,omitempty"` // it counts once another owner, or the root key, consents
}

// A SignedAsk asks for a right: a signed grant.Ask.
type SignedAsk struct {
	Raw []byte `json:"raw"`
}

// Asks are the asks that the caller may see: all for owners' apps, one's own for others.
type Asks struct {
	Asks []AskState `json:"asks"` // the oldest first
}

// An AskState is an ask, and what has become of it.
type AskState struct {
	Raw      []byte    `json:"raw"`               // a signed grant.Ask
	Arrived  time.Time `json:"arrived"`           //
	Answered time.Time `json:"answered,omitzero"` // zero: it waits
	Grant    string    `json:"grant,omitempty"`   // what was given for it, 28 characters; "": it was turned down
	Because  string    `json:"because,omitempty"` // in a sentence
}

// An AskAnswer says what became of an ask.
type AskAnswer struct {
	ID      string `json:"id"`                // of its terms, 28 characters
	Grant   string `json:"grant,omitempty"`   // what was given for it; "": it is turned down
	Because string `json:"because,omitempty"` // at most 256 bytes
}

// A SignedNotice hands in a revocation: an encoded credential.Notice.
type SignedNotice struct {
	Notice []byte `json:"notice"`
}

// A GrantRef names a grant.
type GrantRef struct {
	ID string `json:"id"` // 28 characters
}

// A Report says what a revocation has done so far.
type Report struct {
	Already bool    `json:"already,omitempty"` // it was taken away before
	Things  []Reach `json:"things"`            // the things it concerns
	Leaf    []byte  `json:"leaf,omitempty"`    // names it to Follow: merkle.Hash of the entry taken away
}

// Following asks how far a taking-back has got, once more things obey than the caller knows of; five seconds at most.
type Following struct {
	Leaf   []byte `json:"leaf"`
	Closed int    `json:"closed"`
}

// A Reach says whether one thing obeys a revocation.
type Reach struct {
	Path    identity.Path `json:"path"`
	Closed  bool          `json:"closed"`           // the thing said that it obeys
	Refuses time.Time     `json:"refuses,omitzero"` // when a thing that could not be told refuses by itself
	Offline time.Time     `json:"offline,omitzero"` // and when it refuses what an offline term allows
}

// Obeyed tells the gateway that the caller obeys a revocation.
type Obeyed struct {
	Leaf []byte `json:"leaf"` // merkle.Hash of the entry taken away
}

// Limits asks to change how fresh a proof a thing asks for.
type Limits struct {
	Member string       `json:"member"`
	Limits []tree.Limit `json:"limits"`
}

// A Privacy asks that what some people do at a thing is sealed to them in its journal, in place of whoever it was before.
type Privacy struct {
	Member string   `json:"member"`           // the thing's ID
	People []string `json:"people,omitempty"` // IDs of owners and persons, at most tree.MaxPrivate
}

// A SignedAddress announces where the caller can be reached. The answer is the gateway's own contact.
type SignedAddress struct {
	Address []byte `json:"address"` // a signed tree.Address
}

// A SignedRecipient tells to which key is sealed for the caller.
type SignedRecipient struct {
	Recipient []byte `json:"recipient"` // a signed tree.Recipient
}

// A ReadersQuery asks whom a device may seal to.
type ReadersQuery struct {
	For    string        `json:"for,omitempty"`     // member ID of somebody for whom it is private: only their apps, whatever they may read
	MaxAge time.Duration `json:"max_age,omitempty"` // of the proofs, nanoseconds; 0: as they are
}

// Readers are the apps and services that have some right to the calling device and said to which key to seal.
type Readers struct {
	Readers []Reader `json:"readers"` // at most MaxReaders
}

// MaxReaders is to how many a device seals, at most.
const MaxReaders = 1024

// A Reader is somebody to seal to: what it would show the device in a call, and its word to which key. Whether it may
// read something is for the device to decide, as in a call.
type Reader struct {
	Evidence  Evidence `json:"evidence"`  // with the grants for the device; without what is the reader's own business
	Recipient []byte   `json:"recipient"` // a signed tree.Recipient
}

// Joins are the new members that wait for somebody to confirm them.
type Joins struct {
	Requests []pairing.Request `json:"requests"`
}

// A JoinQuery waits until an invitation is past a stage, a few seconds at most, and asks how it stands.
type JoinQuery struct {
	ID    pairing.ID    `json:"id"`
	After pairing.Stage `json:"after,omitzero"`
}

// A JoinAnswer confirms a new member, or turns it away.
type JoinAnswer struct {
	ID     pairing.ID `json:"id"`               // of the invitation
	Refuse string     `json:"refuse,omitempty"` // why, in a sentence
	Chain  [][]byte   `json:"chain,omitempty"`  // what pairing.Issue returned
}

// A Batch hands in a part of the caller's journal, an encoded journal.Batch; or, empty, asks what is there. Whoever keeps
// its journal to itself hands in a checkpoint alone, and so binds itself to what is in it.
type Batch struct {
	Batch      []byte `json:"batch,omitempty"`
	Checkpoint []byte `json:"checkpoint,omitempty"` // a signed journal.Checkpoint
}

// Recorded says how many entries of the caller's journal the gateway has.
type Recorded struct {
	Size int64 `json:"size"`
}

// A HistoryQuery asks for what happened.
type HistoryQuery struct {
	Since  time.Time `json:"since,omitzero"`
	Until  time.Time `json:"until,omitzero"`
	Caller string    `json:"caller,omitempty"` // member ID
	Thing  string    `json:"thing,omitempty"`  // member ID
	Limit  int       `json:"limit,omitempty"`  // the newest so many, at most MaxHistory
	Sealed bool      `json:"sealed,omitempty"` // only what is sealed, at things that are private for the caller's person
}

// MaxHistory is how many entries a History has, at most.
const MaxHistory = 10_000

// History is what happened, the oldest first.
type History struct {
	Entries []journal.Entry `json:"entries"`
	Seals   [][]byte        `json:"seals,omitempty"` // the secrets that what is sealed opens with, sealed to whom it concerns
}

// A JournalsQuery asks what journals there are.
type JournalsQuery struct {
	Member string `json:"member,omitempty"` // only this one's
	Held   bool   `json:"held,omitempty"`   // only whose are held back, and since when
}

// Journals are what the gateway has of members' journals: for owners of all, for others their own.
type Journals struct {
	Logs   []Journal `json:"logs"`
	Proofs [][]byte  `json:"proofs,omitempty"` // encoded credential.Proofs of where they stood, and whose are live
}

// A Journal is one member's.
type Journal struct {
	Member        string         `json:"member"`
	Chain         [][]byte       `json:"chain,omitempty"`         // its certificates when it handed in last; of removed members too
	Size          int64          `json:"size"`                    // entries that are here; 0 for members that keep them to themselves
	Checkpoint    []byte         `json:"checkpoint,omitempty"`    // what it signed last
	Contradiction *Contradiction `json:"contradiction,omitempty"` // what it handed in later, and is not what is here
	Held          time.Time      `json:"held,omitzero"`           // since when it is more than the gateway takes; the rest waits at the member
}

// A Contradiction is what a member handed in of its journal, and was refused.
type Contradiction struct {
	Index int64     `json:"index"` // the first entry known to be another
	Time  time.Time `json:"time"`
	Shown []byte    `json:"shown"` // the checkpoint that came with it, signed by the member
}

// An EntriesQuery asks for a part of a member's journal as it stands.
type EntriesQuery struct {
	Member string `json:"member"`
	From   int64  `json:"from"`
}

// Entries are entries From, From+1, … as they were handed in; none at the end.
type Entries struct {
	Entries [][]byte `json:"entries"`
}

// An ExcerptQuery asks for entries of a member's journal that prove themselves to whoever was not there.
type ExcerptQuery struct {
	Member string    `json:"member"` // whose journal
	From   int64     `json:"from"`   // index
	Since  time.Time `json:"since,omitzero"`
	Until  time.Time `json:"until,omitzero"`
	Caller string    `json:"caller,omitempty"` // member ID
	Thing  string    `json:"thing,omitempty"`  // member ID
}

// An Excerpt is an encoded journal.Excerpt, and where to go on.
type Excerpt struct {
	Excerpt []byte `json:"excerpt"`
	Next    int64  `json:"next"` // -1 at the end
}

// An Event is news that the gateway pushes. One field is set.
type Event struct {
	Notice   []byte    `json:"notice,omitempty"`   // a revocation to obey: an encoded credential.Notice
	Evidence *Evidence `json:"evidence,omitempty"` // a fresh proof of the watcher, with the newest head
	Ending   *Ending   `json:"ending,omitempty"`   // a grant that is soon over: to owners' apps, and of those who gave it or have it
}

// An Ending says that a grant is soon over. It is told again to whoever comes back.
type Ending struct {
	Grant  string `json:"grant"`
	Notice int64  `json:"notice"` // it has so many seconds to go at most: see grant.Terms.Notice
}

// A Code says for programs what went wrong. Its values are the error codes of the command line.
type Code string

// The codes.
const (
	Refused     Code = "refused"     // the caller may not
	NotFound    Code = "not-found"   // there is no such member, grant or invitation
	Invalid     Code = "invalid"     // the question makes no sense
	Conflict    Code = "conflict"    // it is so already, or something stands against it
	Unavailable Code = "unavailable" // later, perhaps
	Later       Code = "later"       // there is no room for what was handed in now, and it is to be kept until there is
)

// An Error is a failure as the caller sees it.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"detail"`
	Hint    string `json:"hint,omitempty"` // what to do about it
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }
