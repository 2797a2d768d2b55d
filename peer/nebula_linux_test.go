package peer

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// bulkEnv tells the process that it is one end of a comparison of bulk transfers, in JSON.
const bulkEnv = "KINDRED_TEST_BULK"

const (
	bulkBytes  = 64 << 20
	bulkRounds = 5
	plainPort  = "8080"
	underlay   = "10.99.0." // on the veth pair, .1 serves and .2 loads
	overlay    = "192.168.100."
)

// A bulkOrder is what bulkEnv has: Key and Addresses of the one who serves, for the one who loads.
type bulkOrder struct {
	Key       string
	Addresses []string
}

func init() {
	raw := os.Getenv(bulkEnv)
	if raw == "" {
		return
	}
	var order bulkOrder
	err := json.Unmarshal([]byte(raw), &order)
	switch {
	case err != nil:
	case order.Key == "":
		err = serveBulk()
	default:
		err = loadBulk(order)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serveBulk serves to Kindred's callers and, in plain HTTP, to everybody, until its standard input ends.
func serveBulk() error {
	data := make([]byte, bulkBytes)
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(data) })
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	everybody := func(context.Context, crypto.PublicKey, []byte) (Admission, error) { return Admission{}, nil }
	h, err := New(Config{Key: key, Listen: []string{underlay + "1:0"}, Admit: everybody, Handler: serve})
	if err != nil {
		return err
	}
	defer h.Close()
	go http.ListenAndServe(":"+plainPort, serve)
	err = json.NewEncoder(os.Stdout).Encode(bulkOrder{hex.EncodeToString(key.Public().(ed25519.PublicKey)), h.Addresses()})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// loadBulk loads by every way, taking turns, and prints the median of each in MB/s.
func loadBulk(order bulkOrder) error {
	key, err := hex.DecodeString(order.Key)
	if err != nil {
		return err
	}
	rates := map[string][]float64{}
	for range bulkRounds {
		for _, way := range []string{"QUIC", "TCP", "Nebula", "plain"} {
			client, url := http.DefaultClient, "http://"+overlay+"1:"+plainPort
			switch way {
			case "plain":
				url = "http://" + underlay + "1:" + plainPort
			case "QUIC", "TCP":
				mark := map[string]string{"QUIC": "/quic-v1", "TCP": "/tcp/"}[way]
				i := slices.IndexFunc(order.Addresses, func(a string) bool { return strings.Contains(a, mark) })
				_, own, err := ed25519.GenerateKey(nil)
				if err != nil {
					return err
				}
				h, err := New(Config{Key: own, Listen: []string{}})
				if err != nil {
					return err
				}
				defer h.Close()
				client = &http.Client{Transport: h.Transport(func(context.Context, string) (Target, error) {
					return Target{Key: ed25519.PublicKey(key), Addresses: order.Addresses[i : i+1]}, nil
				})}
				url = "kindred://server/"
			}
			rate, err := load(client, url)
			if err != nil {
				return fmt.Errorf("%s: %w", way, err)
			}
			rates[way] = append(rates[way], rate)
		}
	}
	medians := map[string]float64{}
	for way, all := range rates {
		slices.Sort(all)
		medians[way] = all[len(all)/2]
	}
	return json.NewEncoder(os.Stdout).Encode(medians)
}

// load waits for the first byte and measures the rest.
func load(client *http.Client, url string) (float64, error) {
	resp, err := client.Get(url)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
		return 0, err
	}
	began := time.Now()
	n, err := io.Copy(io.Discard, resp.Body)
	return float64(n) / 1e6 / time.Since(began).Seconds(), err
}

// BenchmarkAgainstNebula compares bulk through Kindred with bulk through Nebula, an overlay network, on the same pair of
// interfaces between two network namespaces: what Nebula carries is plain HTTP. It needs root, ip and Debian's nebula.
func BenchmarkAgainstNebula(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("network namespaces are made by root")
	}
	for _, tool := range []string{"ip", "nebula", "nebula-cert"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skipf("%s is not here (apt-get install iproute2 nebula)", tool)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		b.Skip("no /dev/net/tun, which Nebula needs")
	}
	var medians map[string]float64
	for b.Loop() {
		medians = againstNebula(b)
	}
	for way, rate := range medians {
		b.ReportMetric(rate, "MB/s-"+way)
	}
	b.ReportMetric(medians["QUIC"]/medians["Nebula"], "QUIC/Nebula")
	b.ReportMetric(medians["TCP"]/medians["Nebula"], "TCP/Nebula")
	b.ReportMetric(0, "ns/op")
}

func againstNebula(b *testing.B) (medians map[string]float64) {
	run := func(name string, args ...string) {
		b.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			b.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
	}
	dir := b.TempDir()
	run("nebula-cert", "ca", "-name", "bench", "-out-crt", dir+"/ca.crt", "-out-key", dir+"/ca.key")
	var spaces [2]string
	for i := range spaces {
		spaces[i] = fmt.Sprintf("kindred-bulk-%d-%d", os.Getpid(), i+1)
		run("ip", "netns", "add", spaces[i])
		b.Cleanup(func() { exec.Command("ip", "netns", "del", spaces[i]).Run() })
	}
	run("ip", "link", "add", "bulk", "netns", spaces[0], "type", "veth", "peer", "name", "bulk", "netns", spaces[1])
	for i, space := range spaces {
		run("ip", "-n", space, "address", "add", fmt.Sprintf("%s%d/24", underlay, i+1), "dev", "bulk")
		run("ip", "-n", space, "link", "set", "bulk", "up")
		run("ip", "-n", space, "link", "set", "lo", "up")
		name := fmt.Sprintf("%s/%d", dir, i+1)
		run("nebula-cert", "sign", "-name", fmt.Sprint(i+1), "-ip", fmt.Sprintf("%s%d/24", overlay, i+1),
			"-ca-crt", dir+"/ca.crt", "-ca-key", dir+"/ca.key", "-out-crt", name+".crt", "-out-key", name+".key")
		hosts := ""
		if i > 0 {
			hosts = `"` + overlay + `1"`
		}
		config := fmt.Sprintf(`pki: {ca: %s/ca.crt, cert: %s.crt, key: %s.key}
static_host_map: {"%s1": ["%s1:4242"]}
lighthouse: {am_lighthouse: %t, hosts: [%s]}
listen: {host: 0.0.0.0, port: 4242}
tun: {dev: nebula}
firewall:
  outbound: [{port: any, proto: any, host: any}]
  inbound: [{port: any, proto: any, host: any}]
`, dir, name, name, overlay, underlay, i == 0, hosts)
		path := filepath.Join(dir, fmt.Sprint(i+1, ".yaml"))
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			b.Fatal(err)
		}
		nebula := exec.Command("ip", "netns", "exec", space, "nebula", "-config", path)
		if err := nebula.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			nebula.Process.Signal(os.Interrupt)
			nebula.Wait()
		})
	}
	inside := func(space string, order bulkOrder) *exec.Cmd {
		raw, err := json.Marshal(order)
		if err != nil {
			b.Fatal(err)
		}
		cmd := exec.Command("ip", "netns", "exec", space, os.Args[0])
		cmd.Env, cmd.Stderr = append(os.Environ(), bulkEnv+"="+string(raw)), os.Stderr
		return cmd
	}
	server := inside(spaces[0], bulkOrder{})
	in, err := server.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := server.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		server.Wait()
	})
	var order bulkOrder
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &order)
	}
	if err != nil {
		b.Fatalf("the server said %q: %v", line, err)
	}
	answer, err := inside(spaces[1], order).Output()
	if err == nil {
		err = json.Unmarshal(answer, &medians)
	}
	if err != nil {
		b.Fatalf("the client said %q: %v", answer, err)
	}
	return medians
}
