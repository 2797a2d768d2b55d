package vault

import (
	"bufio"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
)

// In the environment, this makes a test that kills its own binary be the victim.
const victimEnv = "KINDRED_TEST_VAULT_VICTIM" // folder, recipient, key, certificates; base64 where it is bytes

// victim, if this process is the victim, records until it is killed, and prints what was acknowledged.
func victim(t *testing.T) {
	text, ok := os.LookupEnv(victimEnv)
	if !ok {
		return
	}
	parts := strings.Fields(text)
	to, err := ParseRecipient(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var raw [][]byte
	for _, part := range parts[2:] {
		data, err := base64.StdEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, data)
	}
	root, err := x509.ParseCertificate(raw[len(raw)-1])
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.TreeIDOf(root.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := identity.Verify(raw[1:len(raw)-1], id, root, noon)
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenDir(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	r := NewRecorder(s, ed25519.NewKeyFromSeed(raw[0]), chain, func() time.Time { return noon })
	for i := 0; ; i++ {
		rec := recording(i%600, strings.Repeat(fmt.Sprintf("%d of %d ", i, os.Getpid()), 2000))
		rec.Title = fmt.Sprintf("%d-%d", os.Getpid(), i)
		if err := r.Record(t.Context(), rec, []Recipient{to}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("ok", rec.Title)
	}
}

// A process that records is killed again and again, wherever it is: all that was acknowledged is there and whole, and
// nothing of what was not makes trouble.
func TestKill(t *testing.T) {
	victim(t)
	h := newHouse(t)
	folder := t.TempDir()
	args := []string{folder, h.sam.Recipient().String(), base64.StdEncoding.EncodeToString(h.cam.Signer.(ed25519.PrivateKey).Seed())}
	for _, der := range append(append([][]byte{}, h.cam.Raw...), h.Root.Raw) {
		args = append(args, base64.StdEncoding.EncodeToString(der))
	}
	acknowledged := map[string]bool{}
	for round := range 8 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=60s")
		cmd.Env = append(os.Environ(), victimEnv+"="+strings.Join(args, " "))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		n := 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			title, ok := strings.CutPrefix(lines.Text(), "ok ")
			if !ok {
				t.Fatalf("the victim printed %q", lines.Text())
			}
			acknowledged[title] = true
			if n++; n == round+1 {
				time.AfterFunc(time.Duration(round)*700*time.Microsecond, func() { cmd.Process.Kill() })
			}
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("the victim ended: %v", err)
		}
	}
	s, err := OpenDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	reader := h.reader(s, h.sam)
	shelf, err := reader.Of(t.Context(), h.cam.Member(), time.Time{})
	if err != nil || len(shelf.Damaged) != 0 || shelf.Others != 0 {
		t.Fatalf("damaged %v, %d for others, %v", shelf.Damaged, shelf.Others, err)
	}
	for _, f := range shelf.Found {
		if _, err := reader.Open(t.Context(), f); err != nil {
			t.Errorf("%s is listed: %v", f.Title, err)
		}
		delete(acknowledged, f.Title)
	}
	if len(shelf.Found) < 8 || len(acknowledged) != 0 {
		t.Errorf("%d found; acknowledged and not found: %v", len(shelf.Found), acknowledged)
	}
}
