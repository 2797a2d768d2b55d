package journal

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/kindred-iot/kindred/store"
)

// crashFile, set, makes this test binary a child that writes a journal there
// until it is killed.
const crashFile = "KINDRED_JOURNAL_CRASH_FILE"

func TestMain(m *testing.M) {
	if file := os.Getenv(crashFile); file != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(context.Background(), file))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeUntilKilled appends every third entry and notes the others, and prints
// the number of each that was appended.
func writeUntilKilled(ctx context.Context, file string) error {
	db, err := store.Open(ctx, file)
	if err != nil {
		return err
	}
	l, err := Open(ctx, db, lock.Member, home, keyOf(lock))
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		if i%3 != 2 {
			err = l.Note(opened(i))
		} else if err = l.Append(ctx, opened(i)); err == nil {
			fmt.Println(i)
		}
		if err == nil && i%50 == 49 {
			_, err = l.Checkpoint(ctx, noon)
		}
		if err != nil {
			return err
		}
	}
}

// TestKilledWhileWriting kills a node at its work. Every entry appended is
// there, and every one noted before it, in order and without gaps.
func TestKilledWhileWriting(t *testing.T) {
	for _, until := range []int{2, 100, 500} {
		t.Run(strconv.Itoa(until), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "kindred.db")
			child := exec.CommandContext(t.Context(), os.Args[0])
			child.Env = append(os.Environ(), crashFile+"="+file)
			child.Stderr = os.Stderr
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			last, killed := -1, false
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if last, err = strconv.Atoi(lines.Text()); err != nil {
					t.Fatal(err)
				}
				if last >= until && !killed {
					killed = true
					if err := child.Process.Kill(); err != nil {
						t.Fatal(err)
					}
				}
			}
			child.Wait() // it was killed, so the error says nothing
			if !killed {
				t.Fatalf("the child ended by itself after entry %d", last)
			}
			db, err := store.Open(t.Context(), file)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			got := onDisk(t, db, lock)
			if len(got) <= last {
				t.Errorf("%d entries found, number %d was acknowledged", len(got), last)
			}
			for i, n := range got {
				if n != uint64(i) {
					t.Fatalf("entry %d is number %d", i, n)
				}
			}
			l := openLog(t, db, lock)
			appendAll(t, l, opened(len(got)))
			if err := l.Verify(t.Context()); err != nil {
				t.Error(err)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
