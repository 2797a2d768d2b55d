package main_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

func build(t *testing.T) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "reader")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// A guest's app reads what was shared with the guest, and is told why when it may not.
func TestReader(t *testing.T) {
	program, h := build(t), gatewaytest.New(t)
	laptop := h.Open("laptop")
	door := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(door, lock.New().Thing())
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	if err := anna.Close(); err != nil {
		t.Fatal(err)
	}
	read := func(property string) (out, told string, err error) {
		var stdout, stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), program, h.Path("annaphone"), "home/lock", property)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err = cmd.Run()
		return stdout.String(), stderr.String(), err
	}

	if out, told, err := read("state"); err == nil || out != "" || told == "" {
		t.Errorf("without a right it read %q, and told %q", out, told)
	}
	h.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.See})
	if out, told, err := read("state"); err != nil || out != `"locked"` {
		t.Errorf("it read %q (%v), and told %q", out, err, told)
	}
	if out, told, err := read("door"); err == nil || out != "" || !strings.Contains(told, `"door"`) {
		t.Errorf("of what there is not it read %q, and told %q", out, told)
	}
}

// The program is as short as it is said to be.
func TestShort(t *testing.T) {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, "main.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			lines += files.Position(fn.Body.Rbrace).Line - files.Position(fn.Body.Lbrace).Line - 1
		}
	}
	if lines == 0 || lines >= 20 {
		t.Errorf("its functions have %d lines", lines)
	}
}
