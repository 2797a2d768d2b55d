package journal

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/kindred-iot/kindred/identity"
)

// MarshalText returns what String does.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads what String returns.
func (o *Outcome) UnmarshalText(text []byte) error {
	i := slices.Index(outcomes[Served:], string(text))
	if i < 0 {
		return fmt.Errorf("journal: unknown outcome %.20q", text)
	}
	*o = Served + Outcome(i)
	return nil
}

type jsonParty struct {
	Member string `json:"member"`
	ID     string `json:"id"`
}

// MarshalJSON returns {"member":…,"id":…}: 26 characters, and the SPIFFE ID.
func (p Party) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonParty{p.Member.String(), p.ID.String()})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *Party) UnmarshalJSON(data []byte) error {
	var j jsonParty
	err := json.Unmarshal(data, &j)
	if err != nil {
		return fmt.Errorf("journal: reading a party: %w", err)
	}
	if p.Member, err = identity.ParseMemberID(j.Member); err != nil {
		return fmt.Errorf("journal: reading a party: %w", err)
	}
	domain, isRoot := strings.CutPrefix(j.ID, "spiffe://")
	if isRoot && !strings.Contains(domain, "/") { // a root has no path
		p.ID.Path = ""
		p.ID.Tree, err = identity.ParseTreeID(domain)
	} else {
		p.ID, err = identity.ParseID(j.ID)
	}
	if err != nil {
		return fmt.Errorf("journal: reading a party: %w", err)
	}
	return nil
}

// UnmarshalJSON reads an entry and checks it like one of a log; its texts are
// made printable.
func (e *Entry) UnmarshalJSON(data []byte) error {
	type plain Entry // without this method
	var read plain
	if err := json.Unmarshal(data, &read); err != nil {
		return fmt.Errorf("journal: reading an entry: %w", err)
	}
	// In a log of no tree, every party's tree is spelled out.
	encoded, err := Entry(read).encode(identity.TreeID{})
	if err != nil {
		return err
	}
	*e, err = ParseEntry(identity.TreeID{}, encoded)
	e.Countersigned = read.Countersigned
	return err
}
