package pairing_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/pairing"
)

// FuzzParse reads arbitrary bytes as an invitation, and as the statement in one whose checksum is right. What is read
// must be within the bounds that the package promises.
func FuzzParse(f *testing.F) {
	_, text := mustSample(f)
	f.Add([]byte(text))
	f.Add(unwrap(f, text))
	f.Add([]byte("kindred1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4*pairing.MaxText {
			return
		}
		for _, text := range []string{string(data), wrap(data)} {
			inv, err := pairing.Read(text)
			if err != nil {
				continue
			}
			if n := len(inv.Addresses); n < 1 || n > 8 || inv.Life <= 0 || inv.Life > pairing.MaxLife || inv.GatewayKey == nil || inv.Inviter == nil {
				t.Errorf("read %+v", inv.Terms)
			}
			if _, err := identity.ParsePath(string(inv.Path)); err != nil {
				t.Error(err)
			}
			if _, err := pairing.Parse(text, inv.Issued); err != nil {
				t.Errorf("not good at the time it was made: %v", err)
			}
		}
	})
}

// FuzzClaim hands arbitrary bytes to the desk as a claim, and to the approver. Only a claim for the keys of the
// invited machine passes the approver.
func FuzzClaim(f *testing.F) {
	r := newRig(f)
	inv := r.invite(identity.Person, "sam/anna")
	keys := personKeys(f)
	claim, err := pairing.NewClaim(inv, keys)
	if err != nil {
		f.Fatal(err)
	}
	for _, token := range [][]byte{nil, make([]byte, 32)} {
		data, err := json.Marshal(claimQuestion{Token: token, Claim: claim})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(claim.Leaf)
	f.Add([]byte(`{"claim":{"leaf":"MA=="}}`))
	handler := r.desk().Handler()
	f.Fuzz(func(t *testing.T, data []byte) {
		if status, body := post(t, handler, pairing.ClaimPath, data); status != http.StatusBadRequest && status != http.StatusNotFound && status != http.StatusTooManyRequests {
			t.Fatalf("a stranger is answered %d %s", status, body)
		}
		other := claim
		other.Leaf = data
		claims := []pairing.Claim{claim, other}
		var q claimQuestion
		if json.Unmarshal(data, &q) == nil {
			q.Claim.ID = inv.ID()
			claims = append(claims, q.Claim)
		}
		for i, c := range claims {
			got, err := c.Check(inv)
			switch {
			case err != nil && i == 0:
				t.Fatal(err)
			case err == nil && (got.App != keys.App || !sameKey(got.Leaf, keys.Leaf.Public()) || !sameKey(got.CA, keys.CA.Public())):
				t.Fatalf("a claim passes for keys %+v", got)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	_, text := mustSample(b)
	for b.Loop() {
		if _, err := pairing.Parse(text, now.Add(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(text)), "characters")
}
