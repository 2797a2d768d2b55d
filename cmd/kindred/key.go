package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

func newKey(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "Make keys for software that knows nothing of Kindred",
	}
	c.AddCommand(newKeyExport(s))
	return c
}

func newKeyExport(s *session) *cobra.Command {
	var dir, name, life string
	c := &cobra.Command{
		Use:   "export --pem DIR",
		Short: "Make a member of its own for a tool such as curl or a browser, good for a day",
		Long: `Make a new app of whom this directory's member acts for, with a key of its own, and
write what a tool needs to be that app:

  DIR/key.pem    its private key (PKCS #8); whoever has it is that app
  DIR/cert.pem   its certificate, and those above it
  DIR/ca.pem     whom to trust for the names of the home's servers, and nothing else

With these, curl and its like talk over HTTPS to the gateway and the things that were
started with --https. The tool may do what its owner or person may. It is a member like
any other: "kindred tree" shows it, "kindred log" names it, and an owner's "kindred remove"
ends it at once. By itself it ends after a day, or sooner with --for. Exporting again under
the same name puts a new one in its place, and ends the old one.

This directory's own key is never exported.`,
		Example: `  kindred key export --pem ~/tools
  kindred key export --pem /etc/monitor/kindred --name monitor --for 12h`,
		Args: cobra.NoArgs,
	}
	f := c.Flags()
	f.StringVar(&dir, "pem", "", "the `directory` to write to; it is made if need be")
	f.StringVar(&name, "name", "", "what the app is called, one `name` (default the name of this one and -tools)")
	f.StringVar(&life, "for", "1d", "how long it lasts, a day at most: a `duration` such as 12h")
	hide(c.MarkFlagDirname("pem"))
	return s.does(c, func(ctx context.Context, _ []string) error {
		if dir == "" {
			return usage("--pem: where to?")
		}
		d, err := grant.ParseDuration(life)
		if err != nil || d <= 0 || d > kindred.MaxExport {
			return usage("--for: %q is no duration of at most a day, such as 12h", life)
		}
		if name != "" {
			if _, err := identity.ParsePath(name); err != nil || strings.Contains(name, "/") {
				return usage("--name: %q is no name such as monitor", name)
			}
		}
		return s.with(ctx, func(n *kindred.Node) error { return s.export(ctx, n, dir, name, d) })
	})
}

// exported is what "key export" tells.
type exported struct {
	ID      string         `json:"id"`
	Path    identity.Path  `json:"path"`
	Until   time.Time      `json:"until"`
	Cert    string         `json:"cert"`
	Key     string         `json:"key"`
	CA      string         `json:"ca"`
	Servers []exportServer `json:"servers"`
}

// exportServer is somebody to talk to, as curl wants to be told.
type exportServer struct {
	Path    identity.Path `json:"path"`
	URL     string        `json:"url"`
	Resolve string        `json:"resolve"`           // NAME:PORT:IP,…
	Gateway bool          `json:"gateway,omitempty"` // it serves the control API, and no thing
}

func (s *session) export(ctx context.Context, n *kindred.Node, dir, name string, life time.Duration) error {
	if name == "" {
		name = n.Self().ID.Path.Name() + "-tools"
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	e, err := n.Export(ctx, name, life)
	if errors.Is(err, kindred.ErrNoAuthority) {
		return hinted(refused("the key that signs apps of %s is not in this directory", n.Self().ID.Path.Parent()),
			"export from the directory where the owner or person joined first")
	}
	if err != nil {
		return err
	}
	told := exported{ID: e.ID.String(), Path: e.ID.Path, Until: e.Until.UTC(), Servers: []exportServer{}}
	for _, file := range []struct {
		name string
		at   *string
		data []byte
	}{{"key.pem", &told.Key, e.Key}, {"cert.pem", &told.Cert, e.Certificates}, {"ca.pem", &told.CA, e.Issuer}} {
		*file.at = filepath.Join(dir, file.name)
		if err := writeFile(*file.at, file.data); err != nil { // mode 0600
			return err
		}
	}
	for _, server := range e.Servers {
		if at, ok := serverAt(server); ok {
			told.Servers = append(told.Servers, at)
		}
	}
	if err := s.print(told, string(told.Path)); err != nil {
		return err
	}
	s.say("%s is a member until %s. Its files are in %s; whoever has them is that app.", told.Path, stamp(e.Until, s.now()), dir)
	if len(told.Servers) == 0 {
		s.say(`Nothing serves HTTPS yet: "kindred up --https :8443", and the same for devices.`)
		return nil
	}
	s.say("%s", told.curl())
	return nil
}

// serverAt says how to reach a server under its best name, at any of its addresses.
func serverAt(s control.Server) (exportServer, bool) {
	var port string
	var ips []string
	for _, at := range s.Listen {
		ip, p, err := net.SplitHostPort(at)
		if err != nil || port != "" && p != port {
			continue
		}
		port, ips = p, append(ips, ip)
	}
	if len(s.Names) == 0 || len(ips) == 0 {
		return exportServer{}, false
	}
	at := s.Names[0] + ":" + port
	return exportServer{s.Path, "https://" + at, at + ":" + strings.Join(ips, ","), s.Gateway}, true
}

// curl is a command to begin with: it asks a thing what it can do, and the gateway who is on the tree.
func (e exported) curl() string {
	at := e.Servers[0]
	for _, s := range e.Servers {
		if !s.Gateway {
			at = s
			break
		}
	}
	args := []string{"curl", "--cacert", e.CA, "--cert", e.Cert, "--key", e.Key, "--resolve", at.Resolve}
	if at.Gateway {
		args = append(args, "--data", "{}", at.URL+control.Prefix+"roster")
	} else {
		args = append(args, at.URL+"/")
	}
	for i, arg := range args {
		args[i] = quoted(arg)
	}
	return strings.Join(args, " ")
}

// unquoted is what a shell takes as it stands.
var unquoted = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// quoted is an argument for a shell.
func quoted(arg string) string {
	if unquoted.MatchString(arg) {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}
