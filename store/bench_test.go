package store

import (
	"fmt"
	"testing"
)

func BenchmarkSave(b *testing.B) {
	db := openNew(b)
	value := make([]byte, 500)
	for i := 0; b.Loop(); i++ {
		if err := db.Save(b.Context(), map[string][]byte{fmt.Sprintf("head/%020d", i): value, "outbox": value}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	db := openNew(b)
	if err := db.Save(b.Context(), map[string][]byte{"k": make([]byte, 500)}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := db.Load(b.Context(), "k"); err != nil {
			b.Fatal(err)
		}
	}
}
