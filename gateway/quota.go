package gateway

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
)

// A quota bounds what members write on the gateway's disk with their journals. What it has no room for stays with the
// member, which hands it in later: nothing is dropped, and no entry is skipped.
//
//   - Of each member journalPace bytes a day are taken, and so many at once from one that was away. A thing that is used
//     ten times a second around the clock writes 864,000 × (150 bytes for the call, 800 for the receipt that both signed,
//     and twice 164 for hashes and indexes) = 1.1 GB a day; a camera that is watched around the clock has a receipt a
//     minute, which is 2 MB. Reads alike share an entry and come to less.
//   - No journal is larger than what it leaves free for all others. So a device that turned bad takes half of the disk at
//     most, and two of them three quarters; those of honest members are far smaller than what is left.
//   - What the home itself needs, for its roster and ledger, is not counted as free.
type quota struct {
	pace float64 // bytes a second
	rush int     // bytes at once
	room func() (free, all int64, err error)
	now  func() time.Time

	mu   sync.Mutex
	left map[identity.MemberID]*rate.Limiter // of those who have handed in lately
}

const (
	journalPace = 1_280_000_000 // bytes a day
	ownRoom     = 512 << 20     // bytes of the disk for the home itself, or a part if it is small
	ownPart     = 20
)

// newQuota returns the quota of a disk.
func newQuota(room func() (free, all int64, err error), now func() time.Time) *quota {
	return &quota{pace: journalPace / (24 * time.Hour).Seconds(), rush: journalPace, room: room, now: now, left: map[identity.MemberID]*rate.Limiter{}}
}

// tooMuch says that more of a journal is taken later.
func tooMuch(format string, args ...any) error {
	return &control.Error{Code: control.Later, Message: fmt.Sprintf(format, args...), Hint: "it is handed in when there is room"}
}

// check is the journal.Quota.
func (q *quota) check(id identity.MemberID, taken, more int64) error {
	free, all, err := q.room()
	if err != nil {
		return err
	}
	if free -= min(ownRoom, all/ownPart); taken+more > free-more {
		return tooMuch("the gateway's disk has %d MB left for journals, and this one takes %d MB", max(0, free)/1e6, taken/1e6)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	l := q.left[id]
	if l == nil {
		for other, l := range q.left { // as if they had handed in nothing
			if l.TokensAt(now) >= float64(q.rush) {
				delete(q.left, other)
			}
		}
		l = rate.NewLimiter(rate.Limit(q.pace), q.rush)
		q.left[id] = l
	}
	if !l.AllowN(now, int(more)) {
		return tooMuch("of one member's journal the gateway takes %d MB a day", int64(q.pace*24*60*60)/1e6)
	}
	return nil
}

// easy reports whether a member is far from what it may hand in.
func (q *quota) easy(id identity.MemberID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.left[id]
	return l == nil || l.TokensAt(q.now()) >= float64(q.rush)/2
}
