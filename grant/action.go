package grant

import (
	"fmt"
	"slices"
	"strings"
)

// An Action is one way to use a thing.
type Action uint8

// The actions. The bits stand in signed grants and never change.
const (
	Read    Action = 1 << 0 // a property
	Write   Action = 1 << 1 // a property
	Invoke  Action = 1 << 2 // an action
	Observe Action = 1 << 3 // a property, or an event
)

// Actions are a set of actions, one bit each.
type Actions uint8

// The sets that have a name.
const (
	See = Actions(Read | Observe)
	Use = Actions(Read | Write | Invoke | Observe)
)

var actions = [...]Action{Read, Write, Invoke, Observe}

// String returns the action's name in lower case.
func (a Action) String() string {
	switch a {
	case Read:
		return "read"
	case Write:
		return "write"
	case Invoke:
		return "invoke"
	case Observe:
		return "observe"
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// Valid reports whether a is one of the four actions.
func (a Action) Valid() bool { return slices.Contains(actions[:], a) }

// Has reports whether a is in the set.
func (s Actions) Has(a Action) bool { return a.Valid() && Actions(a)&s != 0 }

func (s Actions) valid() bool { return s != 0 && s&^Use == 0 }

func (s Actions) names() []string {
	var names []string
	for _, a := range actions {
		if s.Has(a) {
			names = append(names, a.String())
		}
	}
	return names
}

// String returns "see", "use" or the names of the actions, "read,invoke": what ParseActions reads.
func (s Actions) String() string {
	switch s {
	case See:
		return "see"
	case Use:
		return "use"
	}
	return strings.Join(s.names(), ",")
}

// ParseActions reads names of actions with commas between them. "see" stands for read and observe, "use" for all.
func ParseActions(text string) (Actions, error) {
	var set Actions
	for name := range strings.SplitSeq(text, ",") {
		i := slices.IndexFunc(actions[:], func(a Action) bool { return a.String() == name })
		switch {
		case name == "see":
			set |= See
		case name == "use":
			set |= Use
		case i >= 0:
			set |= Actions(actions[i])
		default:
			return 0, fmt.Errorf("grant: %.40q is nothing to allow: want see, use, or some of read, write, invoke, observe", name)
		}
	}
	return set, nil
}
