package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// lockName is the file beside the database that is locked while a process uses
// the directory. It stays behind; only the lock on it means anything.
const lockName = "kindred.lock"

// DirLock is a directory held by this process. Use [Lock] to get one.
type DirLock struct {
	dir  string
	file *os.File
}

// Lock takes the directory dir for this process, making it with mode 0700 when
// there is none. [Open] does so itself; Lock is for using a directory without
// its database. It does not wait: when the directory is taken, by another
// process or by an earlier call in this one, the error wraps [ErrInUse] and
// names the directory and, where known, the process.
func Lock(dir string) (*DirLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: locking directory %s: %w", dir, err)
	}
	name := filepath.Join(dir, lockName)
	file, taken, err := openLocked(name)
	if err != nil {
		return nil, fmt.Errorf("store: locking directory %s: %w", dir, err)
	}
	if taken {
		return nil, fmt.Errorf("store: directory %s is in use%s: %w", dir, holder(name), ErrInUse)
	}
	// The process ID only makes the message above better, so failing to write
	// it (a full disk) does no harm.
	if file.Truncate(0) == nil {
		fmt.Fprintln(file, os.Getpid())
	}
	return &DirLock{dir: dir, file: file}, nil
}

// Release lets go of the directory.
func (l *DirLock) Release() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("store: unlocking directory %s: %w", l.dir, err)
	}
	return nil
}

// holder returns " by process N" when the lock file says which.
func holder(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	pid, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 32)
	if err != nil {
		return ""
	}
	return " by process " + strconv.FormatUint(pid, 10)
}
