//go:build unix

package store

import (
	"errors"
	"os"
	"syscall"
)

// openLocked opens name and locks it; taken means that someone else has it.
func openLocked(name string) (file *os.File, taken bool, err error) {
	file, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		file.Close()
		return nil, errors.Is(err, syscall.EWOULDBLOCK), ignore(err, syscall.EWOULDBLOCK)
	}
	return file, false, nil
}

func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
