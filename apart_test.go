package kindred_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/device/lock"
)

// endVar says what a process that apart starts is to serve, and with what, a line each.
const endVar = "KINDRED_TEST_END"

func TestMain(m *testing.M) {
	if os.Getenv(endVar) == "" {
		os.Exit(m.Run())
	}
	end := strings.Split(os.Getenv(endVar), "\n")
	if err := map[string]func(...string) error{"lock": serveLock, "plain": servePlain}[end[0]](end[1:]...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// apart has a process of its own serve something until the benchmark ends, and returns what it says once it does.
func apart(b *testing.B, end ...string) string {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	c := exec.Command(self)
	c.Env, c.Stderr = append(os.Environ(), endVar+"="+strings.Join(end, "\n")), b.Output()
	stop, err := c.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	says, err := c.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stop.Close()
		if err := c.Wait(); err != nil {
			b.Errorf("%s: %v", end[0], err)
		}
	})
	ready, err := bufio.NewReader(says).ReadString('\n')
	if err != nil {
		b.Fatalf("%s: %v", end[0], err)
	}
	return strings.TrimSpace(ready)
}

// serveLock serves a lock: the member in dir, at an address, whose gateway is at another.
func serveLock(args ...string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n, err := kindred.Open(ctx, kindred.Config{Dir: args[0], Listen: args[1:2], GatewayAddresses: args[2:3]})
	if err != nil {
		return err
	}
	defer n.Close()
	if err := n.InTouch(ctx); err != nil {
		return err
	}
	go n.Serve(ctx, lock.New().Thing())
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// servePlain serves what mutualTLS does, with the keys in dir, and says at what URL.
func servePlain(args ...string) error {
	own, theirs, err := tlsKeys(args[0], "server", "client")
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &http.Server{Handler: locked, TLSConfig: serverTLS(own, theirs)}
	go s.ServeTLS(l, "", "")
	defer s.Close()
	fmt.Println("https://" + l.Addr().String())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// mutualTLSApart is mutualTLS whose server is a process of its own.
func mutualTLSApart(b *testing.B) (*http.Client, string) {
	dir := b.TempDir()
	for _, name := range []string{"server", "client"} {
		pair := selfSigned(b)
		key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
		if err != nil {
			b.Fatal(err)
		}
		text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}),
			pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	own, theirs, err := tlsKeys(dir, "client", "server")
	if err != nil {
		b.Fatal(err)
	}
	return tlsClient(own, theirs), apart(b, "plain", dir)
}

// tlsKeys reads the keys of one end, and the certificate of the other.
func tlsKeys(dir, one, other string) (own, theirs tls.Certificate, err error) {
	for name, pair := range map[string]*tls.Certificate{one: &own, other: &theirs} {
		file := filepath.Join(dir, name)
		if *pair, err = tls.LoadX509KeyPair(file, file); err != nil {
			return own, theirs, err
		}
	}
	return own, theirs, nil
}
