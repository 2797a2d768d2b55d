package thing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// ErrChanged says that a file was changed while it was fetched: what was read of it is of no use, and it is to be
// fetched from its beginning.
var ErrChanged = errors.New("the file was changed meanwhile")

// A FileState is what a thing says of a file.
type FileState struct {
	ContentType string    // without parameters
	Size        int64     // in bytes
	Modified    time.Time // to the second
	ETag        string    // of this state of its content and no other; empty if the thing gives none
}

// Stat asks for the state of a file that a property of [Files] lists.
func (c *Client) Stat(ctx context.Context, property, file string) (FileState, error) {
	// The first byte rather than HEAD, whose answer could not say what is wrong.
	resp, err := c.file(ctx, http.MethodGet, property, file, http.Header{"Range": {"bytes=0-0"}})
	if err != nil {
		return FileState{}, wrap(OpReadFile, property, err)
	}
	resp.Body.Close()
	state := stateOf(resp)
	if resp.StatusCode == http.StatusPartialContent {
		_, _, state.Size, err = parseContentRange(resp.Header.Get("Content-Range"))
	}
	if err == nil && state.Size < 0 {
		err = errNoSize
	}
	if err != nil {
		return FileState{}, wrap(OpReadFile, property, err)
	}
	return state, nil
}

// errNoSize ends what is asked of a thing that is none of this package's.
var errNoSize = errors.New("the thing does not say how long the file is")

// Fetch begins to read a file that a property of [Files] lists, in the state given from an offset on; from its
// beginning, if it has changed since. What it reads from, and of which state, the download tells. It ends with ctx, and
// heals, see [Download.Read].
func (c *Client) Fetch(ctx context.Context, property, file string, state FileState, offset int64) (*Download, error) {
	d := &Download{FileState: state, Offset: offset, name: property}
	begun := false
	var err error
	d.line, err = begin(ctx, c.Healing, func(ctx context.Context) (*http.Response, error) {
		h := http.Header{}
		if d.Offset > 0 && strongETag(d.ETag) {
			h.Set("Range", fmt.Sprintf("bytes=%d-", d.Offset))
			h.Set("If-Range", d.ETag)
		}
		resp, err := c.file(ctx, http.MethodGet, property, file, h)
		var p *Problem
		if errors.As(err, &p) && p.Status == http.StatusRequestedRangeNotSatisfiable {
			return nil, ErrChanged
		}
		if err != nil {
			return nil, err
		}
		if err := d.accept(resp, begun); err != nil {
			resp.Body.Close()
			return nil, err
		}
		begun = true
		return resp, nil
	})
	if err != nil {
		return nil, wrap(OpReadFile, property, err)
	}
	return d, nil
}

// file makes a request for a file.
func (c *Client) file(ctx context.Context, method, property, file string, h http.Header) (*http.Response, error) {
	if !fs.ValidPath(file) || file == "." {
		return nil, fmt.Errorf("%.100q is no file's name", file)
	}
	if h == nil {
		h = http.Header{}
	}
	h.Set("Accept-Encoding", "identity") // a part of a compressed file is no part of the file
	to := []string{"files", property}
	for part := range strings.SplitSeq(file, "/") {
		to = append(to, url.PathEscape(part))
	}
	return c.send(ctx, method, nil, h, to)
}

func stateOf(resp *http.Response) FileState {
	s := FileState{Size: resp.ContentLength, ETag: resp.Header.Get("ETag")}
	s.ContentType, _, _ = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	s.Modified, _ = http.ParseTime(resp.Header.Get("Last-Modified")) // zero where none is told
	return s
}

// strongETag reports whether an entity tag tells any two states apart (RFC 9110, §8.8.1).
func strongETag(tag string) bool { return strings.HasPrefix(tag, `"`) }

// A Download is a file being read. One goroutine may read it.
type Download struct {
	FileState
	Offset int64 // in the file, of the byte that Read gives next
	name   string
	line   *line
}

// accept takes an answer for what is to come from Offset on. If it is the whole file in place of that, reading begins
// anew, unless it has begun.
func (d *Download) accept(resp *http.Response, begun bool) error {
	state := stateOf(resp)
	if resp.StatusCode == http.StatusPartialContent {
		first, last, size, err := parseContentRange(resp.Header.Get("Content-Range"))
		switch {
		case err != nil:
			return err
		case first != d.Offset || last != size-1 || resp.ContentLength != size-first || !strongETag(d.ETag) || state.ETag != d.ETag:
			return ErrChanged
		}
		d.Size = size
		return nil
	}
	if begun && (d.Offset > 0 || state.ETag != d.ETag) {
		return ErrChanged
	}
	if state.Size < 0 {
		return errNoSize
	}
	d.FileState, d.Offset = state, 0
	return nil
}

// Read reads on. A connection that is lost it makes again, as [Client.Healing] says, and goes on where it was. It fails
// with [ErrChanged] where that cannot be, with a [Problem] where the thing refuses, and with [ErrLost] where the
// connection did not come back.
func (d *Download) Read(p []byte) (int, error) {
	if d.Offset < d.Size && strongETag(d.ETag) {
		d.line.move()
	}
	for {
		n, err := d.line.resp.Body.Read(p)
		if n > 0 {
			d.Offset += int64(n)
			d.line.came()
			return n, nil // an error comes again
		}
		switch {
		case err == nil:
			return 0, nil
		case d.Offset == d.Size:
			return 0, io.EOF
		case err == io.EOF:
			err = io.ErrUnexpectedEOF
		}
		if err = d.line.again(err); err != nil {
			return 0, wrap(OpReadFile, d.name, err)
		}
	}
}

// Close ends the download. It may be called at any time, to end a Read that waits.
func (d *Download) Close() error { return d.line.close() }

// parseContentRange reads "bytes FIRST-LAST/SIZE" (RFC 9110, §14.4).
func parseContentRange(text string) (first, last, size int64, err error) {
	bad := fmt.Errorf("Content-Range %.60q does not say which bytes of how many", text)
	span, whole, ok := strings.Cut(strings.TrimPrefix(text, "bytes "), "/")
	from, to, ok2 := strings.Cut(span, "-")
	if !ok || !ok2 || !strings.HasPrefix(text, "bytes ") {
		return 0, 0, 0, bad
	}
	var n [3]uint64
	for i, digits := range []string{from, to, whole} {
		if n[i], err = strconv.ParseUint(digits, 10, 63); err != nil {
			return 0, 0, 0, bad
		}
	}
	if n[0] > n[1] || n[1] >= n[2] {
		return 0, 0, 0, bad
	}
	return int64(n[0]), int64(n[1]), int64(n[2]), nil
}
