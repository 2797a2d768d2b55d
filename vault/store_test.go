package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"

	"github.com/kindred-iot/kindred/identity"
)

var theThing = identity.MemberID{1, 2, 3}

var testCredential = Credential{ID: "KEYID", Secret: "SECRET"}

// A bucketServer is an S3-like server of another maker, which verifies signatures.
type bucketServer struct {
	*httptest.Server
	meddle atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool] // true: it has answered
}

func newBucketServer(t testing.TB) *bucketServer {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(t.Context(), "birch"); err != nil {
		t.Fatal(err)
	}
	inner := gofakes3.New(backend, gofakes3.WithV4Auth(map[string]string{testCredential.ID: testCredential.Secret})).Server()
	s := &bucketServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := s.meddle.Load(); f != nil && (*f)(w, r) {
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *bucketServer) open(t testing.TB, change ...func(*Bucket, *Credential)) *s3 {
	t.Helper()
	b, c := Bucket{Endpoint: s.URL, Region: "eu-central-1", Name: "birch", Prefix: "street/7"}, testCredential
	for _, f := range change {
		f(&b, &c)
	}
	store, err := OpenS3(b, c)
	if err != nil {
		t.Fatal(err)
	}
	at := store.(*s3)
	at.pause = func(context.Context, int) error { return nil }
	return at
}

// forEachStore runs a test on a folder and on a bucket.
func forEachStore(t *testing.T, test func(t *testing.T, s Store)) {
	t.Run("folder", func(t *testing.T) {
		s, err := OpenDir(filepath.Join(t.TempDir(), "a", "b"))
		if err != nil {
			t.Fatal(err)
		}
		test(t, s)
	})
	t.Run("bucket", func(t *testing.T) { test(t, newBucketServer(t).open(t)) })
}

// listed returns what a store lists, by name.
func listed(t testing.TB, s Store) map[string]Object {
	t.Helper()
	all := map[string]Object{}
	err := s.List(t.Context(), func(o Object) error {
		if _, ok := all[o.Name]; ok {
			t.Errorf("%s is listed twice", o.Name)
		}
		all[o.Name] = o
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What every store does.
func TestStores(t *testing.T) {
	forEachStore(t, func(t *testing.T, s Store) {
		ctx := t.Context()
		name, other := newName(theThing, roleIndex).String(), newName(theThing, roleRecording).String()
		if _, err := s.Get(ctx, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what is not there: %v", err)
		}
		if err := s.Delete(ctx, name); err != nil {
			t.Errorf("deleting what is not there: %v", err)
		}
		large := make([]byte, 3<<20)
		rand.Read(large)
		for _, data := range [][]byte{[]byte("first"), large, {}, []byte("second")} {
			if err := s.Put(ctx, name, data); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Get(ctx, name); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes are read back as %d, %v", len(data), len(got), err)
			}
		}
		if err := s.Put(ctx, other, large); err != nil {
			t.Fatal(err)
		}
		all := listed(t, s)
		if len(all) != 2 || all[name].Size != 6 || all[other].Size != int64(len(large)) {
			t.Errorf("listed: %v", all)
		}
		for _, o := range all {
			if age := time.Since(o.Modified); age < -time.Minute || age > time.Minute {
				t.Errorf("%s was put at %s", o.Name, o.Modified)
			}
		}
		stop := errors.New("stop")
		if err := s.List(ctx, func(Object) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("a list that is to stop: %v", err)
		}
		for range 2 {
			if err := s.Delete(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		if all := listed(t, s); len(all) != 1 || all[other].Size == 0 {
			t.Errorf("listed after one was deleted: %v", all)
		}
		for _, bad := range []string{"", "x", "../" + name, name + "/", strings.ToUpper(name), name[:51], name[:51] + "/"} {
			_, err := s.Get(ctx, bad)
			for _, err := range []error{err, s.Put(ctx, bad, nil), s.Delete(ctx, bad)} {
				if err == nil || errors.Is(err, fs.ErrNotExist) {
					t.Errorf("name %q: %v", bad, err)
				}
			}
		}
	})
}

// A folder's own files are left alone, but for what was begun long ago and not finished.
func TestFoldersHoldOtherThings(t *testing.T) {
	folder := t.TempDir()
	old, young := filepath.Join(folder, temporary+"1"), filepath.Join(folder, temporary+"2")
	notes := filepath.Join(folder, "notes.txt")
	for _, name := range []string{old, young, notes} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * unfinishedFor)
	if err := errors.Join(os.Chtimes(old, long, long), os.Chtimes(notes, long, long)); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(folder, newName(theThing, roleIndex).String())
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := OpenDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	if all := listed(t, s); len(all) != 0 {
		t.Errorf("listed: %v", all)
	}
	if _, err := s.Get(t.Context(), filepath.Base(fifo)); err == nil {
		t.Error("a pipe was read")
	}
	for name, want := range map[string]bool{old: false, young: true, notes: true} {
		if _, err := os.Stat(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenDir(notes); err == nil {
		t.Error("a file is a store")
	}
}

func TestAFullDiskSaysSo(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("a small disk takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := OpenDir(disk)
	if err != nil {
		t.Fatal(err)
	}
	name := newName(theThing, roleIndex).String()
	if err := s.Put(t.Context(), name, []byte("small")); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), name, make([]byte, 100_000)); !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	if got, err := s.Get(t.Context(), name); err != nil || string(got) != "small" {
		t.Errorf("what was there is %q, %v", got, err)
	}
	entries, err := os.ReadDir(disk)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files are left, %v", len(entries), err)
	}
}

// A list of a bucket comes in pages, and what else is in the bucket is not in it.
func TestBucketsWithManyObjects(t *testing.T) {
	server := newBucketServer(t)
	s, all := server.open(t), server.open(t, func(b *Bucket, _ *Credential) { b.Prefix = "" })
	for i := range 1200 {
		at := s
		if i%10 == 0 {
			at = all
		}
		if err := at.Put(t.Context(), newName(theThing, roleIndex).String(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if n, m := len(listed(t, s)), len(listed(t, all)); n != 1080 || m != 120 {
		t.Errorf("%d objects are listed with a prefix and %d without, want 1080 and 120", n, m)
	}
}

func TestBucketsThatFail(t *testing.T) {
	server := newBucketServer(t)
	name := newName(theThing, roleIndex).String()
	ctx := t.Context()
	for _, test := range []struct {
		what   string
		change func(*Bucket, *Credential)
		is     error
		want   string
	}{
		{"another secret", func(_ *Bucket, c *Credential) { c.Secret = "guessed" }, fs.ErrPermission, "SignatureDoesNotMatch"},
		{"another name", func(_ *Bucket, c *Credential) { c.ID = "SOMEBODY" }, fs.ErrPermission, "InvalidAccessKeyId"},
		{"no such bucket", func(b *Bucket, _ *Credential) { b.Name = "oak" }, nil, "NoSuchBucket"},
	} {
		s := server.open(t, test.change)
		err := s.Put(ctx, name, []byte("x"))
		if err == nil || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "guessed") {
			t.Errorf("%s: %v", test.what, err)
		}
		if err := s.List(ctx, func(Object) error { return nil }); err == nil {
			t.Errorf("%s: it is listed", test.what)
		}
	}
	s := server.open(t)
	answer := func(times int, f http.HandlerFunc) *atomic.Int32 {
		var n atomic.Int32
		meddle := func(w http.ResponseWriter, r *http.Request) bool {
			if int(n.Add(1)) > times {
				return false
			}
			f(w, r)
			return true
		}
		server.meddle.Store(&meddle)
		return &n
	}
	busy := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "busy", http.StatusServiceUnavailable) }
	n := answer(2, busy)
	if err := s.Put(ctx, name, []byte("x")); err != nil || n.Load() != 3 {
		t.Errorf("a server that is busy twice: %v after %d", err, n.Load())
	}
	n = answer(3, busy)
	if err := s.Put(ctx, name, []byte("x")); err == nil || n.Load() != s3Tries || !strings.Contains(err.Error(), "503 Service Unavailable") {
		t.Errorf("a server that is busy: %v after %d", err, n.Load())
	}
	n = answer(9, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInsufficientStorage) })
	if err := s.Put(ctx, name, []byte("x")); !errors.Is(err, ErrFull) || n.Load() != 1 {
		t.Errorf("a server that is full: %v after %d", err, n.Load())
	}
	answer(9, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
	})
	if _, err := s.Get(ctx, name); err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("a server that sends one elsewhere: %v", err)
	}
	answer(1, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "cut off")
	})
	if got, err := s.Get(ctx, name); err != nil || string(got) != "x" {
		t.Errorf("after a connection that was lost: %q, %v", got, err)
	}
	answer(9, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>")
	})
	if err := s.List(ctx, func(Object) error { return nil }); err == nil || !strings.Contains(err.Error(), "there is more, and not where") {
		t.Errorf("a list without an end: %v", err)
	}
	s.pages = 3
	n = answer(9, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>%s1</NextContinuationToken></ListBucketResult>", r.URL.Query().Get("continuation-token"))
	})
	if err := s.List(ctx, func(Object) error { return nil }); err == nil || n.Load() != 3 || !strings.Contains(err.Error(), "or says so for ever") {
		t.Errorf("a list that goes on for ever: %v after %d", err, n.Load())
	}
}

func TestOpenStore(t *testing.T) {
	env := map[string]string{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "hush"}
	getenv := func(name string) string { return env[name] }
	for name, want := range map[string]Bucket{
		"s3://birch": {Endpoint: "https://s3.us-east-1.amazonaws.com", Region: "us-east-1", Name: "birch"},
		"s3://birch/street/7/?endpoint=http://[::1]:9000&region=home": {Endpoint: "http://[::1]:9000", Region: "home", Name: "birch", Prefix: "street/7"},
		"s3://birch?region=eu-west-1":                                 {Endpoint: "https://s3.eu-west-1.amazonaws.com", Region: "eu-west-1", Name: "birch"},
	} {
		s, err := OpenStore(name, getenv)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := s.(*s3).bucket; got != want {
			t.Errorf("%s is opened as %+v", name, got)
		}
	}
	for _, name := range []string{
		"s3://", "s3://id:hush@birch", "ftp://birch", "s3://birch?key=hush", "s3://birch#x", "s3://b%20x", "s3://birch/a//b", "s3://birch/../x",
		"s3://birch?endpoint=birch", "s3://birch?endpoint=ftp://x", "s3://birch?endpoint=https://id:hush@x", "s3://birch?endpoint=%zz", "s3://birch\x00",
	} {
		if _, err := OpenStore(name, getenv); err == nil || strings.Contains(err.Error(), "hush@") {
			t.Errorf("%s: %v", name, err)
		}
	}
	env = map[string]string{}
	want := "vault: opening a store: no credentials for bucket birch: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
	if _, err := OpenStore("s3://birch", getenv); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if s, err := OpenStore(t.TempDir(), getenv); err != nil {
		t.Error(err)
	} else if _, ok := s.(dir); !ok {
		t.Errorf("a folder is opened as %T", s)
	}
}

// The examples of Amazon's "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)".
func TestSignatures(t *testing.T) {
	c := Credential{ID: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	now := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		method, url string
		header      map[string]string
		body        string
		want        string
	}{
		{"GET", "/test.txt", map[string]string{"Range": "bytes=0-9"}, "", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
		{"PUT", "/test%24file.text", map[string]string{"Date": "Fri, 24 May 2013 00:00:00 GMT", "X-Amz-Storage-Class": "REDUCED_REDUNDANCY"},
			"Welcome to Amazon S3.", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
		{"GET", "/?lifecycle=", nil, "", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{"GET", "/?max-keys=2&prefix=J", nil, "", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
	} {
		req, err := http.NewRequest(test.method, "https://examplebucket.s3.amazonaws.com"+test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range test.header {
			req.Header.Set(name, value)
		}
		c.sign(req, []byte(test.body), "us-east-1", now)
		got := req.Header.Get("Authorization")
		if !strings.HasPrefix(got, "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=") ||
			!strings.HasSuffix(got, ",Signature="+test.want) {
			t.Errorf("%s %s: %s, want %s", test.method, test.url, got, test.want)
		}
	}
	c.Session = "for a while"
	req, _ := http.NewRequest("GET", "https://x/", nil)
	c.sign(req, nil, "us-east-1", now)
	if got := req.Header; got.Get("X-Amz-Security-Token") != c.Session || !strings.Contains(got.Get("Authorization"), "x-amz-security-token,") {
		t.Errorf("with a session: %v", got)
	}
}

func FuzzName(f *testing.F) {
	f.Add(newName(theThing, roleIndex).String())
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err == nil && (n.String() != s || url.PathEscape(s) != s || filepath.Base(s) != s) {
			t.Errorf("%q is read as %s", s, n)
		}
	})
}

// What a server lists is bytes from outside.
func FuzzBucketList(f *testing.F) {
	f.Add([]byte("<ListBucketResult><Contents><Key>street/7/"+newName(theThing, roleIndex).String()+"</Key><Size>7</Size></Contents></ListBucketResult>"), 200)
	f.Add([]byte("<Error><Code>AccessDenied</Code></Error>"), 403)
	f.Fuzz(func(t *testing.T, data []byte, status int) {
		s := &s3{bucket: Bucket{Name: "birch"}, base: &url.URL{Scheme: "http", Host: "x", Path: "/birch"}, prefix: "street/7/", now: time.Now,
			pause:  func(context.Context, int) error { return errors.New("once is enough") },
			client: &http.Client{Transport: fixed{status, data}}}
		s.List(t.Context(), func(o Object) error {
			if _, err := ParseName(o.Name); err != nil {
				t.Errorf("%q is listed", o.Name)
			}
			return nil
		})
	})
}

// fixed answers everything alike.
type fixed struct {
	status int
	body   []byte
}

func (f fixed) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: f.status, Status: fmt.Sprint(f.status), Body: io.NopCloser(bytes.NewReader(f.body)), Header: http.Header{}}, nil
}
