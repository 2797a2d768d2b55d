package chain

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/ledgertest"
)

// In the environment, these make a test that kills its own binary be the victim.
const (
	victimDir     = "KINDRED_TEST_VICTIM_DIR"
	victimCharter = "KINDRED_TEST_VICTIM_CHARTER" // hexadecimal
)

// victim, if this process is the victim, runs a chain and submits heads until it is killed. It prints "at N" for the head found, then "ok N" for each
// one acknowledged.
func victim(t *testing.T) {
	dir, ok := os.LookupEnv(victimDir)
	if !ok {
		return
	}
	charter, err := hex.DecodeString(os.Getenv(victimCharter))
	if err != nil {
		t.Fatal(err)
	}
	cfg, home := testConfig(t), ledgertest.OpenTree(t, "home", charter)
	cfg.Dir = dir
	c, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var sequence uint64
	if _, _, err := c.Prove(t.Context(), home.ID); !errors.Is(err, ledger.ErrUnknown) {
		record, _ := proved(t, c, home.ID)
		sequence = record.Sequence
	}
	fmt.Println("at", sequence)
	for {
		tx := home.Register(1)
		if sequence > 0 {
			tx = home.Advance(sequence + 1)
		}
		submit(t, c, tx)
		sequence++
		fmt.Println("ok", sequence)
	}
}

// startVictim starts this test again, as the victim. Each returned line is a word and a sequence. CometBFT must print
// nothing, unless it was asked to.
func startVictim(t *testing.T, dir string, home *ledgertest.Tree, env ...string) (*exec.Cmd, func() (word string, sequence uint64, ok bool)) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=60s")
	cmd.Env = append(append(os.Environ(), victimDir+"="+dir, victimCharter+"="+hex.EncodeToString(home.Charter.Raw)), env...)
	cmd.Stderr = printed{t}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	return cmd, func() (word string, sequence uint64, ok bool) {
		for lines.Scan() {
			if n, _ := fmt.Sscanf(lines.Text(), "%s %d", &word, &sequence); n == 2 {
				return word, sequence, true
			}
			if len(env) == 0 || !strings.HasPrefix(lines.Text(), "*** fail-test ") {
				t.Errorf("the victim printed %q", lines.Text())
			}
		}
		return "", 0, false
	}
}

// printed is a writer that nothing may be written to.
type printed struct{ t *testing.T }

func (p printed) Write(b []byte) (int, error) {
	p.t.Errorf("the victim printed %q", b)
	return len(b), nil
}

// survive checks that a chain whose process was killed has what was acknowledged, and goes on.
func survive(t *testing.T, cfg Config, home *ledgertest.Tree, acknowledged uint64) {
	t.Helper()
	c := run(t, cfg)
	record, _ := proved(t, c, home.ID)
	if record.Sequence < acknowledged {
		t.Fatalf("head %d was acknowledged, head %d found", acknowledged, record.Sequence)
	}
	submit(t, c, home.Advance(record.Sequence)) // again
	submit(t, c, home.Advance(record.Sequence+1))
	wantHead(t, c, home, record.Sequence+1)
}

// TestKill kills a process with SIGKILL again and again while it submits.
func TestKill(t *testing.T) {
	victim(t)
	cfg := testConfig(t)
	home := testTree(t, "home")
	acknowledged := uint64(0)
	for round := range 12 {
		cmd, next := startVictim(t, cfg.Dir, home)
		heads := round // acknowledged in this round until the kill, which then hits somewhere in the next ones
		for {
			word, sequence, ok := next()
			if !ok {
				break
			}
			if sequence < acknowledged || word == "at" && sequence > acknowledged+1 {
				t.Fatalf("round %d: victim at head %d, head %d was acknowledged", round, sequence, acknowledged)
			}
			acknowledged = sequence
			if heads--; heads < 0 {
				time.AfterFunc(time.Duration(round)*700*time.Microsecond, func() { cmd.Process.Kill() })
			}
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("round %d: the victim ended: %v", round, err)
		}
	}
	survive(t, cfg, home, acknowledged)
}

// TestCrashAtEveryStep ends a process at each of the steps that CometBFT marks in the life of a block: after a vote
// is in its log, before and after it saves the block, applies it, saves the results, commits, saves its state.
func TestCrashAtEveryStep(t *testing.T) {
	victim(t)
	cfg := testConfig(t)
	home := testTree(t, "home")
	acknowledged := uint64(0)
	for step := range 26 { // eleven a block: of the start's, then those of a head
		cmd, next := startVictim(t, cfg.Dir, home, fmt.Sprintf("FAIL_TEST_INDEX=%d", step))
		for {
			word, sequence, ok := next()
			if !ok {
				break
			}
			if sequence < acknowledged || word == "at" && sequence > acknowledged+1 {
				t.Fatalf("step %d: victim at head %d, head %d was acknowledged", step, sequence, acknowledged)
			}
			acknowledged = sequence
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Fatalf("step %d: the victim ended: %v", step, err)
		}
	}
	survive(t, cfg, home, acknowledged)
}
