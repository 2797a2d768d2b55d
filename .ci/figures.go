// Command figures passes on what "go test -bench" and measure print, after a line on the machine, and ends with two
// tables, of the figures that were promised and of those that are held to a bound of our own: of each the median of what
// was measured.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// A figure is a bound on what a benchmark measures.
type figure struct {
	what           string
	pkg, benchmark string // the last of the import path; the name without "Benchmark"
	unit           string // as the benchmark reports it
	scale          float64
	bound          float64 // at most
	in             string  // the unit once scaled
	least          bool    // bound is at least
}

// promised is what those who use it were promised.
var promised = []figure{
	{"gateway up, from the binary", "binary", "Up", "s/up", 1, 2, "s", false},
	{"the whole story", "binary", "Story", "s/story", 1, 45, "s", false},
	{"hello of a device three levels down", "credential", "Hello/cold/short", "bytes", 1, 4096, "bytes", false},
	{"verifying it", "credential", "Hello/cold/short", "ns/op", 1e-6, 0.7, "ms", false},
	{"unshare to the stream's end, p99", "kindred", "Unshare", "ms/p99", 1, 300, "ms", false},
	{"decision with 10 grants in the home, p50", "grant", "DecideAmong/grants-10", "ns/p50", 1e-3, 15, "µs", false},
	{"with 1,000", "grant", "DecideAmong/grants-1000", "ns/p50", 1e-3, 15, "µs", false},
	{"with 100,000", "grant", "DecideAmong/grants-100000", "ns/p50", 1e-3, 15, "µs", false},
	{"an app removed from 1,000 devices, last cut, p99", "gateway", "Remove/1000", "s/cut-p99", 1, 2, "s", false},
	{"evidence with a chain of three grants, judged cold", "grant", "Judge/links-3", "ns/op", 1e-6, 2, "ms", false},
	{"idle gateway with ledger, resident", "binary", "Idle", "MB-resident", 1, 90, "MB", false},
	{"idle gateway with ledger, processor", "binary", "Idle", "%core", 1, 1, "% of a core", false},
	{"binary", "binary", "Binary", "bytes", 1e-6, 50, "MB", false},
	{"first answer, to net/http with mutual TLS", "kindred", "FirstAnswer", "ratio", 1, 2, "times", false},
	{"get, from start to answer", "binary", "Get", "ms/get", 1, 250, "ms", false},
	{"warm requests in one process, QUIC, 1 at once, to net/http", "kindred", "Warm/QUIC/1", "ratio", 1, 0.6, "times", true},
	{"the same, 16 at once", "kindred", "Warm/QUIC/16", "ratio", 1, 0.8, "times", true},
	{"warm requests in one process, TCP, 1 at once", "kindred", "Warm/TCP/1", "ratio", 1, 0.8, "times", true},
	{"the same, 16 at once", "kindred", "Warm/TCP/16", "ratio", 1, 0.95, "times", true},
	{"warm requests between two processes, QUIC, 1 at once", "kindred", "WarmApart/QUIC/1", "ratio", 1, 0.6, "times", true},
	{"the same, 16 at once", "kindred", "WarmApart/QUIC/16", "ratio", 1, 0.8, "times", true},
	{"warm requests between two processes, TCP, 1 at once", "kindred", "WarmApart/TCP/1", "ratio", 1, 0.8, "times", true},
	{"the same, 16 at once", "kindred", "WarmApart/TCP/16", "ratio", 1, 0.95, "times", true},
	{"bulk down, QUIC, to quic-go alone", "peer", "Bulk/down", "ratio-quic-go", 1, 0.95, "times", true},
	{"bulk up", "peer", "Bulk/up", "ratio-quic-go", 1, 0.95, "times", true},
	{"first answer of one 75 ms away, on QUIC", "kindred", "FarAnswer", "RTT/QUIC", 1, 2.1, "round trips", false},
	{"one of 1,000 idle connections, on QUIC", "peer", "Connections/idle/QUIC", "kB/connection", 1, 90, "kB", false},
	{"one of 1,000 idle connections, on TCP", "peer", "Connections/idle/TCP", "kB/connection", 1, 90, "kB", false},
	{"bulk, QUIC, to Nebula", "peer", "AgainstNebula", "QUIC/Nebula", 1, 1, "times", true},
	{"bulk, TCP, to Nebula", "peer", "AgainstNebula", "TCP/Nebula", 1, 1, "times", true},
	{"first byte through a relay", "peer", "RelayFirst", "ms/first", 1, 100, "ms", false},
	{"the same, between two homes behind cone NATs", "peer", "Cones", "ms/first", 1, 100, "ms", false},
	{"a direct connection between them, after the relayed one", "peer", "Cones", "ms/direct", 1, 500, "ms", false},
	{"a router's address changed, noticed", "peer", "AddressChange", "s/noticed", 1, 3, "s", false},
	{"a router's address changed, healed", "peer", "AddressChange", "s/healed", 1, 5, "s", false},
}

// own was promised to nobody: bounds that we set after measuring, with room to spare, so that it is noticed when something
// gets much worse.
var own = []figure{
	{"decision with 100,000 grants in the home, p99", "grant", "DecideAmong/grants-100000", "ns/p99", 1e-3, 100, "µs", false},
	{"with 1,000, how many times longer OPA takes", "compare", "Against/opa/grants-1000", "ratio", 1, 1, "times", true},
	{"the same, casbin", "compare", "Against/casbin/grants-1000", "ratio", 1, 1, "times", true},
	{"the same, Cedar alone", "compare", "Against/cedar/grants-1000", "ratio", 1, 1, "times", true},
	{"actions a second, on disk and countersigned", "kindred", "Actions/1", "countersigned/s", 1, 50, "a second", true},
	{"journal of a million entries, on disk", "journal", "Million", "bytes/entry", 1, 400, "bytes each", false},
	{"proving one of them", "journal", "Million", "µs/proof", 1e-3, 1, "ms", false},
	{"verifying all", "journal", "Million", "s/all", 1, 15, "s", false},
	{"1 MB sealed to 10, to age with X25519", "vault", "Megabyte/seal/10", "ratio", 1, 2, "times", false},
	{"the same, to 100", "vault", "Megabyte/seal/100", "ratio", 1, 2, "times", false},
	{"opened by one of 10", "vault", "Megabyte/open/10", "ratio", 1, 2, "times", false},
	{"by one of 100", "vault", "Megabyte/open/100", "ratio", 1, 2, "times", false},
}

func main() {
	fmt.Println(machine())
	measured := map[string][]float64{}
	pkg, failed := "", false
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadString('\n')
		fmt.Print(line)
		fields := strings.Fields(line)
		switch {
		case len(fields) > 1 && fields[0] == "pkg:":
			pkg = fields[1][strings.LastIndexByte(fields[1], '/')+1:]
		case len(fields) > 3 && strings.HasPrefix(fields[0], "Benchmark"):
			for i := 2; i+1 < len(fields); i += 2 {
				if value, err := strconv.ParseFloat(fields[i], 64); err == nil {
					key := pkg + " " + strings.TrimPrefix(fields[0], "Benchmark") + " " + fields[i+1]
					measured[key] = append(measured[key], value)
				}
			}
		case len(fields) > 0 && (fields[0] == "FAIL" || fields[0] == "---" && fields[1] == "FAIL:"):
			failed = true
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "figures:", err)
			os.Exit(1)
		}
	}
	table("promised", promised, measured)
	table("bound of ours", own, measured)
	if failed {
		os.Exit(1)
	}
}

// table tells what came of figures, and how many of them were not measured.
func table(bound string, figures []figure, measured map[string][]float64) {
	fmt.Printf("\n%-60s %17s %14s\n", "figure", bound, "measured")
	missing := 0
	for _, f := range figures {
		value, ok := f.median(measured)
		if !ok {
			missing++
		}
		fmt.Println(f.row(value, ok))
	}
	if missing > 0 {
		fmt.Printf("%d of %d not measured: they failed, were skipped or were not run\n", missing, len(figures))
	}
}

// median returns what was measured, in the figure's unit.
func (f figure) median(measured map[string][]float64) (value float64, ok bool) {
	var values []float64
	for key, found := range measured {
		fields := strings.Fields(key) // package, name, unit
		if fields[0] == f.pkg && fields[2] == f.unit && f.names(fields[1]) {
			values = append(values, found...)
		}
	}
	if len(values) == 0 {
		return 0, false
	}
	slices.Sort(values)
	return values[len(values)/2] * f.scale, true
}

// row tells what came of a figure, if it was measured.
func (f figure) row(value float64, ok bool) string {
	than := "≤"
	if f.least {
		than = "≥"
	}
	row := fmt.Sprintf("%-60s %17s", f.what, fmt.Sprintf("%s %.4g %s", than, f.bound, f.in))
	if !ok {
		return row + "   not measured"
	}
	row += fmt.Sprintf(" %14s", fmt.Sprintf("%.4g %s", value, f.in))
	if !f.least && value > f.bound || f.least && value < f.bound {
		row += "  MISSED"
	}
	return row
}

// names reports whether a benchmark is the one of the figure; go test adds the number of processors.
func (f figure) names(benchmark string) bool {
	rest, ok := strings.CutPrefix(benchmark, f.benchmark)
	if ok && rest != "" {
		_, err := strconv.Atoi(strings.TrimPrefix(rest, "-"))
		ok = rest[0] == '-' && err == nil
	}
	return ok
}

// machine tells what it was measured on, and what else that was doing.
func machine() string {
	model, load := runtime.GOARCH, "unknown"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(info) {
			if name, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	if average, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = strings.Join(strings.Fields(string(average))[:3], " ")
	}
	return fmt.Sprintf("machine: %s, %d processors, load %s, %s %s/%s", model, runtime.NumCPU(), load, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
