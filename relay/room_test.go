package relay

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/peer"
)

// A crowd leaves notes on a small board, each of a further member.
type crowd struct {
	t     *testing.T
	board *board
	last  int
	now   time.Time
}

const noteBytes = overhead + smallText

func newCrowd(t *testing.T, notes int) *crowd {
	c := &crowd{t: t, board: newBoard(), now: noon}
	c.board.room = notes * noteBytes
	return c
}

// leave leaves a note from an address, and returns at which point.
func (c *crowd) leave(address string) (Identifier, error) {
	c.t.Helper()
	c.last++
	c.now = c.now.Add(time.Millisecond)
	m := member(byte(c.last))
	m[1], m[2] = byte(c.last>>8), byte(c.last>>16)
	n := parsed(c.t, birch.note(c.t, m, noon, "here"))
	return n.id, c.board.put(n, from(address), c.now)
}

// leaves leaves n notes from an address, and returns how many the board took.
func (c *crowd) leaves(n int, address string) (took int) {
	c.t.Helper()
	for range n {
		switch _, err := c.leave(address); {
		case err == nil:
			took++
		case !errors.Is(err, errFull) && !errors.Is(err, errMany):
			c.t.Fatal(err)
		}
	}
	return took
}

// holds is how many notes of a network the board holds.
func (c *crowd) holds(network string) (n int) {
	for _, k := range c.board.notes {
		if netip.MustParsePrefix(network).Contains(k.from.Addr()) {
			n++
		}
	}
	return n
}

// TestBoardIsNotFilledByOneNetwork has all addresses of one network leave notes, more than fit: those of others stay, and
// others can still leave some.
func TestBoardIsNotFilledByOneNetwork(t *testing.T) {
	for _, tt := range []struct {
		name    string
		network string
		address func(i int) string
	}{
		{"an IPv4 /24", "203.0.113.0/24", func(i int) string { return fmt.Sprintf("203.0.113.%d", i%256) }},
		{"an IPv6 /48", "2001:db8:7::/48", func(i int) string { return fmt.Sprintf("2001:db8:7:%x00::1", i%256) }},
		{"an IPv6 /32", "2001:db8::/32", func(i int) string { return fmt.Sprintf("2001:db8:%x::1", i) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCrowd(t, 500)
			before := c.leaves(12, "192.0.2.1") + c.leaves(12, "2a00:1::1")
			for i := range 1000 {
				c.leaves(1, tt.address(i))
			}
			after := c.leaves(12, "198.51.100.1") + c.leaves(12, "2a00:2::1")
			if before != 24 || after != 24 {
				t.Errorf("of others' 24 notes each, %d were taken before and %d after", before, after)
			}
			for _, home := range []string{"192.0.2.0/24", "198.51.100.0/24", "2a00:1::/32", "2a00:2::/32"} {
				if n := c.holds(home); n != 12 {
					t.Errorf("of the 12 notes from %s, %d are left", home, n)
				}
			}
			if n := c.holds(tt.network); n < 400 {
				t.Errorf("the board could hold more than %d notes of %s", n, tt.network)
			}
			if _, bytes := c.board.size(noon); bytes > c.board.room {
				t.Errorf("%d bytes in a room of %d", bytes, c.board.room)
			}
		})
	}
}

// TestBoardIsFilledByManyNetworks: whoever wants a household's notes gone has to come from so many networks that what
// falls to each is less than what the household has.
func TestBoardIsFilledByManyNetworks(t *testing.T) {
	c := newCrowd(t, 500)
	c.leaves(12, "192.0.2.1")
	network := 0
	for ; c.holds("192.0.2.0/24") == 12; network++ {
		if network > 100 {
			t.Fatal("they never go")
		}
		c.leaves(30, fmt.Sprintf("10.0.%d.1", network))
	}
	if network < 35 { // 40 times 12 is what fits, less what is kept free
		t.Errorf("%d networks were enough", network)
	}
}

// TestBoardKeepsWhatIsKnown: of one address those points stay that have been known longest, also when a note was renewed.
func TestBoardKeepsWhatIsKnown(t *testing.T) {
	c := newCrowd(t, 200)
	m := member(0)
	renew := func(after time.Duration) {
		t.Helper()
		n := parsed(t, birch.note(t, m, noon.Add(after), "here"))
		if err := c.board.put(n, from("192.0.2.1"), c.now.Add(after)); err != nil {
			t.Fatal(err)
		}
	}
	renew(0)
	first, err := c.leave("192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	c.leaves(100, "192.0.2.1")
	renew(time.Minute)
	for i := range 10 {
		c.leaves(20, fmt.Sprintf("10.0.%d.1", i))
	}
	if n := c.holds("192.0.2.0/24"); n == 102 || n < 15 {
		t.Fatalf("%d notes are left, want some of them", n)
	}
	for name, id := range map[string]Identifier{"first": first, "renewed": birch.at(t, m, noon).ID} {
		if _, ok := c.board.get(id, noon); !ok {
			t.Errorf("the %s note had to make way for later ones", name)
		}
	}
}

// TestRoomIsShared compares what is kept with what fairness asks for: nobody is cut who has no more than another, who is
// cut has as much as the others that are, and no more goes than has to.
func TestRoomIsShared(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		b := newBoard()
		had := map[netip.Prefix]int{}
		for i := range 1 + random.IntN(200) {
			k := kept{from: peer.Origin(netip.AddrFrom4([4]byte{10, 0, byte(random.ExpFloat64() * 4), 1})), since: noon}
			k.raw = make([]byte, noteBytes)
			k.id[0], k.id[1] = byte(i), byte(i>>8)
			b.notes[k.id] = k
			b.from[k.from]++
			b.bytes += noteBytes
			had[k.from]++
		}
		all := len(b.notes)
		b.room = (1 + random.IntN(all)) * noteBytes
		b.makeRoom()
		free := (b.room - b.bytes) / noteBytes
		if b.bytes > b.room || all > len(b.notes) && free > 1+b.room/16/noteBytes {
			t.Fatalf("%d notes of %d are left in a room for %d", len(b.notes), all, b.room/noteBytes)
		}
		most := 0
		for _, n := range b.from {
			most = max(most, n)
		}
		for who, n := range had {
			if left := b.from[who]; left < n && left < most-1 {
				t.Fatalf("%v had %d notes and has %d, while another has %d", who, n, left, most)
			}
		}
	}
}
