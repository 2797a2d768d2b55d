package demo

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/netlab/netlabtest"
)

// TestMain removes the binary that the tests were played with.
func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		if err := os.RemoveAll(built.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// built is the kindred binary, made once.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// binary builds kindred as "make build" does.
func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "kindred-test-"); built.err != nil {
			return
		}
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", built.dir, "./cmd/kindred")
		build.Dir = ".."
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("building kindred: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "kindred")
}

// A run is a demo that was started by itself, with a directory for temporary files of its own.
type run struct {
	t      *testing.T
	cmd    *exec.Cmd
	temp   string
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

func begin(t *testing.T, args ...string) *run {
	t.Helper()
	r := &run{t: t, temp: t.TempDir()}
	r.cmd = exec.CommandContext(t.Context(), binary(t), append([]string{"demo", "--json"}, args...)...)
	r.cmd.Env = append(os.Environ(), "TMPDIR="+r.temp)
	r.cmd.Cancel = func() error { return r.cmd.Process.Signal(os.Interrupt) }
	r.cmd.WaitDelay = 4 * graceful
	r.cmd.Stderr = &r.stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.lines = bufio.NewScanner(out)
	r.lines.Buffer(nil, 1<<20)
	return r
}

// end waits for the demo's end and checks its exit code, and that nothing and nobody is left behind.
func (r *run) end(code int) {
	r.t.Helper()
	for r.lines.Scan() {
		r.t.Logf("it goes on: %s", r.lines.Text())
	}
	if err := errors.Join(r.lines.Err(), r.cmd.Wait()); r.cmd.ProcessState.ExitCode() != code {
		r.t.Errorf("the demo ended with %v, want exit code %d: %s", err, code, r.stderr.String())
	}
	left, err := os.ReadDir(r.temp)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(left) > 0 {
		r.t.Errorf("%s was left behind", left[0].Name())
	}
	networks, err := filepath.Glob(fmt.Sprintf("/run/netns/netlab-%d-*", r.cmd.Process.Pid))
	if err != nil || len(networks) > 0 {
		r.t.Errorf("networks were left behind: %q, %v", networks, err)
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline") // none where there is no such file system
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range processes {
		if line, err := os.ReadFile(p); err == nil && bytes.Contains(line, []byte(r.temp)) {
			r.t.Errorf("a process was left behind: %s", bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
		}
	}
}

// step reads a step; false after the last.
func (r *run) step() (s told, ok bool) {
	r.t.Helper()
	if !r.lines.Scan() {
		return s, false
	}
	d := json.NewDecoder(bytes.NewReader(r.lines.Bytes()))
	d.DisallowUnknownFields()
	return s, d.Decode(&s) == nil
}

// good checks what every step of a story that comes out as told has.
func good(t *testing.T, s told) {
	t.Helper()
	if !s.OK || s.Step == "" || s.By == "" || s.Ms < 0 {
		t.Errorf("step %q: ok %v, by %q, %d ms: %s", s.Step, s.OK, s.By, s.Ms, s.Told)
	}
}

// play plays the story once and returns its steps.
func play(t *testing.T, files ...string) []told {
	t.Helper()
	began := time.Now()
	r := begin(t, append([]string{"--once"}, files...)...)
	var steps []told
	for s, ok := r.step(); ok; s, ok = r.step() {
		good(t, s)
		steps = append(steps, s)
	}
	r.end(0)
	t.Logf("%d steps in %v", len(steps), time.Since(began).Round(time.Millisecond))
	if last := steps[max(0, len(steps)-1)]; last.Step != "and the report sets what was agreed beside what happened" {
		t.Fatalf("the last step is %q", last.Step)
	}
	return steps
}

// observers are those by whom a step of the whole story has to be observed.
var observers = []string{"demo", "laptop", "gateway", "phone", "guest's phone", "dora's laptop", "dora's phone", "stranger", "stranger's gateway", "thief", "shed", "new shed", "tap"}

func TestStory(t *testing.T) {
	t.Parallel()
	steps := play(t)
	if slices.ContainsFunc(steps, func(s told) bool { return s.Path != "" }) {
		t.Error("on one machine a way is told")
	}
	for _, by := range observers {
		if !slices.ContainsFunc(steps, func(s told) bool { return s.By == by }) {
			t.Errorf("no step was observed by %s", by)
		}
	}
	if len(steps[0].Skipped) > 0 {
		t.Errorf("telegrams of the project's own are skipped: %v", steps[0].Skipped)
	}
}

// The same story between networks. Each time that somebody away from home uses a thing, the way there is told.
func TestStoryBetweenNATs(t *testing.T) {
	netlabtest.Need(t)
	t.Parallel()
	ways, routers := map[string]int{}, map[string]int{}
	for _, s := range play(t, "--nat") {
		if s.Path != "" {
			kind, _, _ := strings.Cut(strings.TrimPrefix(s.Path, "path: "), ",")
			kind, _, _ = strings.Cut(kind, " after")
			ways[kind]++
			_, nat, _ := strings.Cut(s.Path, ", NAT: ")
			routers[nat]++
		}
		if away := strings.Contains(s.By, "phone"); s.Path != "" && !away {
			t.Errorf("%s: a way is told for %s, who is at home", s.Step, s.By)
		}
	}
	t.Logf("ways: %v, routers: %v", ways, routers)
	if ways["relayed → direct"]+ways["direct"] == 0 {
		t.Error("no way became direct")
	}
	if routers["cone"] == 0 {
		t.Error("the phones were not told what their router does")
	}
	delete(routers, "cone")
	if delete(routers, ""); len(routers) > 0 { // a command may end before it is known
		t.Errorf("the phones were told of other routers: %v", routers)
	}
}

// After the story the home stays up. What the user is told to try does what it is said to do.
func TestYourTurn(t *testing.T) {
	t.Parallel()
	r := begin(t)
	for s, ok := r.step(); ok; s, ok = r.step() {
		good(t, s)
	}
	var turn struct {
		Dir      string
		Commands []suggestion
	}
	if err := json.Unmarshal(r.lines.Bytes(), &turn); err != nil || !strings.HasPrefix(turn.Dir, r.temp) || len(turn.Commands) == 0 {
		t.Errorf("the user's turn is %s, %v", r.lines.Bytes(), err)
	}
	for _, c := range turn.Commands {
		want := exitDone
		if strings.Contains(c.Why, "refused") {
			want = exitRefused
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", c.Command)
		if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != want {
			t.Errorf("%s: %v, want exit code %d: %s", c.Command, err, want, out)
		}
	}
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	r.end(0)
}

// A demo that is stopped in the middle takes everybody with it.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	r := begin(t)
	for range 11 { // up to when everybody is there
		s, ok := r.step()
		if !ok {
			t.Fatalf("the story ends with %+v", s)
		}
		good(t, s)
	}
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	for s, ok := r.step(); ok; s, ok = r.step() {
		if !s.OK && !strings.Contains(s.Told, "interrupt") {
			t.Errorf("step %q: %s", s.Step, s.Told)
		}
	}
	r.end(1)
}

// real are recordings of meters, and of those that no meter can replay why.
var real = map[string]string{
	"TELEGRAM_V4_2.txt":              "",
	"TELEGRAM_V5.txt":                "",
	"TELEGRAM_V5_TWO_MBUS.txt":       "",
	"TELEGRAM_V5_EON_HU.txt":         "",
	"TELEGRAM_FLUVIUS_V171.txt":      "",
	"TELEGRAM_FLUVIUS_V171_ALT.txt":  "",
	"TELEGRAM_ISKRA_IE.txt":          "",
	"TELEGRAM_SAGEMCOM_T210_D_R.txt": "",
	"TELEGRAM_V2_2.txt":              "no checksum",
	"TELEGRAM_V3.txt":                "no checksum",
	"TELEGRAM_UNPADDED_CRC.txt":      "power",
	"TELEGRAM_ESY5Q3DA1004_V304.txt": "no checksum",
	"TELEGRAM_ESY5Q3DB1024_V304.txt": "no checksum",
}

func TestStoryOfRealTelegrams(t *testing.T) {
	t.Parallel()
	folder := os.Getenv("KINDRED_DATA")
	if folder == "" {
		t.Skip("KINDRED_DATA is not set: the story is not played on recordings of real meters")
	}
	var files []string
	want := map[string]string{}
	for name, why := range real {
		files = append(files, filepath.Join(folder, "meters", "p1", name))
		if why != "" {
			want[name] = why
		}
	}
	slices.Sort(files)
	steps := play(t, files...)
	for _, s := range steps[0].Skipped {
		t.Logf("skipped %s: %s", s.File, s.Why)
		if want[s.File] == "" || !strings.Contains(s.Why, want[s.File]) {
			t.Errorf("%s is skipped because of %q, should be for %q", s.File, s.Why, want[s.File])
		}
		delete(want, s.File)
	}
	for name := range want {
		t.Errorf("%s is not listed as skipped", name)
	}
}

// A story that does not come out as told fails, and says why.
func TestStoryFails(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.txt")
	if err := os.WriteFile(empty, []byte("no telegram at all\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := begin(t, "--once", empty)
	if s, ok := r.step(); !ok || s.OK || !strings.Contains(s.Told, "empty.txt (no telegram in it)") {
		t.Errorf("it told %+v", s)
	}
	r.end(1)
	if !strings.Contains(r.stderr.String(), `"code":"story"`) {
		t.Errorf("on standard error: %s", r.stderr.String())
	}
}
