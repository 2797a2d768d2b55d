package signed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// MaxSize is the longest encoding, in bytes, that Unmarshal and Parse look at.
const MaxSize = 1 << 20

// A Digest is a SHA-256 hash. A statement's Digest is the hash of the bytes that were signed.
type Digest [sha256.Size]byte

// String returns d in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether d names nothing.
func (d Digest) IsZero() bool { return d == Digest{} }

// Sum returns the SHA-256 hash of data.
func Sum(data []byte) Digest { return sha256.Sum256(data) }

// The two modes never change and are safe for concurrent use.
var (
	encoder = must(cbor.EncOptions{
		Sort:          cbor.SortCoreDeterministic,
		ShortestFloat: cbor.ShortestFloat16,
		NaNConvert:    cbor.NaNConvert7e00,
		InfConvert:    cbor.InfConvertFloat16,
		IndefLength:   cbor.IndefLengthForbidden,
		NilContainers: cbor.NilContainerAsEmpty,
	}.EncMode())
	decoder = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		MaxNestedLevels:   16,
		MaxArrayElements:  1 << 16,
		MaxMapPairs:       1 << 16,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
	}.DecMode())
)

func must[T any](mode T, err error) T {
	if err != nil {
		panic("signed: " + err.Error()) // only for options that contradict each other
	}
	return mode
}

// Marshal returns the deterministic CBOR encoding of v (RFC 8949 §4.2.1). Structs name their fields by small
// integers: `cbor:"1,keyasint,omitempty"`.
func Marshal(v any) ([]byte, error) {
	data, err := encoder.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("signed: encoding %T: %w", v, err)
	}
	return data, nil
}

// Unmarshal decodes data into v, a pointer. It refuses whatever Marshal would not have written for the value it
// read: another order of keys, a longer form of a number, an unknown field, an absent value spelled out, bytes
// left over, and anything longer than MaxSize.
func Unmarshal(data []byte, v any) error {
	if len(data) > MaxSize {
		return fmt.Errorf("signed: decoding %T: %d bytes, of at most %d", v, len(data), MaxSize)
	}
	if err := decoder.Unmarshal(data, v); err != nil {
		return fmt.Errorf("signed: decoding %T: %w", v, err)
	}
	again, err := encoder.Marshal(v)
	if err != nil {
		return fmt.Errorf("signed: decoding %T: %w", v, err)
	}
	if !bytes.Equal(again, data) {
		return fmt.Errorf("signed: decoding %T: not in the deterministic form of RFC 8949 section 4.2.1", v)
	}
	return nil
}
