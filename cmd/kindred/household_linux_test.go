package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/netlab/netlabtest"
	"github.com/kindred-iot/kindred/peer"
)

// A household is a tree whose members are processes of the real command on hosts of a lab. Each has a directory, which
// is carried along when its machine is on another network.
type household struct {
	t       *testing.T
	program string
	dir     string
	at      *netlabtest.Host // where its gateway and the owner's laptop are
	tree    string           // its ID
}

// built makes the command as "make build" does, once. The test's own binary, with the race detector in it, would take a
// second for each command.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "kindred-test-")
	if err != nil {
		return "", err
	}
	leftovers = append(leftovers, dir)
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building kindred: %w\n%s", err, out)
	}
	return filepath.Join(dir, "kindred"), nil
})

// newHousehold makes a tree, and starts its gateway on a host.
func newHousehold(t *testing.T, at *netlabtest.Host, up ...string) *household {
	t.Helper()
	h := foundHousehold(t, at)
	h.up(up...)
	return h
}

// foundHousehold makes a tree on a host, with owner sam and their laptop.
func foundHousehold(t *testing.T, at *netlabtest.Host) *household {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	h := &household{t: t, program: program, dir: t.TempDir(), at: at}
	h.done(h.run(at, "laptop", "init", "Birch Street", "--owner", "sam", "--app", "laptop", "--tz", zone))
	return h
}

// args are a command in a member's name.
func (h *household) args(who string, args []string) []string {
	return append([]string{"--dir", filepath.Join(h.dir, who), "--json"}, args...)
}

// run runs a command in a member's name, on a host.
func (h *household) run(at *netlabtest.Host, who string, args ...string) netlabtest.Result {
	h.t.Helper()
	return at.Run(h.program, h.args(who, args)...)
}

// start starts a command in a member's name, on a host.
func (h *household) start(at *netlabtest.Host, who string, args ...string) *netlabtest.Process {
	h.t.Helper()
	return at.Start(h.program, h.args(who, args)...)
}

// done checks that a command succeeded, and returns what it printed.
func (h *household) done(r netlabtest.Result) string {
	h.t.Helper()
	if r.Code != exitDone {
		h.t.Fatalf("exit code %d: %s", r.Code, r.Err)
	}
	return strings.TrimSpace(r.Out)
}

// read decodes a line of JSON.
func read[T any](t *testing.T, line string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &v); err != nil {
		t.Fatalf("%v in %q", err, line)
	}
	return v
}

// up starts the gateway and waits until it serves.
func (h *household) up(args ...string) *netlabtest.Process {
	h.t.Helper()
	p := h.start(h.at, "laptop", append([]string{"up"}, args...)...)
	h.tree = read[ready](h.t, p.Line()).Tree
	return p
}

// joins are lines that "add" and "join" print.
type joins struct {
	Invitation, Digits, Joined string
	Confirm                    struct{ Digits string }
}

// join lets a member in, whose machine is on a host.
func (h *household) join(at *netlabtest.Host, who, kind, path string, options ...string) {
	h.t.Helper()
	host := h.start(h.at, "laptop", append([]string{"add", kind, path}, options...)...)
	guest := h.start(at, who, "join", read[joins](h.t, host.Line()).Invitation)
	theirs, mine := read[joins](h.t, guest.Line()), read[joins](h.t, host.Line())
	if mine.Confirm.Digits != "" {
		if theirs.Digits != mine.Confirm.Digits {
			h.t.Fatalf("%s shows the digits %q, the laptop %q", path, theirs.Digits, mine.Confirm.Digits)
		}
		host.Say("yes")
	}
	if a, b := guest.End(), host.End(); a != exitDone || b != exitDone {
		h.t.Fatalf("joining %s: exit codes %d and %d: %s%s", path, a, b, guest.Said(), host.Said())
	}
}

// device lets a device in and starts it as a ready-made thing.
func (h *household) device(at *netlabtest.Host, who, path string, args ...string) *netlabtest.Process {
	h.t.Helper()
	h.join(at, who, "device", path)
	return h.serve(at, who, args...)
}

// serve starts a device that has joined, and waits until it serves.
func (h *household) serve(at *netlabtest.Host, who string, args ...string) *netlabtest.Process {
	h.t.Helper()
	p := h.start(at, who, append([]string{"device"}, args...)...)
	read[ready](h.t, p.Line())
	return p
}

// way tells which way a member reaches another.
func (h *household) way(at *netlabtest.Host, who, path string) way {
	h.t.Helper()
	r := h.run(at, who, "status", "--peer", path)
	return read[way](h.t, h.done(r))
}

// reaches checks which kind of way leads a member to another, and to which host.
func (h *household) reaches(at *netlabtest.Host, who, path, kind string, to *netlabtest.Host) way {
	h.t.Helper()
	w := h.way(at, who, path)
	family := "ip4"
	if to.Addr().Is6() {
		family = "ip6"
	}
	if !strings.HasPrefix(w.Address, "/"+family+"/"+to.Addr().String()+"/") || w.Kind != kind {
		h.t.Errorf("%s reaches %s as %s at %s, not as %s at %s", who, path, w.Kind, w.Address, kind, to.Addr())
	}
	return w
}

// reads is reaches for a lock, whose state is read too.
func (h *household) reads(at *netlabtest.Host, who, path, kind string, to *netlabtest.Host) way {
	h.t.Helper()
	r := h.run(at, who, "get", path, "state")
	if got := h.done(r); got != `"locked"` && got != `"unlocked"` {
		h.t.Errorf("the state of %s is %s", path, got)
	}
	h.t.Logf("%s read %s from %s in %v", who, path, at.Name, r.Took)
	return h.reaches(at, who, path, kind, to)
}

// pictures is a folder with the one picture that the camera shows, and picture is that: noise in the form of a JPEG.
func (h *household) pictures() string {
	h.t.Helper()
	folder := filepath.Join(h.dir, "pictures")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "porch.jpg"), h.picture(), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return folder
}

func (h *household) picture() []byte {
	h.t.Helper()
	noise := image.NewGray(image.Rect(0, 0, 320, 240))
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range noise.Pix {
		noise.Pix[i] = byte(rnd.Uint32())
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, noise, nil); err != nil {
		h.t.Fatal(err)
	}
	return b.Bytes()
}

// secrets are what nobody outside the household may see: what is said, and what the household could be known by.
func (h *household) secrets() map[string][]byte {
	h.t.Helper()
	tree, err := identity.ParseTreeID(h.tree)
	if err != nil {
		h.t.Fatal(err)
	}
	secrets := map[string][]byte{
		"the picture": h.picture(), "a property's value": []byte(`"unlocked"`), "the home's name": []byte("Birch Street"),
		"the tree's ID": []byte(h.tree), "the tree's ID in bytes": tree[:], "the protocol": []byte("kindred"),
	}
	for _, path := range []string{"home/porch-camera", "home/frontdoor", "sam/telephone", "/properties/", "porch-camera", "frontdoor", "telephone"} {
		secrets["the path "+path] = []byte(path)
	}
	n, err := kindred.Open(h.t.Context(), kindred.Config{Dir: filepath.Join(h.dir, "phone")})
	if err != nil {
		h.t.Fatal(err)
	}
	defer n.Close()
	chains := []identity.Chain{n.Self()}
	for _, p := range []identity.Path{"home/porch-camera", "home/frontdoor"} { // which the phone has used, and so knows
		c, err := n.Resolve(h.t.Context(), p)
		if err != nil {
			h.t.Fatal(err)
		}
		chains = append(chains, c.Chain)
	}
	for _, c := range chains {
		for _, link := range c.Line {
			secrets["the member ID of "+link.Name] = link.Member[:]
			secrets["the member ID in letters of "+link.Name] = []byte(link.Member.String())
		}
		for i, der := range c.Raw {
			secrets[fmt.Sprintf("certificate %d of %s", i, c.ID.Path)] = der
		}
		name, err := peer.WithKey("", c.Key)
		if err != nil {
			h.t.Fatal(err)
		}
		secrets["the key's name of "+string(c.ID.Path)] = []byte(strings.TrimPrefix(name, "/p2p/"))
	}
	return secrets
}

// nothingIn checks that a capture holds none of the household's secrets, neither as it is nor in what callers say before
// they have agreed on keys; and that it is one in which something is to be found.
func (h *household) nothingIn(c *netlabtest.Capture) {
	h.t.Helper()
	hellos := c.Hellos()
	saidIn := func(secret []byte) bool {
		return slices.ContainsFunc(hellos, func(hello []byte) bool { return bytes.Contains(hello, secret) })
	}
	if !saidIn([]byte("libp2p")) { // the protocol within TLS, in every ClientHello
		h.t.Errorf("%d hellos, and none is one of TLS", len(hellos))
	}
	secrets := h.secrets()
	for what, secret := range secrets {
		if c.Holds(secret) || saidIn(secret) {
			h.t.Errorf("the network saw %s", what)
		}
	}
	h.t.Logf("%d bytes and %d hellos searched for %d secrets", c.Size(), len(hellos), len(secrets))
}
