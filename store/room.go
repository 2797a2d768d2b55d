//go:build linux || darwin

package store

import (
	"fmt"
	"path/filepath"
	"syscall"
)

// Room returns how many bytes are free on the disk that the file is on, for this
// user, and how many it has.
func (db *DB) Room() (free, all int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(db.file), &s); err != nil {
		return 0, 0, fmt.Errorf("store: looking for room on the disk of %s: %w", db.file, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Blocks) * int64(s.Bsize), nil
}
