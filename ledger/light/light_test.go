package light_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/light"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
)

// vector is one of testdata/vectors.json, which a test of package chain makes with CometBFT's own types. Because is
// part of the reason that this package gives to refuse it.
type vector struct {
	Name    string
	Anchor  hexBytes
	AppHash hexBytes
	Proof   hexBytes
	Height  uint64
	Time    time.Time
	Hash    hexBytes
	Because string
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.AppendDecode(nil, text)
	return err
}

func (v vector) anchor(t testing.TB) (a ledger.Anchor) {
	t.Helper()
	if err := signed.Unmarshal(v.Anchor, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func (v vector) proof(t testing.TB) (p light.Proof) {
	t.Helper()
	if err := signed.Unmarshal(v.Proof, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

func vectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) == 0 {
		t.Fatal("no vectors")
	}
	return file.Vectors
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			block, err := light.Verify(v.anchor(t), v.proof(t), merkle.Hash(v.AppHash))
			if v.Because != "" {
				if err == nil || !strings.HasPrefix(err.Error(), "light: verifying block ") || !strings.Contains(err.Error(), v.Because) {
					t.Fatalf("%v, want %q", err, v.Because)
				}
				if outdated := strings.Contains(v.Because, "signed") || strings.Contains(v.Because, "changed validators"); errors.Is(err, light.ErrSignature) != outdated {
					t.Errorf("%v: errors.Is(ErrSignature) is %v", err, !outdated)
				}
				if block != (light.Block{}) {
					t.Errorf("refused, and a block: %+v", block)
				}
				return
			}
			if want := (light.Block{Height: v.Height, Time: v.Time, Hash: merkle.Hash(v.Hash)}); err != nil || block != want {
				t.Errorf("%+v, %v, want %+v", block, err, want)
			}
		})
	}
}

// TestEveryBit: no bit of a proof, nor of the application hash, can be altered.
func TestEveryBit(t *testing.T) {
	for _, v := range vectors(t)[:2] {
		anchor, appHash := v.anchor(t), merkle.Hash(v.AppHash)
		for i := range len(v.Proof) * 8 {
			altered := slices.Clone(v.Proof)
			altered[i/8] ^= 1 << (i % 8)
			var p light.Proof
			if err := signed.Unmarshal(altered, &p); err != nil {
				continue
			}
			if _, err := light.Verify(anchor, p, appHash); err == nil {
				t.Fatalf("%s: bit %d can be altered", v.Name, i)
			}
		}
		for i := range len(appHash) * 8 {
			altered := appHash
			altered[i/8] ^= 1 << (i % 8)
			if _, err := light.Verify(anchor, v.proof(t), altered); !errors.Is(err, light.ErrSignature) {
				t.Fatalf("%s: bit %d of the application hash can be altered: %v", v.Name, i, err)
			}
		}
	}
}

// FuzzProof: nothing but the proofs there are is accepted, however a proof is encoded.
func FuzzProof(f *testing.F) {
	good := vectors(f)[1] // four validators
	anchor, appHash, want := good.anchor(f), merkle.Hash(good.AppHash), good.proof(f)
	for _, v := range vectors(f) {
		f.Add([]byte(v.Proof))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p light.Proof
		if err := signed.Unmarshal(data, &p); err != nil {
			return
		}
		block, err := light.Verify(anchor, p, appHash)
		if err != nil {
			if block != (light.Block{}) {
				t.Fatalf("refused, and a block: %+v", block)
			}
			return
		}
		again, err := signed.Marshal(p)
		if err != nil || !slices.Equal(again, good.Proof) {
			t.Fatalf("%+v accepted, only %+v was signed", p, want)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	for _, v := range vectors(b)[:3] {
		b.Run(strings.ReplaceAll(v.Name, " ", "-"), func(b *testing.B) {
			anchor, p, appHash := v.anchor(b), v.proof(b), merkle.Hash(v.AppHash)
			b.ReportMetric(float64(len(v.Proof)), "B/proof")
			for b.Loop() {
				if _, err := light.Verify(anchor, p, appHash); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
