//go:build unix

package identity

import (
	"io/fs"
	"os"
	"syscall"
)

// openTo reports whether others may do with a file what mode says, of 0o077; its group only where the file is of the user
// that the process runs as.
func openTo(info fs.FileInfo, mode fs.FileMode) bool {
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Geteuid() {
		mode &= 0o007
	}
	return info.Mode()&mode != 0
}
