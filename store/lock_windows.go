package store

import (
	"errors"
	"os"
	"syscall"
)

// errorSharingViolation is ERROR_SHARING_VIOLATION: someone has the file open
// and shares it with nobody.
const errorSharingViolation = syscall.Errno(32)

// openLocked opens name for this process alone; taken means that someone else
// has it.
func openLocked(name string) (file *os.File, taken bool, err error) {
	path, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, false, err
	}
	const shareWithNobody = 0
	handle, err := syscall.CreateFile(path, syscall.GENERIC_READ|syscall.GENERIC_WRITE, shareWithNobody,
		nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errorSharingViolation) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	return os.NewFile(uintptr(handle), name), false, nil
}

// syncDir has nothing to do: NTFS logs renames, and directories cannot be
// synced.
func syncDir(string) error { return nil }
