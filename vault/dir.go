package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A dir is a store in a folder: a file for each object.
type dir string

// OpenDir opens the store in a folder, which is made (mode 0700) if it is not there. What else is in the folder is left
// alone, but for what an earlier process did not finish writing.
func OpenDir(name string) (Store, error) {
	err := os.MkdirAll(name, 0o700)
	if err == nil {
		err = dir(name).tidy(time.Now().Add(-unfinishedFor))
	}
	if err != nil {
		return nil, fmt.Errorf("vault: opening a store: %w", err)
	}
	return dir(name), nil
}

// unfinishedFor is how old a file that is being written is when it is taken for one that nobody writes any more.
const unfinishedFor = time.Hour

// tidy removes what was begun before a moment and not finished.
func (d dir) tidy(before time.Time) error {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), temporary) {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.ModTime().Before(before) {
			if err := os.Remove(filepath.Join(string(d), e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// file returns where an object is. Names are ParseName's, so that none leads out of the folder.
func (d dir) file(name string) (string, error) {
	if _, err := ParseName(name); err != nil {
		return "", err
	}
	return filepath.Join(string(d), name), nil
}

func (d dir) Put(_ context.Context, name string, data []byte) error {
	file, err := d.file(name)
	if err == nil {
		err = write(file, data, os.Rename)
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%s: %w: %w", string(d), ErrFull, err)
	}
	if err != nil {
		return fmt.Errorf("vault: storing: %w", err)
	}
	return nil
}

func (d dir) Get(_ context.Context, name string) ([]byte, error) {
	data, err := d.get(name)
	if err != nil {
		return nil, fmt.Errorf("vault: reading from the store: %w", err)
	}
	return data, nil
}

func (d dir) get(name string) ([]byte, error) {
	file, err := d.file(name)
	if err != nil {
		return nil, err
	}
	if info, err := os.Lstat(file); err != nil || !info.Mode().IsRegular() { // a pipe would be waited for
		return nil, errors.Join(err, notRegular(info, name))
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, name)
}

func notRegular(info fs.FileInfo, name string) error {
	if info == nil {
		return nil
	}
	return fmt.Errorf("%s is no regular file", name)
}

// readAll reads an object that is not larger than any sealed.
func readAll(from io.Reader, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(from, maxSealed+1))
	if err == nil && len(data) > maxSealed {
		err = fmt.Errorf("%s has more than %d bytes", name, maxSealed)
	}
	return data, err
}

func (d dir) List(ctx context.Context, each func(Object) error) error {
	f, err := os.Open(string(d))
	if err != nil {
		return fmt.Errorf("vault: listing the store: %w", err)
	}
	defer f.Close()
	for {
		entries, err := f.ReadDir(1024)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("vault: listing the store: %w", err)
		}
		for _, e := range entries {
			if _, err := ParseName(e.Name()); err != nil || !e.Type().IsRegular() {
				continue
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("vault: listing the store: %w", err)
			}
			if err := each(Object{e.Name(), info.Size(), info.ModTime()}); err != nil {
				return err
			}
		}
	}
}

func (d dir) Delete(_ context.Context, name string) error {
	file, err := d.file(name)
	if err == nil {
		err = os.Remove(file)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("vault: deleting: %w", err)
	}
	return nil
}
