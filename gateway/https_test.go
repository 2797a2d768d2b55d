package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

// A lan is a home with a lock in it, both of which serve HTTPS.
type lan struct {
	*gatewaytest.Home
	t      *testing.T
	laptop *kindred.Node
	lock   *kindred.Node
}

func newLAN(t *testing.T) *lan {
	t.Helper()
	h := gatewaytest.New(t)
	h.HTTPS = "127.0.0.1:0"
	h.Restart()
	l := &lan{Home: h, t: t, laptop: h.Open("laptop")}
	l.lock = h.Invite(l.laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(l.lock, lock.New().Thing())
	if err := h.Gateway.Node().InTouch(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

// A tool is software that knows nothing of Kindred: it has three files.
type tool struct {
	t   *testing.T
	dir string
	kindred.Exported
}

func (l *lan) export(n *kindred.Node, name string) tool {
	l.t.Helper()
	e, err := n.Export(l.t.Context(), name, time.Hour)
	if err != nil {
		l.t.Fatal(err)
	}
	return newTool(l.t, e)
}

func newTool(t *testing.T, e kindred.Exported) tool {
	t.Helper()
	w := tool{t, t.TempDir(), e}
	for name, data := range map[string][]byte{"cert.pem": e.Certificates, "key.pem": e.Key, "ca.pem": e.Issuer} {
		if err := os.WriteFile(w.file(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w tool) file(name string) string { return filepath.Join(w.dir, name) }

// curl returns the arguments for a request to a path of a node.
func (w tool) curl(n *kindred.Node, path string, more ...string) *exec.Cmd {
	w.t.Helper()
	base := n.HTTPS()[0]
	u, err := url.Parse(base)
	if err != nil {
		w.t.Fatal(err)
	}
	args := []string{"-sS", "--max-time", "20", "--resolve", u.Host + ":127.0.0.1",
		"--cacert", w.file("ca.pem"), "--cert", w.file("cert.pem"), "--key", w.file("key.pem")}
	return exec.CommandContext(w.t.Context(), "curl", append(append(args, more...), base+path)...)
}

// get is a request that is answered with what is returned, or refused with exit code 0 and a status.
func (w tool) get(n *kindred.Node, path string, more ...string) (body string, err error) {
	w.t.Helper()
	out, err := w.curl(n, path, append([]string{"--fail-with-body"}, more...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// client is for what curl cannot show: requests that are made over one connection, whatever happens in between.
func (w tool) client(n *kindred.Node) *http.Client {
	w.t.Helper()
	cert, err := tls.LoadX509KeyPair(w.file("cert.pem"), w.file("key.pem"))
	if err != nil {
		w.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.Issuer)
	u, err := url.Parse(n.HTTPS()[0])
	if err != nil {
		w.t.Fatal(err)
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+u.Port())
		},
	}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// exit returns the exit code of a command.
func exit(err error) int {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	return -1
}

// hungUp reports whether curl found the connection closed, wherever it was then: in the handshake, while it sent, or
// while it waited. In TLS 1.3 a client is through with its part before the server has looked at it.
func hungUp(err error) bool {
	return slices.Contains([]int{35, 52, 55, 56}, exit(err))
}

func TestCurl(t *testing.T) {
	l := newLAN(t)
	w := l.export(l.laptop, "tools")
	if got, err := w.get(l.lock, "/properties/state"); err != nil || got != `"locked"` {
		t.Fatalf("reading the lock: %s, %v", got, err)
	}
	head, err := w.get(l.lock, "/properties/state", "-D", "-")
	for _, guard := range []string{"Cache-Control: no-store", "X-Content-Type-Options: nosniff", "Content-Length: 8"} {
		if err != nil || strings.Count(head, guard+"\r\n") != 1 {
			t.Errorf("without %q: %s, %v", guard, head, err)
		}
	}
	if got, err := w.get(l.lock, "/actions/unlock", "-X", "POST"); err != nil || got != `"unlocked"` {
		t.Errorf("using the lock: %s, %v", got, err)
	}
	// A tool cannot sign a receipt, which the journal tells; and so is not held up for one.
	if got, err := w.get(l.lock, "/actions/unlock", "-X", "POST"); err != nil || got != `"unlocked"` {
		t.Errorf("using the lock again: %s, %v", got, err)
	}
	items, err := l.lock.Journal().Query(t.Context(), journal.Filter{Limit: 1})
	if err != nil || len(items) != 1 || !items[0].Entry.OneSided || items[0].Entry.Countersigned {
		t.Errorf("the lock tells %+v, %v", items, err)
	}
	got, err := w.get(l.lock, "/")
	var described struct{ Base string }
	if err != nil || json.Unmarshal([]byte(got), &described) != nil || described.Base != l.lock.HTTPS()[0]+"/" {
		t.Errorf("the thing describes itself as %s, %v; want the base %s/", got, err, l.lock.HTTPS()[0])
	}
	got, err = w.get(l.Gateway.Node(), "/control/v1/roster", "-d", "{}")
	var roster control.Roster
	if err != nil || json.Unmarshal([]byte(got), &roster) != nil {
		t.Fatalf("reading the roster: %.200s, %v", got, err)
	}
	var paths []string
	for _, m := range roster.Members {
		paths = append(paths, string(m.Path))
	}
	if got, want := strings.Join(paths, " "), "home home/gateway home/lock sam sam/laptop sam/tools"; got != want {
		t.Errorf("the roster has %s, want %s", got, want)
	}
	waitFor(t, func() bool { return l.told("sam/tools invoke home/lock unlock served") })
	if !l.told("sam/tools read home/lock state served") || !l.told("sam/laptop admit   served") {
		t.Error("the journal does not tell who read")
	}

	// A server is known by its names, and by no other's; who asks for another's, or for none, is not told who it is.
	gw, err := url.Parse(l.Gateway.Node().HTTPS()[0])
	if err != nil {
		t.Fatal(err)
	}
	_, lockPort, _ := net.SplitHostPort(strings.TrimPrefix(l.lock.HTTPS()[0], "https://"))
	if out, err := w.get(l.Gateway.Node(), "/", "--connect-to", gw.Host+":127.0.0.1:"+lockPort); exit(err) != 35 {
		t.Errorf("the lock under the gateway's name: %s, %v", out, err)
	}
	naked, err := tls.Dial("tcp", "127.0.0.1:"+lockPort, &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		t.Errorf("whoever knows no name is shown %v", naked.ConnectionState().PeerCertificates[0].DNSNames)
		naked.Close()
	}
	if got, err := w.get(l.lock, "/properties/state", "--tls-max", "1.2"); exit(err) != 35 {
		t.Errorf("TLS 1.2: %s, %v", got, err)
	}
	for _, from := range []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site", "Origin: null"} {
		if got, err := w.get(l.lock, "/actions/lock", "-X", "POST", "-H", from); exit(err) != 22 || !strings.Contains(got, "web pages from elsewhere") {
			t.Errorf("a page with %s: %s, %v", from, got, err)
		}
	}
}

// told reports whether the home's journal has an entry.
func (l *lan) told(want string) bool {
	l.t.Helper()
	h, err := l.laptop.Gateway().History(l.t.Context(), control.HistoryQuery{Limit: 100})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, e := range h.Entries {
		if fmt.Sprintf("%s %s %s %s %s", e.Caller.ID.Path, e.Op, e.Thing.ID.Path, e.Affordance, e.Outcome) == want {
			return true
		}
	}
	return false
}

// Whoever has no certificate of this tree gets a closed handshake, from the gateway and from a thing.
func TestCurlOfStrangers(t *testing.T) {
	l := newLAN(t)
	w := l.export(l.laptop, "tools")
	other := newLAN(t)
	stranger := other.export(other.laptop, "tools")
	stranger.Issuer = w.Issuer
	strangers := map[string]tool{
		"of another tree":            newTool(t, stranger.Exported),
		"signed by the LAN's issuer": newTool(t, forged(t, l, w)),
		"without its issuers":        newTool(t, kindred.Exported{Certificates: firstOf(w.Certificates), Key: w.Key, Issuer: w.Issuer}),
	}
	ours := w.Exported
	ours.Issuer = other.export(other.laptop, "other").Issuer
	if got, err := newTool(t, ours).get(l.lock, "/"); exit(err) != 60 { // curl does look
		t.Errorf("a server that the issuer of another home is to know: %s, %v", got, err)
	}
	for _, n := range []*kindred.Node{l.Gateway.Node(), l.lock} {
		for name, s := range strangers {
			if got, err := s.get(n, "/"); !hungUp(err) {
				t.Errorf("somebody %s at %s: %s, %v", name, n.Self().ID.Path, got, err)
			}
		}
		naked := w.curl(n, "/")
		for i, arg := range naked.Args {
			if arg == "--cert" {
				naked.Args = append(naked.Args[:i], naked.Args[i+4:]...)
				break
			}
		}
		if out, err := naked.CombinedOutput(); !hungUp(err) {
			t.Errorf("somebody without a certificate at %s: %s, %v", n.Self().ID.Path, out, err)
		}
		if got, err := w.get(n, "/"); err != nil && exit(err) != 22 {
			t.Errorf("the one who may at %s: %s, %v", n.Self().ID.Path, got, err)
		}
	}
}

func firstOf(certificates []byte) []byte {
	block, _ := pem.Decode(certificates)
	return pem.EncodeToMemory(block)
}

// forged is a certificate that says what a tool's says, as whoever stole the gateway's key for server names would make it.
func forged(t *testing.T, l *lan, w tool) kindred.Exported {
	t.Helper()
	keys := identity.KeyDir(filepath.Join(gateway.Dir(l.Path("laptop")), kindred.KeysDir))
	above, err := keys.Open("lan")
	if err != nil {
		t.Fatal(err)
	}
	read := func(data []byte) *x509.Certificate {
		block, _ := pem.Decode(data)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	real, issuer := read(w.Certificates), read(w.Issuer)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: real.Subject.CommonName}, URIs: real.URIs,
		NotBefore: real.NotBefore, NotAfter: real.NotAfter, KeyUsage: real.KeyUsage, ExtKeyUsage: real.ExtKeyUsage,
		ExtraExtensions: own(real.Extensions), BasicConstraintsValid: true,
	}, issuer, key.Public(), above)
	if err != nil {
		t.Fatal(err)
	}
	private, err := identity.MarshalKey(key)
	if err != nil {
		t.Fatal(err)
	}
	_, above1, _ := bytes.Cut(w.Certificates, []byte("-----END CERTIFICATE-----\n"))
	chain := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), above1...)
	return kindred.Exported{Certificates: chain, Key: private, Issuer: w.Issuer}
}

// own returns Kindred's own extensions.
func own(all []pkix.Extension) (some []pkix.Extension) {
	for _, e := range all {
		if e.Id[0] == 2 && e.Id[1] == 25 {
			some = append(some, e)
		}
	}
	return some
}

// A connection that was good for somebody is no ticket for the next: each shows its certificates.
func TestNothingIsResumed(t *testing.T) {
	l := newLAN(t)
	w := l.export(l.laptop, "tools")
	client := w.client(l.lock)
	transport := client.Transport.(*http.Transport)
	transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	transport.ForceAttemptHTTP2 = true
	for range 2 {
		resp, err := client.Get(l.lock.HTTPS()[0] + "/properties/state")
		if err != nil {
			t.Fatal(err)
		}
		if resp.TLS.DidResume || resp.TLS.Version != tls.VersionTLS13 || resp.ProtoMajor != 1 {
			t.Errorf("resumed %v, %s, %s", resp.TLS.DidResume, tls.VersionName(resp.TLS.Version), resp.Proto)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		transport.CloseIdleConnections()
	}
}

// Who is removed is out at once, at the gateway and at a thing, whatever connections and streams they have.
func TestRemovedToolIsOut(t *testing.T) {
	l := newLAN(t)
	w := l.export(l.laptop, "tools")
	client := map[*kindred.Node]*http.Client{}
	ask := func(n *kindred.Node) (int, string) {
		t.Helper()
		var resp *http.Response
		var err error
		if n == l.lock {
			resp, err = client[n].Get(n.HTTPS()[0] + "/properties/state")
		} else {
			resp, err = client[n].Post(n.HTTPS()[0]+control.Prefix+"roster", "application/json", strings.NewReader("{}"))
		}
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	both := []*kindred.Node{l.lock, l.Gateway.Node()}
	for _, n := range both {
		client[n] = w.client(n)
		if status, body := ask(n); status != http.StatusOK {
			t.Fatalf("%s answers %d %s", n.Self().ID.Path, status, body)
		}
	}
	stream := w.curl(l.lock, "/properties/state/observe", "-N", "--max-time", "60")
	out, err := stream.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != `data: "locked"` {
	}
	news, err := w.client(l.Gateway.Node()).Get(l.Gateway.Node().HTTPS()[0] + control.Prefix + "watch")
	if err != nil || news.StatusCode != http.StatusOK {
		t.Fatalf("watching the gateway: %+v, %v", news, err)
	}
	defer news.Body.Close()

	roster, err := l.laptop.Roster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m, ok := roster.At("sam/tools")
	if !ok {
		t.Fatalf("the roster has no sam/tools: %+v", roster.Members)
	}
	report, err := l.laptop.Revoke(t.Context(), roster.Member(m))
	if err != nil || len(report.Things) != 1 || !report.Things[0].Closed {
		t.Fatalf("the report says %+v, %v", report, err)
	}
	removed := time.Now()
	var rest []string
	for lines.Scan() {
		rest = append(rest, lines.Text())
	}
	if err := stream.Wait(); err != nil {
		t.Errorf("curl ended with %v", err)
	}
	if took := time.Since(removed); took > 10*time.Second || !strings.Contains(strings.Join(rest, " "), "access was taken away") {
		t.Errorf("the stream ended %s after the removal, with %q", took, rest)
	}
	if _, err := io.Copy(io.Discard, news.Body); err != nil || time.Since(removed) > 10*time.Second {
		t.Errorf("the gateway's news ended %s after the removal, with %v", time.Since(removed), err)
	}
	for _, n := range both { // the connections that there are
		if status, body := ask(n); status != http.StatusForbidden {
			t.Errorf("%s answers somebody removed with %d %s", n.Self().ID.Path, status, body)
		}
	}
	if got, err := w.get(l.Gateway.Node(), "/control/v1/roster", "-d", "{}"); !hungUp(err) {
		t.Errorf("a new connection to the gateway: %s, %v", got, err)
	}
	if got, err := w.get(l.lock, "/properties/state"); exit(err) != 22 || !strings.Contains(got, "access was taken away") {
		t.Errorf("a new connection to the lock: %s, %v", got, err)
	}
	waitFor(t, func() bool { return l.told("sam/tools observe home/lock state ended") })
}

// A person's tool may do what the person may, from the moment the person may.
func TestToolOfAPerson(t *testing.T) {
	l := newLAN(t)
	anna := l.Invite(l.laptop, identity.Person, "sam/anna", "phone")
	w := l.export(anna, "hub")
	client := w.client(l.lock)
	get := func() int {
		resp, err := client.Get(l.lock.HTTPS()[0] + "/properties/state")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	if len(w.Servers) != 1 || w.Servers[0].Path != "home/gateway" {
		t.Errorf("whoever may use nothing is told of %+v", w.Servers)
	}
	if status := get(); status != http.StatusForbidden {
		t.Fatalf("without a grant: %d", status)
	}
	_, target := l.Share(l.laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.See})
	waitFor(t, func() bool { return get() == http.StatusOK })
	if got, err := w.get(l.lock, "/actions/unlock", "-X", "POST"); exit(err) != 22 {
		t.Errorf("what was not given: %s, %v", got, err)
	}
	l.Share(l.laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.See})
	if _, err := l.laptop.Revoke(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return get() == http.StatusOK }) // by the other grant
	if _, err := anna.Export(t.Context(), "phone", time.Hour); code2(err) != control.Conflict {
		t.Errorf("a tool in place of the phone: %v", err)
	}
	if _, err := l.lock.Export(t.Context(), "hub", time.Hour); !errors.Is(err, kindred.ErrNoAuthority) {
		t.Errorf("a tool of a thing's: %v", err)
	}
}

func code2(err error) control.Code {
	var e *control.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// What is asked about oneself, and by things about their callers, tells nothing about others.
func TestVouch(t *testing.T) {
	l := newLAN(t)
	anna := l.Invite(l.laptop, identity.Person, "sam/anna", "phone")
	other := l.Invite(l.laptop, identity.Device, "home/shed", "", "127.0.0.1:0")
	l.Share(l.laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.See})
	ask := func(by *kindred.Node, chain [][]byte) (control.Evidence, error) {
		return by.Gateway().Vouch(t.Context(), control.VouchQuery{Chain: chain})
	}
	if e, err := ask(l.lock, anna.Self().Raw); err != nil || len(e.Grants) != 1 || e.Self != nil {
		t.Errorf("the lock is told %d grants, %v", len(e.Grants), err)
	}
	if e, err := ask(other, anna.Self().Raw); err != nil || len(e.Grants) != 0 {
		t.Errorf("the shed is told %d grants of the lock's, %v", len(e.Grants), err)
	}
	for name, test := range map[string]struct {
		by    *kindred.Node
		chain [][]byte
	}{
		"by an app":     {anna, l.laptop.Self().Raw},
		"by an owner":   {l.laptop, anna.Self().Raw},
		"about nobody":  {l.lock, nil},
		"about a place": {l.lock, l.lock.Self().Raw[1:]},
	} {
		if _, err := ask(test.by, test.chain); code2(err) != control.Refused {
			t.Errorf("asking %s: %v", name, err)
		}
	}
}

// A device that shows the gateway the certificates of a service learns whether that is a member, and nothing of what was
// agreed with it about other things.
func TestVouchTellsNothingOfOtherThings(t *testing.T) {
	l := newLAN(t)
	ctx := t.Context()
	l.Invite(l.laptop, identity.Device, "home/shed", "", "127.0.0.1:0")
	bank := l.Invite(l.laptop, identity.Service, "sam/bank", "")
	_, given := l.Share(l.laptop, "sam/bank", "home/shed", grant.Terms{
		Actions: grant.See, Purpose: "advice", Agreement: grant.Agreement{Clear: []string{"state"}},
	})
	roster, err := l.laptop.Roster(ctx)
	if err != nil {
		t.Fatal(err)
	}
	papers, err := l.laptop.PapersOf(ctx, roster.GrantsNamed(given.Grant.String())[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.laptop.Revoke(ctx, given); err != nil {
		t.Fatal(err)
	}
	if err := l.laptop.Demand(ctx, papers); err != nil {
		t.Fatal(err)
	}
	e, err := l.lock.Gateway().Vouch(ctx, control.VouchQuery{Chain: bank.Self().Raw})
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Demands) != 0 || e.Recipient != nil || e.Rendezvous != nil {
		t.Errorf("the lock is told of %d demands about the shed, of %x and %x", len(e.Demands), e.Recipient, e.Rendezvous)
	}
}

// With the gateway away, a thing goes on serving whom it knows for as long as it may, and says why it serves nobody else.
func TestToolsWithoutTheGateway(t *testing.T) {
	l := newLAN(t)
	known, late := l.export(l.laptop, "known"), l.export(l.laptop, "late")
	if got, err := known.get(l.lock, "/properties/state"); err != nil {
		t.Fatal(got, err)
	}
	l.Down()
	if got, err := known.get(l.lock, "/properties/state"); err != nil || got != `"locked"` {
		t.Errorf("whom it knows: %s, %v", got, err)
	}
	if got, err := late.get(l.lock, "/properties/state"); exit(err) != 22 || !strings.Contains(got, "the gateway cannot be reached") {
		t.Errorf("whom it does not know: %s, %v", got, err)
	}

	// Started anew it still has its names, and knows nobody.
	cfg := kindred.Config{Dir: l.Path("lock"), Listen: []string{"127.0.0.1:0"}, HTTPS: "127.0.0.1:0"}
	if err := l.lock.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := kindred.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	waitFor(t, func() bool { return len(again.HTTPS()) > 0 })
	if got, err := known.get(again, "/properties/state"); exit(err) != 22 || !strings.Contains(got, "the gateway cannot be reached") {
		t.Errorf("after a start without the gateway: %s, %v", got, err)
	}
}

// Only devices are certified as servers, with keys that software knows, and for no names but their own.
func TestCertify(t *testing.T) {
	l := newLAN(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	mine, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := x509.MarshalPKIXPublicKey(weak.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		by   *kindred.Node
		ask  control.ServerRequest
		want control.Code
	}{
		"a device":           {l.lock, control.ServerRequest{Key: mine, Listen: []string{"192.0.2.1:8443", "[2001:db8::1]:8443"}}, ""},
		"an app":             {l.laptop, control.ServerRequest{Key: mine}, control.Refused},
		"a weak key":         {l.lock, control.ServerRequest{Key: small}, control.Invalid},
		"no key":             {l.lock, control.ServerRequest{Key: []byte("key")}, control.Invalid},
		"a name as address":  {l.lock, control.ServerRequest{Key: mine, Listen: []string{"evil.example:443"}}, control.Invalid},
		"too many addresses": {l.lock, control.ServerRequest{Key: mine, Listen: make([]string, control.MaxListen+1)}, control.Invalid},
	} {
		got, err := test.by.Gateway().Certify(t.Context(), test.ask)
		if code2(err) != test.want {
			t.Errorf("certifying %s: %v, want %q", name, err, test.want)
		}
		if test.want != "" || err != nil {
			continue
		}
		cert, err := x509.ParseCertificate(got.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		domain := identity.ServerDomain(l.lock.Self().ID.Tree)
		want := []string{"lock.home." + domain, l.lock.Self().Member().String() + "." + domain}
		if !slices.Equal(cert.DNSNames, want) || cert.IsCA || len(cert.IPAddresses)+len(cert.URIs)+len(cert.EmailAddresses) > 0 {
			t.Errorf("it is certified as %v", cert.DNSNames)
		}
	}
}

// A certificate that has ended is refused in the handshake, and on connections made before.
func TestExpiredTool(t *testing.T) {
	l := newLAN(t)
	var ahead atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	l.Clock = clock
	l.Restart()
	if err := l.lock.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := l.Config("lock", "127.0.0.1:0")
	cfg.Clock = clock
	device, err := kindred.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { device.Close() })
	l.Serve(device, lock.New().Thing())
	if err := errors.Join(device.InTouch(t.Context()), l.Gateway.Node().InTouch(t.Context())); err != nil {
		t.Fatal(err)
	}
	l.laptop = l.Reopen("laptop", l.laptop)
	w := l.export(l.laptop, "tools")
	client := w.client(device)
	get := func() int {
		resp, err := client.Get(device.HTTPS()[0] + "/properties/state")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	if status := get(); status != http.StatusOK {
		t.Fatalf("while it holds: %d", status)
	}
	ahead.Store(int64(time.Hour + time.Minute))
	if status := get(); status != http.StatusForbidden {
		t.Errorf("on a connection from before: %d", status)
	}
	for _, n := range []*kindred.Node{device, l.Gateway.Node()} {
		if got, err := w.get(n, "/"); !hungUp(err) {
			t.Errorf("%s, after its end: %s, %v", n.Self().ID.Path, got, err)
		}
	}
}
