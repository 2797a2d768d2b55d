package vault

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A Bucket is where on an S3-like server objects are.
type Bucket struct {
	Endpoint string // URL of the server
	Region   string
	Name     string
	Prefix   string // before the names of objects, "" or without slashes at its ends
}

// An s3 is a store in a bucket.
type s3 struct {
	bucket     Bucket
	base       *url.URL // of the bucket
	prefix     string
	credential Credential
	client     *http.Client
	now        func() time.Time
	pause      func(ctx context.Context, tries int) error // before a request is repeated
	pages      int                                        // of a list, at most
}

// What an S3-like server has time for, and how often it is asked.
const (
	s3Timeout = 5 * time.Minute // of one request
	s3Tries   = 3
	s3Page    = 1000   // objects of a list, at most
	s3Pages   = 10_000 // of a list, at most
	maxS3List = 4 << 20
	maxS3Told = 64 << 10 // of an error
)

// OpenS3 opens the store in a bucket, which has to be there. The server is asked with the bucket in the path, over
// plain net/http, signed in the way that Amazon calls Signature Version 4; what fails on its side is tried again.
func OpenS3(b Bucket, c Credential) (Store, error) {
	fail := func(format string, args ...any) (Store, error) {
		return nil, fmt.Errorf("vault: opening a store: "+format, args...)
	}
	if c.ID == "" || c.Secret == "" {
		return fail("no credentials for bucket %s: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment", b.Name)
	}
	base, err := url.Parse(b.Endpoint)
	if err != nil || base.User != nil {
		return fail("the endpoint of bucket %s is no URL, or has credentials in it", b.Name)
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.RawQuery != "" {
		return fail("%q is no endpoint: want http:// or https:// and a host", b.Endpoint)
	}
	if !plainPath(b.Name) || b.Prefix != "" && !plainPath(b.Prefix) {
		return fail("bucket %q with prefix %q: want letters, digits, and . - _ / between them", b.Name, b.Prefix)
	}
	s := &s3{bucket: b, base: base.JoinPath(b.Name), credential: c, now: time.Now, pause: pause, pages: s3Pages, client: &http.Client{
		Timeout:       s3Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // signed for this host
	}}
	if b.Prefix != "" {
		s.prefix = b.Prefix + "/"
	}
	return s, nil
}

// plainPath reports whether a text is the same in a URL and needs no escaping when it is signed.
func plainPath(s string) bool {
	rest := strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_/")
	return s != "" && rest == "" && fs.ValidPath(s)
}

// pause waits before a request is repeated, longer each time.
func pause(ctx context.Context, tries int) error {
	timer := time.NewTimer(time.Duration(tries) * time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// An s3Error is what a server says went wrong.
type s3Error struct {
	Status  int    `xml:"-"`
	Code    string `xml:"Code"`
	Message string `xml:"Message"`
}

func (e *s3Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("the server answered %s: %.200q", e.Code, e.Message)
}

// Is tells apart what callers do.
func (e *s3Error) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Status == http.StatusNotFound && e.Code != "NoSuchBucket"
	case fs.ErrPermission:
		return e.Status == http.StatusForbidden
	case ErrFull:
		return e.Status == http.StatusInsufficientStorage || strings.Contains(e.Code, "StorageFull") || strings.Contains(e.Code, "QuotaExceeded")
	}
	return false
}

// do asks the server, again where that may help, and returns what read makes of its answer.
func (s *s3) do(ctx context.Context, method, name, query string, body []byte, read func(io.Reader) error) error {
	for tries := 1; ; tries++ {
		again, err := s.once(ctx, method, name, query, body, read)
		if err == nil || !again || tries == s3Tries || ctx.Err() != nil {
			return err
		}
		if perr := s.pause(ctx, tries); perr != nil {
			return errors.Join(err, perr)
		}
	}
}

func (s *s3) once(ctx context.Context, method, name, query string, body []byte, read func(io.Reader) error) (again bool, err error) {
	at := s.base
	if name != "" {
		at = at.JoinPath(s.prefix + name)
	}
	u := *at
	u.RawQuery = query
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	s.credential.sign(req, body, s.bucket.Region, s.now())
	resp, err := s.client.Do(req)
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		e := &s3Error{Status: resp.StatusCode}
		if xml.NewDecoder(io.LimitReader(resp.Body, maxS3Told)).Decode(e) != nil {
			e.Code = ""
		}
		return resp.StatusCode >= 500 && !errors.Is(e, ErrFull) || resp.StatusCode == http.StatusTooManyRequests, e
	}
	if read == nil {
		return false, nil
	}
	return true, read(resp.Body)
}

// valid checks a name, so that none leads out of the prefix.
func valid(name string) error {
	_, err := ParseName(name)
	return err
}

func (s *s3) Put(ctx context.Context, name string, data []byte) error {
	err := valid(name)
	if err == nil {
		err = s.do(ctx, http.MethodPut, name, "", data, nil)
	}
	if err != nil {
		return fmt.Errorf("vault: storing in bucket %s: %w", s.bucket.Name, err)
	}
	return nil
}

func (s *s3) Get(ctx context.Context, name string) (data []byte, err error) {
	if err = valid(name); err == nil {
		err = s.do(ctx, http.MethodGet, name, "", nil, func(body io.Reader) (err error) {
			data, err = readAll(body, name)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("vault: reading from bucket %s: %w", s.bucket.Name, err)
	}
	return data, nil
}

func (s *s3) Delete(ctx context.Context, name string) error {
	err := valid(name)
	if err == nil {
		err = s.do(ctx, http.MethodDelete, name, "", nil, nil)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("vault: deleting from bucket %s: %w", s.bucket.Name, err)
	}
	return nil
}

// An s3List is a page of a list (ListObjectsV2).
type s3List struct {
	Contents []struct {
		Key          string
		Size         int64
		LastModified time.Time
	}
	IsTruncated           bool
	NextContinuationToken string
}

func (s *s3) List(ctx context.Context, each func(Object) error) error {
	token := ""
	for range s.pages {
		list, err := s.list(ctx, token)
		if err != nil {
			return fmt.Errorf("vault: listing bucket %s: %w", s.bucket.Name, err)
		}
		for _, c := range list.Contents {
			name, ok := strings.CutPrefix(c.Key, s.prefix)
			if !ok || valid(name) != nil {
				continue
			}
			if err := each(Object{name, c.Size, c.LastModified}); err != nil {
				return err
			}
		}
		if !list.IsTruncated {
			return nil
		}
		if list.NextContinuationToken == "" || list.NextContinuationToken == token {
			return fmt.Errorf("vault: listing bucket %s: the server says that there is more, and not where", s.bucket.Name)
		}
		token = list.NextContinuationToken
	}
	return fmt.Errorf("vault: listing bucket %s: the server has more than %d times %d objects, or says so for ever", s.bucket.Name, s.pages, s3Page)
}

func (s *s3) list(ctx context.Context, token string) (list s3List, err error) {
	query := url.Values{"list-type": {"2"}, "max-keys": {fmt.Sprint(s3Page)}}
	if s.prefix != "" {
		query.Set("prefix", s.prefix)
	}
	if token != "" {
		query.Set("continuation-token", token)
	}
	// Sorted by Encode as it is signed; a blank is %20 there, where a form has +.
	text := strings.ReplaceAll(query.Encode(), "+", "%20")
	err = s.do(ctx, http.MethodGet, "", text, nil, func(body io.Reader) error {
		list = s3List{}
		return xml.NewDecoder(io.LimitReader(body, maxS3List)).Decode(&list)
	})
	return list, err
}
