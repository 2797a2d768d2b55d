package kindred_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/kindred-iot/kindred"

// mayImport is the table of doc/arch.md: which of Kindred's packages each package may import, besides kits for tests.
// The root package is ".".
var mayImport = map[string][]string{
	"identity":        {},
	"signed":          {"identity"},
	"merkle":          {},
	"tree":            {"identity", "signed", "merkle"},
	"ledger":          {"identity", "signed", "merkle", "tree"},
	"ledger/light":    {"ledger", "merkle"},
	"ledger/chain":    {"ledger", "ledger/light", "merkle"},
	"credential":      {"identity", "signed", "merkle", "tree", "ledger", "ledger/light"},
	"grant":           {"identity", "signed", "tree", "credential"},
	"agreement":       {"identity", "signed", "tree", "grant"},
	"journal":         {"identity", "signed"},
	"portmap":         {},
	"peer":            {"identity", "portmap"},
	"relay":           {"identity", "peer"},
	"pairing":         {"identity", "signed", "credential"},
	"control":         {"identity", "tree", "credential", "grant", "agreement", "journal", "pairing"},
	"keeper":          {"identity", "signed", "merkle", "tree", "ledger", "ledger/light", "credential", "grant", "agreement"},
	"store":           {},
	"vault":           {"identity", "signed"},
	"tunnel":          {},
	"thing":           {"tunnel"},
	"meter/p1":        {},
	"device/p1meter":  {"thing", "meter/p1"},
	"device/camera":   {"thing"},
	"device/lock":     {"thing"},
	"device/car":      {"thing"},
	"device/doorbell": {"thing"},
	"device/speech":   {},
	".": {"identity", "signed", "merkle", "tree", "ledger", "ledger/light", "credential", "grant", "agreement", "journal", "peer",
		"pairing", "relay", "control", "store", "thing", "vault"},
	"gateway": {".", "identity", "signed", "merkle", "tree", "ledger", "ledger/light", "ledger/chain", "credential",
		"grant", "agreement", "journal", "peer", "pairing", "control", "keeper", "store", "thing"},
	"netlab": {},
	"demo":   {"netlab", "meter/p1"},
	"cmd/kindred": {".", "gateway", "tunnel", "device/p1meter", "device/camera", "device/lock", "device/car", "device/doorbell", "device/speech", "demo", "control", "identity", "tree",
		"credential", "grant", "agreement", "journal", "pairing", "peer", "relay", "store", "thing", "vault", "meter/p1"},
	"examples/thermometer": {".", "thing"},
	"examples/reader":      {".", "identity", "thing"},
}

// fences say which packages alone may import what is outside.
var fences = []struct {
	path string
	only []string
}{
	{"github.com/veraison/go-cose", []string{"signed"}},
	{"github.com/fxamacker/cbor", []string{"signed"}},
	{"github.com/cometbft/cometbft/node", []string{"ledger/chain"}},
	{"github.com/cometbft/", []string{"ledger/chain", "ledger/light"}},
	{"github.com/cedar-policy/", []string{"grant"}},
	{"github.com/libp2p/go-netroute", []string{"portmap"}},
	{"github.com/libp2p/go-libp2p", []string{"peer"}},
	{"github.com/libp2p/", []string{"peer", "portmap"}},
	{"github.com/quic-go/", []string{"peer"}},
	{"filippo.io/age", []string{"vault"}},
	{"modernc.org/sqlite", []string{"store"}},
	{"github.com/spf13/cobra", []string{"cmd/kindred"}},
	{"gopkg.in/yaml.v3", []string{"cmd/kindred"}},
	{"testing", nil},
}

// lightMayImport is all of CometBFT that a verifier links.
var lightMayImport = []string{"github.com/cometbft/cometbft/proto/", "github.com/cometbft/cometbft/crypto"}

type goPackage struct {
	ImportPath string
	Imports    []string
	GoFiles    []string
}

func packages(t *testing.T) map[string]goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,GoFiles", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]goPackage{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 {
			found[local(p.ImportPath)] = p
		}
	}
}

func local(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

// kit reports whether a package is a kit for tests: the subject's name and "test".
func kit(name string) bool { return strings.HasSuffix(name, "test") }

func TestImports(t *testing.T) {
	found := packages(t)
	for name, p := range found {
		if kit(name) {
			continue
		}
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("package %s is not in the table of arch_test.go and doc/arch.md", name)
		}
		for _, path := range p.Imports {
			if local(path) != path && !slices.Contains(allowed, local(path)) {
				t.Errorf("%s imports %s, which the table does not allow", name, local(path))
			}
		}
	}
	for name := range mayImport {
		if _, ok := found[name]; !ok {
			t.Errorf("the table has %s, and there is no such package", name)
		}
	}
}

func TestFences(t *testing.T) {
	for name, p := range packages(t) {
		if kit(name) {
			continue
		}
		for _, path := range p.Imports {
			for _, f := range fences {
				if strings.HasPrefix(path, f.path) && !slices.Contains(f.only, name) {
					t.Errorf("%s imports %s, which only %v may", name, path, f.only)
				}
			}
			if name == "ledger/light" && strings.HasPrefix(path, "github.com/cometbft/") &&
				!slices.ContainsFunc(lightMayImport, func(prefix string) bool { return strings.HasPrefix(path, prefix) }) {
				t.Errorf("%s imports %s: a verifier links no node", name, path)
			}
		}
	}
}

// Names that say nothing, and packages nobody described.
func TestPackages(t *testing.T) {
	for name := range packages(t) {
		for _, part := range strings.Split(name, "/") {
			if slices.Contains([]string{"utils", "util", "common", "pkg", "helpers", "internal", "misc"}, part) {
				t.Errorf("package %s: %q says nothing about what is in it", name, part)
			}
		}
		out, err := exec.Command("go", "list", "-f", "{{.Doc}}", "./"+name).Output()
		if err != nil || len(bytes.TrimSpace(out)) == 0 {
			t.Errorf("package %s has no package comment (%v)", name, err)
		}
	}
}

// documented is the table of doc/arch.md: a row is a package, what it holds, what it may import, and what only it may.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile("doc/arch.md")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string][]string{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		name := strings.Trim(cells[1], " `")
		if strings.TrimSpace(cells[2]) == "" {
			t.Errorf("doc/arch.md does not say what %s holds", name)
		}
		table[name] = []string{}
		for _, imported := range strings.Split(cells[3], ",") {
			if imported = strings.TrimSpace(imported); imported != "none" {
				table[name] = append(table[name], imported)
			}
		}
	}
	return table
}

func TestTable(t *testing.T) {
	table := documented(t)
	for name, allowed := range mayImport {
		told, ok := table[name]
		if !ok {
			t.Errorf("doc/arch.md has no row for %s", name)
			continue
		}
		if want, got := slices.Sorted(slices.Values(allowed)), slices.Sorted(slices.Values(told)); !slices.Equal(want, got) {
			t.Errorf("doc/arch.md says that %s may import %q, arch_test.go %q", name, got, want)
		}
	}
	for name := range table {
		if _, ok := mayImport[name]; !ok {
			t.Errorf("doc/arch.md has a row for %s, arch_test.go has none", name)
		}
	}
}
