package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/identity"
)

// A Store keeps sealed objects by name: a folder (OpenDir), a bucket (OpenS3), or whatever else can do this. It needs
// to be trusted with nothing but to give back what it was given; what it does not, is noticed.
//
// Its methods may be called from several goroutines, and by several processes for one store.
type Store interface {
	// Put stores an object in place of one of its name, as a whole or not at all, and durably before it returns nil.
	// The error is ErrFull where there is no room.
	Put(ctx context.Context, name string, data []byte) error
	// Get returns an object; an error that is fs.ErrNotExist says there is none.
	Get(ctx context.Context, name string) ([]byte, error)
	// List calls each with what there is, in no order. What is put or deleted meanwhile may be among it or not.
	List(ctx context.Context, each func(Object) error) error
	// Delete takes an object away. That there is none is no error.
	Delete(ctx context.Context, name string) error
}

// An Object is what a store shows of something stored.
type Object struct {
	Name     string
	Size     int64
	Modified time.Time // when it was put, by the store's clock
}

// objectsOf returns the names of a thing's objects of some roles that were put when it is wanted, in order, and each once,
// however often the store lists it.
func objectsOf(ctx context.Context, s Store, thing identity.MemberID, wanted func(put time.Time) bool, roles ...role) ([]Name, error) {
	found := map[Name]bool{}
	err := s.List(ctx, func(o Object) error {
		name, err := ParseName(o.Name)
		if err == nil && wanted(o.Modified) && slices.ContainsFunc(roles, func(of role) bool { return name.of(thing, of) }) {
			found[name] = true
		}
		return nil
	})
	return slices.SortedFunc(maps.Keys(found), func(a, b Name) int { return slices.Compare(a[:], b[:]) }), err
}

// ErrFull says that a store has no room.
var ErrFull = errors.New("the store is full")

// A Credential opens a bucket. It comes from the environment and is in no log, error or URL.
type Credential struct {
	ID, Secret string
	Session    string // of credentials that are for a while; "": of others
}

// OpenStore opens a store by its name: a folder, or s3://BUCKET[/PREFIX]?endpoint=URL&region=NAME, where both are
// optional and the endpoint is Amazon's unless it is said. getenv reads the environment, for buckets:
// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL.
func OpenStore(name string, getenv func(string) string) (Store, error) {
	if !strings.Contains(name, "://") {
		return OpenDir(name)
	}
	fail := func(format string, args ...any) (Store, error) {
		return nil, fmt.Errorf("vault: opening a store: "+format, args...)
	}
	u, err := url.Parse(name)
	if err != nil || u.User != nil { // what stands there may be a secret
		return fail("that is no name of a store: want a folder, or s3://BUCKET?endpoint=URL; credentials come from the environment")
	}
	if u.Scheme != "s3" || u.Host == "" || u.Fragment != "" {
		return fail("%q is no name of a store: want a folder, or s3://BUCKET?endpoint=URL", name)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fail("%q: its options cannot be read", name)
	}
	for option := range query {
		if option != "endpoint" && option != "region" {
			return fail("%q: there is no option %q, want endpoint or region", name, option)
		}
	}
	b := Bucket{Name: u.Host, Prefix: strings.Trim(u.Path, "/")}
	b.Region = cmp.Or(query.Get("region"), getenv("AWS_REGION"), "us-east-1")
	b.Endpoint = cmp.Or(query.Get("endpoint"), getenv("AWS_ENDPOINT_URL"), "https://s3."+b.Region+".amazonaws.com")
	return OpenS3(b, Credential{
		ID: getenv("AWS_ACCESS_KEY_ID"), Secret: getenv("AWS_SECRET_ACCESS_KEY"), Session: getenv("AWS_SESSION_TOKEN"),
	})
}
