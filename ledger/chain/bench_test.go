package chain

import (
	"bytes"
	"encoding/binary"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/ledgertest"
	"github.com/kindred-iot/kindred/signed"
)

// crowded returns the configuration of a chain that begins with many trees: home, and others whose charters are as
// long as home's.
func crowded(b *testing.B, home *ledgertest.Tree, trees int) Config {
	cfg := testConfig(b)
	db, err := openDB("ledger", cfg.Dir)
	if err != nil {
		b.Fatal(err)
	}
	_, writes, err := ledger.NewState(testChain).Apply(home.Register(1))
	if err != nil {
		b.Fatal(err)
	}
	raw, err := signed.Marshal(ledger.Record{Charter: home.Charter.Digest, Sequence: 1, Head: home.Head(1)})
	if err != nil {
		b.Fatal(err)
	}
	for i := range uint64(trees - 1) {
		id := signed.Sum(binary.BigEndian.AppendUint64(nil, i))
		writes = append(writes,
			ledger.Write{Key: append([]byte{'r'}, id[:]...), Value: bytes.Replace(raw, home.Charter.Digest[:], id[:], 1)},
			ledger.Write{Key: append([]byte{'c'}, id[:]...), Value: home.Charter.Raw})
	}
	for part := range slices.Chunk(writes, 10_000) {
		if err := save(db, 0, part); err != nil {
			b.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	return cfg
}

func BenchmarkStart(b *testing.B) {
	for _, trees := range []int{1, 100_000} {
		b.Run("trees="+strconv.Itoa(trees), func(b *testing.B) {
			home := testTree(b, "home")
			cfg := crowded(b, home, trees)
			c := run(b, cfg)
			p, block, err := c.Prove(b.Context(), home.ID)
			if err != nil {
				b.Fatal(err)
			}
			size := len(encode(b, p))/2 + len(encode(b, block))/2
			stop(b, c)
			for b.Loop() {
				c, err := Start(b.Context(), cfg)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				stop(b, c)
				b.StartTimer()
			}
			b.ReportMetric(float64(size), "B/proof")
		})
	}
}

// BenchmarkSubmit measures from Submit to a block that proves it, with as many trees advancing at once.
func BenchmarkSubmit(b *testing.B) {
	for _, waiters := range []int{1, 64} {
		b.Run("waiters="+strconv.Itoa(waiters), func(b *testing.B) {
			c := run(b, testConfig(b))
			var trees []*ledgertest.Tree
			var register sync.WaitGroup
			for i := range waiters {
				tree := testTree(b, strconv.Itoa(i))
				trees = append(trees, tree)
				register.Go(func() { submit(b, c, tree.Register(1)) })
			}
			register.Wait()
			var (
				left  atomic.Int64
				all   sync.WaitGroup
				mu    sync.Mutex
				times []time.Duration
			)
			left.Store(int64(b.N))
			b.ResetTimer()
			for _, tree := range trees {
				all.Go(func() {
					var own []time.Duration
					for sequence := uint64(2); left.Add(-1) >= 0; sequence++ {
						tx, began := tree.Advance(sequence), time.Now()
						submit(b, c, tx)
						own = append(own, time.Since(began))
					}
					mu.Lock()
					times = append(times, own...)
					mu.Unlock()
				})
			}
			all.Wait()
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
		})
	}
}

// BenchmarkIdle measures a chain with nothing to do but a block every two seconds, for ten seconds: the process's
// resident memory and its share of a core.
func BenchmarkIdle(b *testing.B) {
	cfg := testConfig(b)
	cfg.Interval = 2 * time.Second
	c := run(b, cfg)
	submit(b, c, testTree(b, "home").Register(1))
	runtime.GC()
	debug.FreeOSMemory()
	for b.Loop() {
		before := cpuTime(b)
		time.Sleep(10 * time.Second)
		b.ReportMetric((cpuTime(b)-before).Seconds()/10*100, "%core")
		b.ReportMetric(float64(resident(b))/1e6, "MB-resident")
	}
}

func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func resident(b *testing.B) int {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("no /proc on this system: ", err)
	}
	pages, err := strconv.Atoi(string(bytes.Fields(statm)[1]))
	if err != nil {
		b.Fatal(err)
	}
	return pages * os.Getpagesize()
}
