package demo

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A suggestion is a command to try, and what for.
type suggestion struct {
	Why     string `json:"why"`
	Command string `json:"command"`
}

// yourTurn prints commands that can be copied into another terminal.
func (s *story) yourTurn() error {
	var list []suggestion
	add := func(who member, why string, args ...string) {
		list = append(list, suggestion{why, s.line(who, args...)})
	}
	add(s.who.laptop, "who and what there is", "tree")
	add(s.who.phone, "what the meter says", "get", pathMeter)
	add(s.who.phone, "the doorbell's picture", "get", pathDoorbell, "picture", "-o", filepath.Join(s.dir, "front-door.jpg"))
	add(s.who.guest, "anna follows the meter: refused until …", "watch", pathMeter, "telegram")
	add(s.who.laptop, "… sam shares it", "share", pathMeter, "--with", pathGuest)
	add(s.who.laptop, "and takes it back", "unshare", pathMeter, "--with", pathGuest)
	add(s.who.guest, "anna at the lock", "do", pathLock, "unlock")
	add(s.who.stranger, "the stranger at the lock: refused", "get", s.lock.id, "state", "--at", s.lock.outside)
	add(s.who.laptop, "who can use it", "who-can", pathLock)
	add(s.who.laptop, "what happened", "log")
	add(s.who.laptop, "and what was agreed beside it", "report")
	if s.tell.json {
		return s.tell.object(map[string]any{"dir": s.dir, "commands": list})
	}
	if err := s.tell.chapter("Your turn"); err != nil {
		return err
	}
	text := "  The home stays up until you press Ctrl-C. In another terminal:\n\n"
	for _, c := range list {
		text += fmt.Sprintf("  %s\n  %s\n", s.tell.paint(faint, "# "+c.Why), c.Command)
	}
	return s.tell.printf("%s", text)
}

// line writes a command as a shell takes it.
func (s *story) line(who member, args ...string) string {
	words := append([]string{s.name(), "--dir", who.dir}, args...)
	if who.host != nil {
		words = who.host.Command(context.Background(), words[0], words[1:]...).Args
	}
	for i, w := range words {
		words[i] = quote(w)
	}
	return strings.Join(words, " ")
}

// name is how the binary is called from a shell.
func (s *story) name() string {
	name := filepath.Base(s.cfg.Binary)
	if found, err := exec.LookPath(name); err == nil && same(found, s.cfg.Binary) {
		return name
	}
	return s.cfg.Binary
}

func same(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// quote quotes a word for a POSIX shell if it needs to be.
func quote(word string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_./:,=@%+", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
