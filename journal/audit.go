package journal

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/kindred-iot/kindred/identity"
)

// An Audit reads one log from its first entry on, and compares it with what is known of it from elsewhere: what its node
// signed, what the tree recorded, what somebody remembers or has a receipt for. Expect all that first, then add the
// entries in order, then ask for the findings. It does no I/O.
type Audit struct {
	tree     identity.TreeID
	node     identity.MemberID
	edge     edge
	roots    []Expected // by size
	leaves   []ExpectedLeaf
	root     int // the next of roots
	leaf     int // the next of leaves
	sorted   bool
	findings []Finding
}

// Expected is a root that a log should have, and who says so.
type Expected struct {
	Size int64
	Root tlog.Hash
	By   string
	At   time.Time // when they said so; zero: not known
}

// ExpectedLeaf is the hash that entries should have, see [LeafOf], and who says so.
type ExpectedLeaf struct {
	Index int64
	Leaf  tlog.Hash
	By    string
	At    time.Time
}

// A Problem is what is wrong with a log.
type Problem string

// The problems.
const (
	Missing    Problem = "missing"    // entries that there were, at the end or in between
	Rewritten  Problem = "rewritten"  // entries are not what they were
	Forked     Problem = "forked"     // two parties were told different things
	Unreadable Problem = "unreadable" // an entry is none
	Unsigned   Problem = "unsigned"   // what should be signed by the node is not
	Disputed   Problem = "disputed"   // the node signed what somebody knows was not so
)

// A Finding is one thing that is wrong. It marshals as it is.
type Finding struct {
	Problem Problem   `json:"problem"`
	Index   int64     `json:"index"`          // the entry that is wrong, or how many there are
	Size    int64     `json:"size,omitempty"` // how many there should be, or of how many it is said
	By      string    `json:"by,omitempty"`   // who says so
	At      time.Time `json:"at,omitzero"`    // and when
	Also    string    `json:"also,omitempty"` // who says otherwise; empty: the log itself
	Detail  string    `json:"detail,omitempty"`
}

// NewAudit returns an audit of the log of a node of a tree.
func NewAudit(tree identity.TreeID, node identity.MemberID) *Audit {
	return &Audit{tree: tree, node: node}
}

// Expect has the log be compared with a root.
func (a *Audit) Expect(e Expected) {
	for _, other := range a.roots {
		if other.Size == e.Size && other.Root != e.Root {
			a.find(Finding{Problem: Forked, Index: e.Size, Size: e.Size, By: other.By, At: other.At, Also: e.By})
		}
	}
	a.roots = append(a.roots, e)
}

// ExpectLeaf has an entry be compared with a hash.
func (a *Audit) ExpectLeaf(e ExpectedLeaf) { a.leaves = append(a.leaves, e) }

// Find adds a finding that was made elsewhere.
func (a *Audit) Find(f Finding) { a.find(f) }

func (a *Audit) find(f Finding) {
	if len(a.findings) < maxFindings && !slices.Contains(a.findings, f) {
		a.findings = append(a.findings, f)
	}
}

// maxFindings bounds what is said of one log.
const maxFindings = 32

// Size returns how many entries there are so far.
func (a *Audit) Size() int64 { return a.edge.size }

// Root returns the root over the entries so far.
func (a *Audit) Root() (tlog.Hash, error) { return a.edge.root() }

// Add takes the next entry. The error is not about the log.
func (a *Audit) Add(data []byte) error {
	if !a.sorted {
		a.sort()
		a.checkRoots()
	}
	index := a.edge.size
	if _, err := ParseEntry(a.tree, data); err != nil {
		a.find(Finding{Problem: Unreadable, Index: index, Detail: err.Error()})
	}
	for ; a.leaf < len(a.leaves) && a.leaves[a.leaf].Index <= index; a.leaf++ {
		if e := a.leaves[a.leaf]; e.Index == index && LeafOf(data) != e.Leaf {
			a.find(Finding{Problem: Forked, Index: index, By: e.By, At: e.At})
		}
	}
	if _, err := a.edge.append(data); err != nil {
		return fmt.Errorf("journal: verifying the log of %s: %w", a.node, err)
	}
	a.checkRoots()
	return nil
}

func (a *Audit) sort() {
	slices.SortStableFunc(a.roots, func(x, y Expected) int { return cmp.Compare(x.Size, y.Size) })
	slices.SortStableFunc(a.leaves, func(x, y ExpectedLeaf) int { return cmp.Compare(x.Index, y.Index) })
	a.sorted = true
}

// checkRoots compares what there is with all that is expected of so many entries.
func (a *Audit) checkRoots() {
	for ; a.root < len(a.roots) && a.roots[a.root].Size <= a.edge.size; a.root++ {
		e := a.roots[a.root]
		root, err := a.edge.root()
		if err != nil || root != e.Root {
			a.find(Finding{Problem: Rewritten, Index: e.Size, Size: e.Size, By: e.By, At: e.At})
		}
	}
}

// Findings returns what is wrong, once all entries were added; none if nothing is.
func (a *Audit) Findings() []Finding {
	if !a.sorted {
		a.sort()
		a.checkRoots()
	}
	for _, e := range a.roots[a.root:] {
		a.find(Finding{Problem: Missing, Index: a.edge.size, Size: e.Size, By: e.By, At: e.At})
	}
	for _, e := range a.leaves[a.leaf:] {
		a.find(Finding{Problem: Missing, Index: a.edge.size, Size: e.Index + 1, By: e.By, At: e.At})
	}
	return a.findings
}
