package relay

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/peer"
)

// An At is a relay, and where it is reached.
type At struct {
	Key       ed25519.PublicKey
	Addresses []string // multiaddrs
}

// Relays reads the addresses of relays, which end in their names. A relay that has several counts once.
func Relays(addresses []string) (relays []At, err error) {
	for _, a := range addresses {
		key, err := peer.KeyOf(a)
		if err != nil {
			return nil, err
		}
		pub, ok := key.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("relay: the key of %s is a %T, want Ed25519", a, key)
		}
		i := slices.IndexFunc(relays, func(r At) bool { return r.Key.Equal(pub) })
		if i < 0 {
			i, relays = len(relays), append(relays, At{Key: pub})
		}
		relays[i].Addresses = append(relays[i].Addresses, a)
	}
	return relays, nil
}

// Publish leaves a note that Point.Seal made.
func (a At) Publish(ctx context.Context, note []byte) error {
	n, err := parseNote(note)
	if err != nil {
		return err
	}
	return asNobody(func(host *peer.Host) error {
		got, err := a.call(ctx, host, http.MethodPut, notePath+n.id.String(), note)
		if err == nil && got.status != http.StatusNoContent {
			err = fmt.Errorf("the relay answered %d", got.status)
		}
		if err != nil {
			return fmt.Errorf("relay: publishing: %w", err)
		}
		return nil
	})
}

// Find returns what the latest note says that was left at any of points, and when it was written. What does not open is
// passed over where there is another. If there is none, the error is ErrNoNote.
func (a At) Find(ctx context.Context, points []Point, now time.Time) (payload []byte, written time.Time, err error) {
	err = asNobody(func(host *peer.Host) error {
		why := ErrNoNote
		for _, p := range points {
			got, err := a.call(ctx, host, http.MethodGet, notePath+p.ID.String(), nil)
			switch {
			case err != nil:
				return err
			case got.status == http.StatusNotFound:
				continue
			case got.status != http.StatusOK:
				return fmt.Errorf("the relay answered %d", got.status)
			}
			says, when, err := p.Open(got.body, now)
			switch {
			case err != nil:
				why = err
			case payload == nil || when.After(written):
				payload, written = says, when
			}
		}
		if payload == nil {
			return why
		}
		return nil
	})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("relay: looking: %w", err)
	}
	return payload, written, nil
}

// asNobody calls f with a host whose key is made for it alone.
func asNobody(f func(*peer.Host) error) error {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	host, err := peer.New(peer.Config{Key: key, Listen: []string{}})
	if err != nil {
		return err
	}
	return errors.Join(f(host), host.Close())
}

// An answer is a relay's.
type answer struct {
	status int
	body   []byte
}

// Join tells the relay, from the host that holds or wants a reservation there, to which household that counts.
func (a At) Join(ctx context.Context, from *peer.Host, tag peer.Tag) error {
	resp, err := a.call(ctx, from, http.MethodPut, householdPath, tag[:])
	if err != nil {
		return fmt.Errorf("relay: joining a household: %w", err)
	}
	if resp.status != http.StatusNoContent {
		return fmt.Errorf("relay: joining a household: the relay answered %d", resp.status)
	}
	return nil
}

func (a At) call(ctx context.Context, from *peer.Host, method, path string, body []byte) (answer, error) {
	base := from.Transport(func(context.Context, string) (peer.Target, error) {
		return peer.Target{Key: a.Key, Addresses: a.Addresses}, nil
	})
	req, err := http.NewRequestWithContext(ctx, method, peer.Scheme+"://relay"+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	resp, err := base.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, maxNote+1))
	return answer{resp.StatusCode, got}, err
}
