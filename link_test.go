package kindred

import (
	"testing"
	"testing/synctest"
	"time"
)

// What there was no room for is handed in again after a while, and not before.
func TestHandingInAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l link
		if l.room() != nil {
			t.Error("a node whose journal is taken waits for room")
		}
		began := time.Now()
		l.full = began
		time.Sleep(roomAfter / 3) // somebody poked meanwhile
		if at := <-l.room(); at.Sub(began) != roomAfter {
			t.Errorf("after %s, want %s", at.Sub(began), roomAfter)
		}
	})
}
