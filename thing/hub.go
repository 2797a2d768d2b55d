package thing

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"sync"
	"time"
)

// maxHeld bounds the bytes that an affordance's history holds.
const maxHeld = 1 << 20

// hub keeps the latest events of one affordance, numbered from 1, and wakes
// those who wait for more. It knows no readers: each comes with the number that
// it wants next, so a slow one costs nothing and holds up nobody.
type hub struct {
	epoch string       // tells this hub's numbers from those before a restart
	names cipher.Block // has ids tell nobody else a number

	mu   sync.Mutex
	held []record // consecutive numbers, the last is the newest
	next uint64   // number of the next event
	size int      // bytes in held
	wake chan struct{}
}

// record is one event. Its data is never changed.
type record struct {
	number uint64
	at     time.Time
	data   []byte
}

func newHub() *hub {
	key := make([]byte, aes.BlockSize)
	rand.Read(key)                 // does not fail
	names, _ := aes.NewCipher(key) // nor does this: it is as long as it should be
	return &hub{epoch: rand.Text()[:12], names: names, next: 1, wake: make(chan struct{})}
}

// emit adds an event, and forgets the oldest where there is no room for all.
func (h *hub) emit(data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = append(h.held, record{h.next, time.Now(), data})
	h.next++
	h.size += len(data)
	for len(h.held) > MaxHistory || h.size > maxHeld {
		h.size -= len(h.held[0].data)
		h.held[0] = record{}
		h.held = h.held[1:]
	}
	close(h.wake)
	h.wake = make(chan struct{})
}

// from gives up to 16 events from a number on; none, and a channel that closes
// when there may be more, if there are none yet. It reports false if that
// number is no longer held.
func (h *hub) from(number uint64) ([]record, <-chan struct{}, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	oldest := h.oldest()
	if number < oldest {
		return nil, nil, false
	}
	start := min(int(number-oldest), len(h.held))
	end := min(start+16, len(h.held))
	return append([]record(nil), h.held[start:end]...), h.wake, true
}

func (h *hub) oldest() uint64 { return h.next - uint64(len(h.held)) }

// resume gives the number to go on from for a reader that had the event with
// this id last: the oldest held where that is later, or where the id is of
// another epoch and so before all of these; with no id the next to come. It
// reports whether the reader knows what was before that number.
func (h *hub) resume(id string) (number uint64, knows bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if id == "" {
		return h.next, false
	}
	epoch, text, _ := strings.Cut(id, "-")
	name, err := hex.DecodeString(text)
	if err != nil || len(name) != aes.BlockSize || epoch != h.epoch {
		return h.oldest(), false
	}
	h.names.Decrypt(name, name)
	n := binary.BigEndian.Uint64(name)
	return min(max(n+1, h.oldest()), h.next), true
}

// latest gives the number of the next event to come.
func (h *hub) latest() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.next
}

// id names an event to clients, otherwise each time. Who is shown some events alone is not to count the others between them.
func (h *hub) id(number uint64) string {
	name := make([]byte, aes.BlockSize)
	binary.BigEndian.PutUint64(name, number)
	rand.Read(name[8:]) // does not fail
	h.names.Encrypt(name, name)
	return h.epoch + "-" + hex.EncodeToString(name)
}
