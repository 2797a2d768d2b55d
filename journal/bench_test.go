package journal

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/store/storetest"
)

func BenchmarkAppend(b *testing.B) {
	l := openLog(b, storetest.Open(b), lock)
	for i := 0; b.Loop(); i++ {
		if err := l.Append(b.Context(), opened(i)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppendTogether is what 64 calls at a time cost each: they share
// transactions.
func BenchmarkAppendTogether(b *testing.B) {
	l := openLog(b, storetest.Open(b), lock)
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if err := l.Append(b.Context(), opened(i)); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkNote includes writing all of it, and reports the size on disk.
func BenchmarkNote(b *testing.B) {
	file := filepath.Join(b.TempDir(), "kindred.db")
	db, err := store.Open(b.Context(), file)
	if err != nil {
		b.Fatal(err)
	}
	l := openLog(b, db, lock)
	for i := 0; b.Loop(); i++ {
		if err := l.Note(opened(i)); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/float64(b.N), "bytes/entry")
	b.ReportMetric(float64(len(mustEncode(b, opened(1)))), "encoded-bytes")
}

func BenchmarkVerify(b *testing.B) {
	l := openLog(b, storetest.Open(b), lock)
	const entries = 10_000
	for i := range entries {
		if err := l.Note(opened(i)); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Sync(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := l.Verify(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/entries, "µs/entry")
}

// BenchmarkMillion is a log of a million entries, as a busy thing has after years: bytes on disk for each, the time to
// prove one of them, and to verify all.
func BenchmarkMillion(b *testing.B) {
	file := filepath.Join(b.TempDir(), "kindred.db")
	db, err := store.Open(b.Context(), file)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	l := openLog(b, db, lock)
	const entries = 1_000_000
	for i := range entries {
		if err := l.Note(opened(i)); err != nil {
			b.Fatal(err)
		}
	}
	checkpoint, err := l.Checkpoint(b.Context(), noon)
	if err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		b.Fatal(err)
	}
	var proving, verifying time.Duration
	proved := 0
	for b.Loop() {
		began := time.Now()
		for i := range 4 {
			x, _, err := l.Excerpt(b.Context(), Filter{}, int64(i*249_973), checkpoint)
			if err != nil || len(x.Entries) != MaxExcerpt {
				b.Fatal(len(x.Entries), err)
			}
			proved += len(x.Entries)
		}
		proving += time.Since(began)
		began = time.Now()
		if err := l.Verify(b.Context()); err != nil {
			b.Fatal(err)
		}
		verifying += time.Since(began)
	}
	b.ReportMetric(float64(info.Size())/entries, "bytes/entry")
	b.ReportMetric(float64(proving.Microseconds())/float64(proved), "µs/proof")
	b.ReportMetric(verifying.Seconds()/float64(b.N), "s/all")
}
