package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kindred-iot/kindred/device/doorbell"
	"github.com/kindred-iot/kindred/meter/p1"
)

func TestMain(m *testing.M) {
	testscript.Main(tidy{m}, map[string]func(){"kindred": main})
}

// tidy removes, after the tests, what belongs to none of them.
type tidy struct{ *testing.M }

// leftovers are directories that several tests use.
var leftovers []string

func (m tidy) Run() int {
	code := m.M.Run()
	for _, dir := range leftovers {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

// TestScripts runs the stories in testdata with the real command. Beside what package testscript has, they use
//
//	start NAME ARG…     run "kindred ARG…" beside the script; $NAME is its first line, for which it waits
//	begin NAME ARG…     the same without waiting for a line
//	line NAME           wait for its next line, which becomes $NAME
//	lines NAME REGEXP   wait for a line that matches, which becomes $NAME
//	say NAME TEXT       write a line to its standard input
//	quiet NAME          end its standard input
//	end NAME            ask it to end (SIGTERM) and check that it does, with exit code 0
//	interrupt NAME      ask it to end (SIGINT)
//	crash NAME          kill it
//	ends NAME CODE      wait until it has ended with an exit code; stdout (what was not read) and stderr are its
//	code CODE ARG…      run "kindred ARG…" and check its exit code
//	until REGEXP ARG…   run "kindred ARG…" again and again until what it prints matches; with ! until it does not
//	field NAME PATH     $NAME becomes a field, such as error.code, of the last line of the last command's output, or
//	                    of its standard error if it has none
//	part NAME TEXT REGEXP  $NAME becomes what the first group of the expression matches
//	match TEXT REGEXP   check a text
//	alter NAME TEXT     $NAME becomes the text with one character in its middle changed
//	echo              start servers that send back what they are sent, at $TCP and $UDP
//	said ADDRESS NETWORK TEXT  check that a text sent to an address comes back, or does not
//	hold ADDRESS NETWORK TEXT  the same, and keep the connection
//	dropped           check that the connection kept is broken off
//	film              start an RTSP camera at $RTSP, which shows a test picture
//	bucket NAME       start an S3-like server with a bucket, at $bucket, and set credentials for it
//	telegrams FILE N    write N telegrams of a made-up household
//
// and $LATER, a day of the week that is not today; $NOON, a zone where the day is not over soon; and $PORT, for what leaves
// its port and comes back to it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			// A command must find no directory but those it is given, and hours must not depend on this machine. AT is
			// a moment as a person reads it: with its day if that is another one, as it is about midnight.
			env.Setenv("XDG_DATA_HOME", filepath.Join(env.WorkDir, "share"))
			env.Setenv("TZ", zone)
			env.Setenv("LATER", later(time.Now()))
			env.Setenv("NOON", noonAt(time.Now()))
			port, err := portApart()
			if err != nil {
				return err
			}
			env.Setenv("PORT", port)
			env.Setenv("AT", `([A-Z][a-z]+ [0-9]+ [A-Z][a-z]+ )?[0-9]+:[0-9]+`)
			env.Values[processes{}] = map[string]*process{}
			env.Values[connection{}] = map[string]net.Conn{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": start, "begin": begin, "line": line, "lines": lines, "say": say, "quiet": quiet, "end": end,
			"crash": crash, "interrupt": interrupt, "ends": ends, "code": code, "until": until, "field": field, "match": match, "part": part, "alter": alter, "telegrams": telegrams, "tones": tones,
			"bucket": bucket,
			"echo":   echoing, "said": said, "hold": hold, "dropped": dropped, "film": film,
		},
	})
}

const zone = "Europe/Berlin"

// later returns a day of the week that is neither today nor near.
func later(now time.Time) string {
	place, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	return strings.ToLower(now.In(place).AddDate(0, 0, 3).Weekday().String()[:3])
}

// noonAt returns a time zone in which it is about noon.
func noonAt(now time.Time) string { return fmt.Sprintf("Etc/GMT%+d", now.UTC().Hour()-12) } // +11 is west of Greenwich

// portApart returns a UDP port that nobody uses, and that is none of those that systems give to whoever asks for any.
func portApart() (port string, err error) {
	for range 100 {
		port = strconv.Itoa(20_000 + rand.IntN(10_000))
		var c net.PacketConn
		if c, err = net.ListenPacket("udp", ":"+port); err == nil {
			return port, c.Close()
		}
	}
	return "", err
}

// processes is the key of a script's value that holds what it runs beside itself: a map[string]*process.
type processes struct{}

type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // closed when standard output is
	err   *bytes.Buffer
	done  chan struct{} // closed when it has ended
	wait  sync.WaitGroup
}

// enough is how long a script waits for anything.
const enough = 30 * time.Second

func of(ts *testscript.TestScript, name string) *process {
	p, ok := ts.Value(processes{}).(map[string]*process)[name]
	if !ok {
		ts.Fatalf("no process is called %s", name)
	}
	return p
}

func begin(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: begin NAME ARG…")
	}
	bin, err := exec.LookPath("kindred")
	ts.Check(err)
	p := &process{cmd: exec.Command(bin, args[1:]...), lines: make(chan string, 10_000), err: &bytes.Buffer{}, done: make(chan struct{})}
	p.cmd.Dir = ts.MkAbs(".")
	p.cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("WORK"), "XDG_DATA_HOME=" + ts.Getenv("XDG_DATA_HOME"),
		"TZ=" + ts.Getenv("TZ"), "GOCOVERDIR=" + os.Getenv("GOCOVERDIR"),
		"AWS_ACCESS_KEY_ID=" + ts.Getenv("AWS_ACCESS_KEY_ID"), "AWS_SECRET_ACCESS_KEY=" + ts.Getenv("AWS_SECRET_ACCESS_KEY")}
	p.cmd.Stderr = p.err
	p.in, err = p.cmd.StdinPipe()
	ts.Check(err)
	out, err := p.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(p.cmd.Start())
	p.wait.Go(func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	})
	go func() { // ends with the process, which Defer sees to
		p.wait.Wait()
		_ = p.cmd.Wait() // the exit code is in ProcessState
		close(p.done)
	}()
	ts.Value(processes{}).(map[string]*process)[args[0]] = p
	ts.Defer(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.done
		if s := p.err.String(); s != "" {
			ts.Logf("[%s wrote]\n%s", args[0], s)
		}
	})
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	begin(ts, neg, args)
	line(ts, neg, args[:1])
}

func next(ts *testscript.TestScript, name string) string {
	select {
	case text, ok := <-of(ts, name).lines:
		if !ok {
			<-of(ts, name).done
			ts.Fatalf("%s ended: %s", name, of(ts, name).err)
		}
		ts.Logf("[%s] %s", name, text)
		return text
	case <-time.After(enough):
		ts.Fatalf("%s has nothing to say", name)
	}
	return ""
}

func line(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], next(ts, args[0]))
}

func lines(ts *testscript.TestScript, _ bool, args []string) {
	re := regexp.MustCompile(args[1])
	for {
		if text := next(ts, args[0]); re.MatchString(text) {
			ts.Setenv(args[0], text)
			return
		}
	}
}

func say(ts *testscript.TestScript, _ bool, args []string) {
	_, err := io.WriteString(of(ts, args[0]).in, strings.Join(args[1:], " ")+"\n")
	ts.Check(err)
}

func quiet(ts *testscript.TestScript, _ bool, args []string) { ts.Check(of(ts, args[0]).in.Close()) }

// over waits until a process has ended and returns its exit code.
func over(ts *testscript.TestScript, name string) int {
	select {
	case <-of(ts, name).done:
	case <-time.After(enough):
		ts.Fatalf("%s does not end; it wrote %s", name, of(ts, name).err)
	}
	return of(ts, name).cmd.ProcessState.ExitCode()
}

func end(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		ts.Check(of(ts, name).cmd.Process.Signal(syscall.SIGTERM))
		if code := over(ts, name); code != 0 {
			ts.Fatalf("%s ended with exit code %d: %s", name, code, of(ts, name).err)
		}
	}
}

func interrupt(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(of(ts, args[0]).cmd.Process.Signal(os.Interrupt))
}

func crash(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(of(ts, args[0]).cmd.Process.Kill())
	over(ts, args[0])
}

func ends(ts *testscript.TestScript, _ bool, args []string) {
	if got := over(ts, args[0]); strconv.Itoa(got) != args[1] {
		ts.Fatalf("%s ended with exit code %d: %s", args[0], got, of(ts, args[0]).err)
	}
	var rest []string
	for text := range of(ts, args[0]).lines {
		rest = append(rest, text+"\n")
	}
	_, err := io.WriteString(ts.Stdout(), strings.Join(rest, ""))
	ts.Check(err)
	_, err = ts.Stderr().Write(of(ts, args[0]).err.Bytes())
	ts.Check(err)
}

func code(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec("kindred", args[1:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	re := regexp.MustCompile("(?m)" + args[0])
	for deadline := time.Now().Add(enough); ; {
		if err := ts.Exec("kindred", args[1:]...); err != nil { // not yet
			ts.Logf("%v", err)
		}
		if re.MatchString(ts.ReadFile("stdout")) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("that it matches %q is %t to the end", args[0], neg)
		}
	}
}

func field(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.TrimSpace(ts.ReadFile("stdout"))
	if text == "" {
		text = strings.TrimSpace(ts.ReadFile("stderr"))
	}
	text = text[strings.LastIndexByte(text, '\n')+1:]
	if len(args) == 3 {
		text = args[2]
	}
	var v any
	ts.Check(json.Unmarshal([]byte(text), &v))
	for name := range strings.SplitSeq(args[1], ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			i, err := strconv.Atoi(name)
			ts.Check(err)
			v = in[i]
		default:
			ts.Fatalf("there is no %s in %s", args[1], text)
		}
	}
	if v == nil {
		ts.Fatalf("there is no %s in %s", args[1], text)
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

func match(ts *testscript.TestScript, neg bool, args []string) {
	if regexp.MustCompile(args[1]).MatchString(args[0]) == neg {
		ts.Fatalf("%q, and %q", args[0], args[1])
	}
}

func part(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile(args[2]).FindStringSubmatch(args[1])
	if len(found) < 2 {
		ts.Fatalf("%q, and %q", args[1], args[2])
	}
	ts.Setenv(args[0], found[1])
}

func alter(ts *testscript.TestScript, _ bool, args []string) {
	text := []byte(args[1])
	at := len(text) / 2
	if text[at]++; text[at] > 'y' || text[at] == ':' {
		text[at] = 'a'
	}
	ts.Setenv(args[0], string(text))
}

// bucket starts an S3-like server with a bucket and sets $bucket, and the credentials for it.
func bucket(ts *testscript.TestScript, _ bool, args []string) {
	backend := s3mem.New()
	ts.Check(backend.CreateBucket(context.Background(), args[0]))
	server := httptest.NewServer(gofakes3.New(backend, gofakes3.WithV4Auth(map[string]string{"KEYID": "SECRET"})).Server())
	ts.Defer(server.Close)
	ts.Setenv("bucket", "s3://"+args[0]+"?endpoint="+server.URL)
	ts.Setenv("AWS_ACCESS_KEY_ID", "KEYID")
	ts.Setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
}

// tones writes a WAV file of the tones of some keys of a telephone.
func tones(ts *testscript.TestScript, _ bool, args []string) {
	const rate = 8000
	keys, rows, columns := "123A456B789C*0#D", []float64{697, 770, 852, 941}, []float64{1209, 1336, 1477, 1633}
	s := doorbell.Sound{Rate: rate}
	for _, key := range args[1] {
		at := strings.IndexRune(keys, key)
		for i := range rate / 5 {
			v, t := 0.0, 2*math.Pi*float64(i)/rate
			if i < rate/8 {
				v = 8000*math.Sin(t*rows[at/4]) + 8000*math.Sin(t*columns[at%4])
			}
			s.Samples = append(s.Samples, int16(v))
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), s.WAV(), 0o600))
}

func telegrams(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	var out bytes.Buffer
	for r := range p1.Simulate(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), 7, 10*time.Second) {
		out.Write(p1.Encode(r))
		if n--; n == 0 {
			break
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out.Bytes(), 0o600))
}
