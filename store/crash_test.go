package store

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// crashFile, set, makes this test binary a child that saves to that file until
// it is killed, and prints the number of each save once it returned.
const crashFile = "KINDRED_STORE_CRASH_FILE"

func TestMain(m *testing.M) {
	if file := os.Getenv(crashFile); file != "" {
		saveUntilKilled(file)
	}
	os.Exit(m.Run())
}

func saveUntilKilled(file string) {
	db, err := Open(context.Background(), file)
	for i := 0; err == nil; i++ {
		err = db.Save(context.Background(), map[string][]byte{fmt.Sprintf("a/%08d", i): []byte("a"), fmt.Sprintf("b/%08d", i): []byte("b")})
		if err == nil {
			err = db.LogAppend(context.Background(), []byte("log"), int64(i), []Row{{Time: int64(i), Data: []byte("row")}}, nil)
		}
		fmt.Println(i)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestKilledWhileSaving(t *testing.T) {
	for _, acknowledged := range []int{1, 20, 300} {
		t.Run(strconv.Itoa(acknowledged), func(t *testing.T) {
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
			last := -1
			lines := bufio.NewScanner(out)
			for lines.Scan() {
				if last, err = strconv.Atoi(lines.Text()); err != nil {
					t.Fatal(err)
				}
				if last == acknowledged {
					if err := child.Process.Kill(); err != nil {
						t.Fatal(err)
					}
				} // and what it printed before it died is acknowledged too
			}
			child.Wait() // it was killed, so the error says nothing
			if last < acknowledged {
				t.Fatalf("the child ended by itself after save %d", last)
			}
			checkKilled(t, file, last)
		})
	}
}

// checkKilled checks that everything up to save number last is there, and no
// half of a transaction.
func checkKilled(t *testing.T, file string, last int) {
	t.Helper()
	db := openAt(t, file)
	if err := db.Check(t.Context()); err != nil {
		t.Error(err)
	}
	a, _ := contents(t, db, "a/")
	b, _ := contents(t, db, "b/")
	rows, _, err := db.LogSize(t.Context(), []byte("log"))
	if err != nil {
		t.Fatal(err)
	}
	if len(a) != len(b) {
		t.Errorf("%d records a and %d b: half a transaction", len(a), len(b))
	}
	if len(a) < last+1 || rows < int64(last)+1 {
		t.Errorf("%d saves and %d rows found, %d acknowledged", len(a), rows, last+1)
	}
	if len(a) > last+3 {
		t.Errorf("%d saves found, more than %d acknowledged and one under way", len(a), last+1)
	}
}
