package credential

import (
	"fmt"
	"time"
)

// Renew returns l as of what is trusted by now: rule 4 for a proof that was verified before. A verifier that learns
// of newer heads and blocks so keeps the sessions of its peers young, and finds at once those that rest on something
// taken away. A zero now says that the clock was not set since boot.
func (l Live) Renew(t Trusted, now time.Time) (Live, error) {
	fail := func(err error) (Live, error) {
		return Live{}, fmt.Errorf("credential: renewing a proof of head %d: %w", l.Sequence, err)
	}
	if t.Tree != l.Tree || t.charter.Digest != l.charter.Digest {
		return fail(fmt.Errorf("tree %s is not under that charter any more", t.Tree))
	}
	renewed, err := t.judge(l, now)
	if err != nil {
		return fail(err)
	}
	return renewed, nil
}

// Renew returns p as of what l says, if p still is who it was.
func (p Principal) Renew(l Live) (Principal, error) {
	fail := func(err error) (Principal, error) {
		return Principal{}, fmt.Errorf("credential: renewing %s: %w", p.ID.Path, err)
	}
	if l.now.After(p.NotAfter) {
		return fail(fmt.Errorf("its certificates ended %s", p.NotAfter.UTC().Format(time.RFC3339)))
	}
	if err := l.Check(p.Chain); err != nil {
		return fail(err)
	}
	p.AsOf = l.AsOf
	return p, nil
}
