package merkle_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/kindred-iot/kindred/merkle"
)

// sizes runs a benchmark on maps of different sizes.
func sizes(b *testing.B, run func(b *testing.B, m merkle.Map)) {
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			m := merkle.Build(leaves(n))
			b.ReportAllocs()
			run(b, m)
		})
	}
}

// spread returns n numbers over the entries of m, so that benchmarks do not stay
// in one corner of the tree.
func spread(m merkle.Map, n int) (numbers []int) {
	for i := range n {
		numbers = append(numbers, int(uint(i)*2654435761%uint(m.Len())))
	}
	return numbers
}

func BenchmarkUpdate(b *testing.B) {
	sizes(b, func(b *testing.B, m merkle.Map) {
		keys := numberedKeys(spread(m, 1024)...)
		i := 0
		for b.Loop() {
			m = m.Set(keys[i%1024], fmt.Append(nil, i))
			i++
		}
	})
}

func BenchmarkProve(b *testing.B) {
	sizes(b, func(b *testing.B, m merkle.Map) {
		keys := numberedKeys(spread(m, 512)...)
		total, i := 0, 0
		for b.Loop() {
			p, err := m.Prove(keys[i%512])
			if err != nil {
				b.Fatal(err)
			}
			total += len(p)
			i++
		}
		b.ReportMetric(float64(total)/float64(i), "bytes/proof")
	})
}

// BenchmarkProve8 proves eight keys together, as a hello does.
func BenchmarkProve8(b *testing.B) {
	sizes(b, func(b *testing.B, m merkle.Map) {
		keys := numberedKeys(spread(m, 512)...)
		total, i := 0, 0
		for b.Loop() {
			at := i * 8 % 512
			p, err := m.Prove(keys[at : at+8]...)
			if err != nil {
				b.Fatal(err)
			}
			total += len(p)
			i++
		}
		b.ReportMetric(float64(total)/float64(i), "bytes/proof")
	})
}

func BenchmarkVerify(b *testing.B) {
	for _, together := range []int{1, 8} {
		b.Run(fmt.Sprintf("keys=%d", together), func(b *testing.B) {
			sizes(b, func(b *testing.B, m merkle.Map) {
				entries := numberedEntries(spread(m, together)...)
				p, err := m.Prove(numberedKeys(spread(m, together)...)...)
				if err != nil {
					b.Fatal(err)
				}
				root := m.Root()
				for b.Loop() {
					if err := merkle.Verify(root, entries, p); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	const n = 100_000
	hashes := make([][2]merkle.Hash, 0, n)
	for key, leaf := range leaves(n) {
		hashes = append(hashes, [2]merkle.Hash{key, leaf})
	}
	entries := func(yield func(merkle.Hash, merkle.Hash) bool) {
		for _, h := range hashes {
			if !yield(h[0], h[1]) {
				return
			}
		}
	}
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	var m merkle.Map
	for b.Loop() {
		m = merkle.Build(entries)
	}
	b.ReportMetric(float64(heap()-before)/n, "heap-bytes/entry")
	runtime.KeepAlive(m)
	runtime.KeepAlive(hashes) // counted before, so it must be counted after
}
