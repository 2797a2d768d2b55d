//go:build unix

package identity_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/identity"
)

// A key that others can read is not used, nor one that they can put another in the place of.
func TestExposedKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := identity.KeyDir(dir).Create("leaf"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "leaf.pem")
	for _, test := range []struct {
		file, dir fs.FileMode
		want      string // of the error; "": opened
		command   string
	}{
		{0o600, 0o700, "", ""},
		{0o400, 0o755, "", ""},
		{0o640, 0o700, "others can read " + file + " (mode 0640)", "chmod 600 " + file},
		{0o604, 0o700, "others can read " + file + " (mode 0604)", "chmod 600 " + file},
		{0o620, 0o700, "others can read " + file + " (mode 0620)", "chmod 600 " + file},
		{0o600, 0o770, "others can put keys of their own into " + dir + " (mode 0770)", "chmod 700 " + dir},
		{0o600, 0o707, "others can put keys of their own into " + dir + " (mode 0707)", "chmod 700 " + dir},
	} {
		if err := errors.Join(os.Chmod(file, test.file), os.Chmod(dir, test.dir)); err != nil {
			t.Fatal(err)
		}
		_, err := identity.KeyDir(dir).Open("leaf")
		var exposed *identity.ExposedError
		switch {
		case test.want == "" && err != nil:
			t.Errorf("modes %04o in %04o: %v", test.file, test.dir, err)
		case test.want != "" && (!errors.As(err, &exposed) || !strings.HasSuffix(err.Error(), test.want) || exposed.Command() != test.command):
			t.Errorf("modes %04o in %04o: error %v, want one with %q and to %q", test.file, test.dir, err, test.want, test.command)
		}
	}
}

// What another user owns, root say, that one gave on purpose, to a group if it likes, and never to everybody.
func TestKeysGivenByAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := identity.KeyDir(dir).Create("leaf"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "leaf.pem")
	const nobody = 65534
	for mode, opens := range map[fs.FileMode]bool{0o640: true, 0o644: false} {
		if err := errors.Join(os.Chown(file, nobody, nobody), os.Chmod(file, mode)); err != nil {
			t.Fatal(err)
		}
		if _, err := identity.KeyDir(dir).Open("leaf"); (err == nil) != opens {
			t.Errorf("mode %04o, of another user: %v", mode, err)
		}
	}
}
