package vault

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"filippo.io/age"
)

// A megabyte sealed, and opened by one of them whoever that is, beside age with X25519 alone and without padding. The
// ratio is of the times.
func BenchmarkMegabyte(b *testing.B) {
	content := make([]byte, 1<<20)
	for _, n := range []int{1, 10, 100} {
		keys, to := make([]Key, n), make([]Recipient, n)
		identities, recipients := make([]age.Identity, n), make([]age.Recipient, n)
		for i := range keys {
			keys[i] = newKey(b)
			to[i] = keys[i].Recipient()
			identity, err := age.GenerateX25519Identity()
			if err != nil {
				b.Fatal(err)
			}
			identities[i], recipients[i] = identity, identity.Recipient()
		}
		plain := func() []byte {
			var out bytes.Buffer
			w, err := age.Encrypt(&out, recipients...)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := w.Write(content); err != nil {
				b.Fatal(err)
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
			return out.Bytes()
		}
		sealed, other := mustSeal(b, content, to...), plain()
		against(b, fmt.Sprintf("seal/%d", n), func(int) { mustSeal(b, content, to...) }, func(int) { plain() }, float64(len(sealed))/float64(len(other)))
		against(b, fmt.Sprintf("open/%d", n), func(i int) {
			if _, err := keys[i%n].Open(sealed); err != nil {
				b.Fatal(err)
			}
		}, func(i int) {
			r, err := age.Decrypt(bytes.NewReader(other), identities[i%n])
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if err != nil {
				b.Fatal(err)
			}
		}, 0)
	}
}

// against measures ours, and theirs right after it.
func against(b *testing.B, name string, ours, theirs func(i int), sizes float64) {
	b.Run(name, func(b *testing.B) {
		b.SetBytes(1 << 20)
		var mine, other time.Duration
		for i := range b.N {
			began := time.Now()
			ours(i)
			mine += time.Since(began)
			b.StopTimer()
			began = time.Now()
			theirs(i)
			other += time.Since(began)
			b.StartTimer()
		}
		b.ReportMetric(float64(mine)/float64(other), "ratio")
		if sizes != 0 {
			b.ReportMetric(sizes, "size-ratio")
		}
	})
}
