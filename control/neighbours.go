package control

import (
	"context"
	"time"
)

// NeighboursQuery asks which of the homes that are recognized know of all that was taken away here, once more of them do
// than the caller knows of; five seconds at most.
type NeighboursQuery struct {
	Told int `json:"told"`
}

// Neighbours are the homes that are recognized, by name. Of a home that recognizes this one alone nothing is known here: it
// counts who was removed for a day.
type Neighbours struct {
	Homes []Neighbour `json:"homes"`
}

// A Neighbour is a home that is recognized.
type Neighbour struct {
	Name  string    `json:"name"`
	Tree  string    `json:"tree"`
	Told  bool      `json:"told"`           // its gateway said that it knows of all that was taken away here
	Until time.Time `json:"until,omitzero"` // of one that did not: when its things refuse all the same whoever was removed by now
}

// Neighbours tells which of the homes that are recognized know of all that was taken away, once more than told of them do;
// five seconds at most.
func (c Client) Neighbours(ctx context.Context, told int) (Neighbours, error) {
	return call[Neighbours](ctx, c, "neighbours", NeighboursQuery{told})
}
