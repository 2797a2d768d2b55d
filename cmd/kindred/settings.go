package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/peer"
)

// Settings are what a directory's kindred.yaml may say. All of it may be missing; what is not known is an error.
type Settings struct {
	// Name is what people call the tree, "Birch Street".
	Name string `yaml:"name,omitempty"`
	// Zone is the IANA name of the place's time zone, by whose clock things are shared: "Europe/Berlin".
	Zone string `yaml:"zone,omitempty"`
	// Listen is where the gateway or a device is to be reached: IP:PORT, :PORT for all interfaces, or multiaddrs.
	Listen []string `yaml:"listen,omitempty"`
	// HTTPS is where the gateway or a device serves tools that hold an exported key: IP:PORT, or :PORT for all interfaces.
	HTTPS string `yaml:"https,omitempty"`
	// Interval is how often the gateway's own ledger makes a block, and so how old a check may be: "10m", the default.
	Interval duration `yaml:"interval,omitempty"`
	// Relays are where members of a gateway's home are found from elsewhere: multiaddrs that end in /p2p/KEY, of at most
	// peer.MaxRelays relays. "kindred up --relay" sets them.
	Relays []string `yaml:"relays,omitempty"`
	// MapPorts asks the router to let callers in. "kindred up --map-ports" sets it.
	MapPorts bool `yaml:"map-ports,omitempty"`
}

const settingsFile = "kindred.yaml"

// duration is a time.Duration that is written "10m" or "7d".
type duration time.Duration

// UnmarshalYAML reads what grant.ParseDuration reads, if it is positive.
func (d *duration) UnmarshalYAML(node *yaml.Node) error {
	v, err := grant.ParseDuration(node.Value)
	if err != nil || v <= 0 {
		return fmt.Errorf("line %d: %q is no duration such as 10m", node.Line, node.Value)
	}
	*d = duration(v)
	return nil
}

// MarshalYAML writes the duration.
func (d duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }

// readSettings reads kindred.yaml of a directory; without one, nothing is set.
func readSettings(dir string) (Settings, error) {
	data, err := os.ReadFile(filepath.Join(dir, settingsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Settings{}, nil
	}
	if err != nil {
		return Settings{}, err
	}
	s, err := parseSettings(data)
	if err != nil {
		return s, hinted(fmt.Errorf("%s: %w", filepath.Join(dir, settingsFile), err), "correct the file, or remove what it should not say")
	}
	return s, nil
}

func parseSettings(data []byte) (Settings, error) {
	var s Settings
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&s); err != nil && !errors.Is(err, io.EOF) {
		return s, plainYAML(err)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return s, errors.New("more than one document")
	}
	if s.Zone != "" {
		if err := checkZone(s.Zone); err != nil {
			return s, err
		}
	}
	if s.HTTPS != "" {
		if err := checkHTTPS(s.HTTPS); err != nil {
			return s, fmt.Errorf("https: %w", err)
		}
	}
	if err := peer.CheckRelays(s.Relays); err != nil {
		return s, err
	}
	return s, nil
}

// checkHTTPS checks where to serve HTTPS.
func checkHTTPS(at string) error {
	host, port, err := net.SplitHostPort(at)
	if err == nil && host != "" {
		_, err = netip.ParseAddr(host)
	}
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%.60q is not IP:PORT or :PORT", at)
	}
	return nil
}

// secure returns where to serve HTTPS: as the flag says, else the settings, else nowhere.
func secure(flag string, settings Settings) (string, error) {
	if flag == "" {
		return settings.HTTPS, nil
	}
	if err := checkHTTPS(flag); err != nil {
		return "", usage("--https: %s", err)
	}
	return flag, nil
}

// plainYAML says what is wrong with a file in one line, and without the names that only a Go programmer knows.
func plainYAML(err error) error {
	var wrong *yaml.TypeError
	if !errors.As(err, &wrong) {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	text := strings.Join(wrong.Errors, "; ")
	return errors.New(strings.ReplaceAll(text, " in type main.Settings", ": want name, zone, listen, https, interval, relays or map-ports"))
}

// writeSettings writes kindred.yaml of a directory.
func writeSettings(dir string, s Settings) error {
	data, err := yaml.Marshal(s)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, settingsFile), append([]byte("# Settings: name, zone, listen, https, interval, relays, map-ports. Anything else is refused.\n"), data...))
}

func checkZone(name string) error {
	if _, err := time.LoadLocation(name); err != nil || name == "Local" {
		return fmt.Errorf("%q is no time zone: want one such as Europe/Berlin", name)
	}
	return nil
}

// systemZone returns the IANA name of this machine's time zone, "" if it cannot be told.
func systemZone() string {
	candidates := []string{strings.TrimPrefix(os.Getenv("TZ"), ":")}
	if target, err := filepath.EvalSymlinks("/etc/localtime"); err == nil {
		if _, zone, ok := strings.Cut(target, "/zoneinfo/"); ok {
			candidates = append(candidates, zone)
		}
	}
	if data, err := os.ReadFile("/etc/timezone"); err == nil {
		candidates = append(candidates, strings.TrimSpace(string(data)))
	}
	for _, zone := range candidates {
		if zone != "" && checkZone(zone) == nil {
			return zone
		}
	}
	return ""
}

// cause is what the system said of a file.
func cause(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// writeFile writes a file as a whole or not at all.
func writeFile(name string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".kindred-*")
	if err != nil { // it names a file that nobody asked for
		return &fs.PathError{Op: "writing", Path: name, Err: cause(err)}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
