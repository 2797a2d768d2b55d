package keeper

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

const (
	maxAdmissions = 512 // members in one request
	maxAffordance = 63  // bytes of its name
)

func denied(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDenied, fmt.Sprintf(format, args...))
}

// checkLive checks that a leaf that asks is live, with all above it, and its certificates have not expired. The caller
// holds the turn or mu.
func (k *Keeper) checkLive(by identity.Chain) error {
	if len(by.Line) == 0 || by.ID.Tree != k.signer.tree {
		return denied("%s is of another tree", by.ID)
	}
	for _, link := range by.Line {
		if m, ok := k.state.Member(link.Member); !ok || m.Certificate != link.Digest {
			return denied("%q of %s is not live with this certificate", link.Name, by.ID.Path)
		}
	}
	if !by.Kind().Leaf() {
		return denied("%s is a %s, and only leaves ask", by.ID.Path, by.Kind())
	}
	if k.clock().After(by.NotAfter) {
		return denied("the certificates of %s expired on %s", by.ID.Path, by.NotAfter.UTC().Format(time.DateOnly))
	}
	return nil
}

// checkOwner checks that a leaf that asks is an owner's app.
func (k *Keeper) checkOwner(by identity.Chain) error {
	if err := k.checkLive(by); err != nil {
		return err
	}
	if !by.Owner() {
		return denied("%s acts for no owner", by.ID.Path)
	}
	return nil
}

// mayAdmit checks that a live leaf may admit a member, or renew it.
func (k *Keeper) mayAdmit(by, member identity.Chain) error {
	path, kind := member.ID.Path, member.Kind()
	switch {
	case by.Owner():
		if len(member.Line) == 1 && kind != identity.Owner { // an owner's certificate is the root's word that it wants one
			return denied("%s, of kind %s, stands right below the root and needs the root key", path, kind)
		}
		return nil // its certificates are signed by the owner, person or place above it
	case !k.gateway.IsZero() && by.Member() == k.gateway && by.Kind() == identity.Device:
		if kind != identity.Device && kind != identity.Place {
			return denied("the gateway admits devices and places, and %s is of kind %s", path, kind)
		}
		place := by.Line[:len(by.Line)-1]
		below := len(member.Line) > len(place) && slices.EqualFunc(place, member.Line[:len(place)], func(a, b identity.Link) bool {
			return a.Member == b.Member
		})
		if !below {
			return denied("the gateway admits what is below %s, and %s is not", by.ID.Path.Parent(), path)
		}
		return nil
	}
	return denied("%s neither acts for an owner nor is the gateway", by.ID.Path)
}

// checkAdmission checks what in an admission is not in the certificates.
func checkAdmission(a tree.Admission, now time.Time) error {
	if len(a.Chain.Line) == 0 {
		return errors.New("an admission without certificates")
	}
	path := a.Chain.ID.Path
	if now.After(a.Chain.NotAfter) {
		return fmt.Errorf("the certificates of %s expired on %s", path, a.Chain.NotAfter.UTC().Format(time.DateOnly))
	}
	if err := checkLabel(a.Label); err != nil {
		return err
	}
	if len(a.Limits) == 0 {
		return nil
	}
	return checkLimits(a.Chain.Kind(), a.Limits)
}

// checkLabel keeps out of the roster what is no text to show.
func checkLabel(label string) error {
	if !utf8.ValidString(label) || strings.ContainsFunc(label, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("the label %.140q is no printable text", label)
	}
	return nil
}

// checkLimits checks what tree does not know: what has limits, and what its affordances can be called.
func checkLimits(kind identity.Kind, limits []tree.Limit) error {
	if kind != identity.Device {
		return fmt.Errorf("limits of a %s: only devices have limits", kind)
	}
	for _, l := range limits {
		if l.Affordance != "" && !validAffordance(l.Affordance) {
			return fmt.Errorf("a limit of %.80q, which is no name of an affordance", l.Affordance)
		}
	}
	return nil
}

// validAffordance is the rule of package thing: a letter, then letters, digits, - and _.
func validAffordance(name string) bool {
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '-' || c == '_')) {
			return false
		}
	}
	return len(name) > 0 && len(name) <= maxAffordance
}

// ordered returns limits in the order that the roster has them.
func ordered(limits []tree.Limit) []tree.Limit {
	return slices.SortedFunc(slices.Values(limits), func(a, b tree.Limit) int { return cmp.Compare(a.Affordance, b.Affordance) })
}
