package gateway

import (
	"slices"
	"testing"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
)

// Another home, of whom somebody passed something on, proves that with as much as it can: who has something else of others
// shows that all the same.
func TestProofsThatFit(t *testing.T) {
	of := func(sizes ...int) (all [][]byte) {
		for _, n := range sizes {
			all = append(all, make([]byte, n))
		}
		return all
	}
	for _, test := range []struct {
		name         string
		proof        int
		grants       []int
		beside, want []int
		more         int
	}{
		{"nobody's", 8 << 10, []int{1 << 10}, nil, nil, 0},
		{"what there is room for", 8 << 10, []int{1 << 10, 1 << 10}, []int{9 << 10, 7 << 10}, []int{7 << 10, 9 << 10}, 0},
		{"one that leaves no room", 8 << 10, []int{1 << 10}, []int{7 << 10, credential.MaxHello}, []int{7 << 10}, 0},
		{"two that leave none for each other", 8 << 10, []int{1 << 10}, []int{30 << 10, 29 << 10}, []int{29 << 10}, 0},
		{"with what a visitor shows besides", 8 << 10, nil, []int{40 << 10}, nil, 16 << 10},
	} {
		e := control.Evidence{Proof: make([]byte, test.proof), Grants: of(test.grants...), Beside: of(test.beside...)}
		var got []int
		for _, p := range fitting(e, test.more) {
			got = append(got, len(p))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
