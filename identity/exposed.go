package identity

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// An ExposedError says that a file with a key in it can be read by others on the machine, or that they can put another in
// its place. Such a key is not used, as it may not be its owner's alone any more.
type ExposedError struct {
	File string // or the folder it is in
	Mode fs.FileMode
}

// Error names the file and its mode.
func (e *ExposedError) Error() string {
	if e.Mode.IsDir() {
		return fmt.Sprintf("others can put keys of their own into %s (mode %04o)", e.File, e.Mode.Perm())
	}
	return fmt.Sprintf("others can read %s (mode %04o)", e.File, e.Mode.Perm())
}

// Command returns the command that takes the file from others.
func (e *ExposedError) Command() string {
	if e.Mode.IsDir() {
		return "chmod 700 " + e.File
	}
	return "chmod 600 " + e.File
}

// ReadKeyFile reads a file that holds a key, of at most so many bytes. It is an *ExposedError where anybody but the user
// that the process runs as can read the file, or write to its folder. A file of another user's, such as root's, was given
// on purpose, and may be given by its group.
func ReadKeyFile(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	folder, err := os.Stat(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	switch {
	case openTo(info, 0o077):
		return nil, &ExposedError{name, info.Mode()}
	case openTo(folder, 0o022):
		return nil, &ExposedError{filepath.Dir(name), folder.Mode()}
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return data, err
}
