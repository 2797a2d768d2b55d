package gateway

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
)

// A home that says something else with every answer has members here told of it a few times, and then now and then; and
// what it said last is told in the end.
func TestHomesChangeTheirMinds(t *testing.T) {
	id := identity.MemberID{1}
	say := func(what int) []control.EndingFor {
		return []control.EndingFor{{Member: id.String(), Tag: fmt.Appendf(nil, "%08d", what)}}
	}
	now := time.Date(2026, 11, 27, 20, 0, 0, 0, time.UTC)
	h, told := &heardEndings{left: endingsRush}, 0
	for i := range 100 {
		if changed := h.hear(say(i), now.Add(time.Duration(i)*time.Millisecond)); len(changed) > 0 {
			told++
		}
	}
	if told != endingsRush {
		t.Errorf("of 100 changes at once %d are told, want %d", told, endingsRush)
	}
	for i := range 10 {
		now = now.Add(endingsPace)
		if changed := h.hear(say(99-i%2), now); !slices.Equal(changed, []identity.MemberID{id}) || h.told[id] != string(say(99 - i%2)[0].Tag) {
			t.Errorf("a minute later is told %v", changed)
		}
	}
	if changed := h.hear(say(98), now.Add(time.Hour)); len(changed) != 0 {
		t.Errorf("of what was told is told again %v", changed)
	}
	if changed := h.hear(nil, now.Add(2*time.Hour)); len(changed) != 0 || len(h.told) != 0 {
		t.Errorf("that nothing ends is told as %v, and %v is left", changed, h.told)
	}
}

// Of what a home says no more is kept than it may say, and nothing that is none of it.
func TestHomesSayTooMuch(t *testing.T) {
	tag := bytes.Repeat([]byte{7}, tagLength)
	said := []control.EndingFor{
		{Member: identity.MemberID{}.String(), Tag: tag}, {Member: "nobody", Tag: tag},
		{Member: identity.MemberID{1}.String(), Tag: tag[1:]}, {Member: identity.MemberID{2}.String(), Tag: append(tag, 7)},
		{Member: identity.MemberID{3}.String()},
	}
	for i := range 10_000 {
		said = append(said, control.EndingFor{Member: identity.MemberID{byte(i), byte(i >> 8), 9}.String(), Tag: tag})
	}
	h := &heardEndings{left: endingsRush}
	if changed := h.hear(said, time.Now()); len(changed) != control.MaxEndings-5 || len(h.told) != len(changed) {
		t.Errorf("%d members are told, and %d tags kept", len(changed), len(h.told))
	}
}
