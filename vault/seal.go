package vault

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"

	"filippo.io/age"
)

const (
	// MaxContent is how much can be sealed as one, in bytes.
	MaxContent = 64 << 20
	// MaxRecipients is to how many can be sealed.
	MaxRecipients = 1024

	maxSealed = MaxContent + MaxContent/8 + 2<<20 // with padding, tags and the keys of MaxRecipients

	version  = 1
	prefix   = 9 // bytes of version and length
	smallest = 1 << 10
)

// ErrNotForMe says that something is sealed to others.
var ErrNotForMe = errors.New("it is not sealed to this member")

// Seal seals content to recipients, at least one. What comes out shows how large content is only roughly, to how many
// it is sealed only up to the next power of two, and to whom not at all; see the package doc.
func Seal(content []byte, to []Recipient) ([]byte, error) {
	sealed, err := seal(content, to)
	if err != nil {
		return nil, fmt.Errorf("vault: sealing: %w", err)
	}
	return sealed, nil
}

func seal(content []byte, to []Recipient) ([]byte, error) {
	if len(content) > MaxContent {
		return nil, fmt.Errorf("%d bytes, of at most %d", len(content), MaxContent)
	}
	recipients, err := crowd(to)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, padded(prefix+len(content)))
	plain[0] = version
	binary.BigEndian.PutUint64(plain[1:], uint64(len(content)))
	copy(plain[prefix:], content)

	var out bytes.Buffer
	out.Grow(len(plain) + len(plain)/(4<<10) + (len(recipients)+1)*(2<<10)) // with the tags, and the keys before it
	w, err := age.Encrypt(&out, recipients...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// crowd returns whom to seal to, each once, in no order, among so many others who do not exist that the number is a
// power of two.
func crowd(to []Recipient) ([]age.Recipient, error) {
	var all []age.Recipient
	seen := map[string]bool{}
	for _, r := range to {
		if r.recipient == nil {
			return nil, errors.New("one of the recipients is nobody")
		}
		if text := r.String(); !seen[text] {
			seen[text] = true
			all = append(all, r.recipient)
		}
	}
	if len(all) == 0 || len(all) > MaxRecipients {
		return nil, fmt.Errorf("%d recipients, want 1 to %d", len(all), MaxRecipients)
	}
	nobody, err := age.GenerateHybridIdentity()
	if err != nil {
		return nil, err
	}
	for n := 1 << bits.Len(uint(len(all)-1)); len(all) < n; {
		all = append(all, nobody.Recipient())
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all, nil
}

// padded returns the size that n bytes are padded to: Padmé of n, and at least 1 KiB. Padmé lets the last bits of a
// size be zero but for so many of the first as the size's own length in bits has bits; so a size up to 2^e shows
// O(log e) bits of itself, and grows by at most 12 %.
func padded(n int) int {
	n = max(n, smallest)
	e := bits.Len(uint(n)) - 1
	s := bits.Len(uint(e))
	mask := 1<<(e-s) - 1
	return (n + mask) &^ mask
}

// Open opens what was sealed to the holder of the key. The error is ErrNotForMe if it was sealed to others only.
func (k Key) Open(sealed []byte) ([]byte, error) {
	content, err := k.open(sealed)
	if err != nil {
		return nil, fmt.Errorf("vault: opening what is sealed: %w", err)
	}
	return content, nil
}

func (k Key) open(sealed []byte) ([]byte, error) {
	if k.identity == nil {
		return nil, ErrNotForMe
	}
	if len(sealed) > maxSealed {
		return nil, fmt.Errorf("%d bytes, of at most %d", len(sealed), maxSealed)
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), bounded(k))
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, ErrNotForMe
	}
	if err != nil {
		return nil, err
	}
	out := bytes.NewBuffer(make([]byte, 0, len(sealed)+bytes.MinRead))
	if _, err := out.ReadFrom(r); err != nil {
		return nil, err
	}
	plain := out.Bytes()
	if len(plain) < prefix || plain[0] != version {
		return nil, errors.New("it is of a kind that this version does not know")
	}
	n := binary.BigEndian.Uint64(plain[1:])
	if n > MaxContent || len(plain) != padded(prefix+int(n)) {
		return nil, fmt.Errorf("%d bytes hold %d of content: wrongly padded", len(plain), n)
	}
	return plain[prefix : prefix+int(n) : prefix+int(n)], nil
}

// bounded is an identity that looks at so many keys only as Seal makes: each takes time.
type bounded struct{ identity *age.HybridIdentity }

// Unwrap is age.Identity's.
func (b bounded) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) > MaxRecipients {
		return nil, fmt.Errorf("it is sealed to %d, of at most %d", len(stanzas), MaxRecipients)
	}
	return b.identity.Unwrap(stanzas)
}
