package thing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

const (
	maxListed = 10_000  // files that a list names, the newest
	maxWalked = 100_000 // entries of folders that are looked at for it
)

// A File is an entry of the list that a property of [Files] has for its value.
type File struct {
	Name     string    `json:"name" doc:"with the folders that it is in, between slashes"`
	Size     int64     `json:"size" unit:"byte"`
	Modified time.Time `json:"modified"`
}

// FilesProp is a declared property that lists files.
type FilesProp struct{ f *shelf }

// A shelf is what a property of files lists.
type shelf struct {
	fs.FS
	longest time.Duration // that a file was recorded for
}

// LongestFile is how long the recording of a file is taken to have lasted where nothing else is said.
const LongestFile = 24 * time.Hour

// Files declares a property whose value is the list of the files in a folder and those below it, newest first, and
// whose files can be fetched one by one, whole or in part. Files and folders whose names begin with a dot are neither
// listed nor served, nor is anything but regular files, which must be an [io.Seeker]. A folder of this machine is best
// given as [os.Root.FS], beyond which no symbolic link leads. It panics where name is not a name or is taken.
//
// When a file was last changed its recording ended. When it began is not known: whoever may see some moments only (see
// [View]) is shown the files that cannot be of others, see [FilesProp.Longest].
func Files(t *Thing, name, description string, files fs.FS) FilesProp {
	f := &shelf{FS: files, longest: LongestFile}
	p := &property{description: description, schema: SchemaOf[[]File](), contentType: jsonType, files: f}
	p.read = func(ctx context.Context) ([]byte, error) { return f.listed(ctx, View{}) }
	declare(t.properties, "property", name, p)
	return FilesProp{f}
}

// Longest says how long the recording of a file lasted at most: the shorter, the more of them can be shown to those who
// may not see all. It panics unless that is above zero.
func (p FilesProp) Longest(d time.Duration) FilesProp {
	if d <= 0 {
		panic(fmt.Sprintf("thing: files of at most %v", d))
	}
	p.f.longest = d
	return p
}

// shows reports whether a view shows all that a file may be of.
func (f *shelf) shows(v View, modified time.Time) bool {
	return v.span(modified.Add(-f.longest), modified)
}

// listed gives the list of the files that a view shows, as JSON.
func (f *shelf) listed(ctx context.Context, v View) ([]byte, error) {
	all, err := list(ctx, f.FS, func(modified time.Time) bool { return f.shows(v, modified) })
	if err != nil {
		return nil, err
	}
	return json.Marshal(all)
}

// list gives the newest files of a folder, of those that are to be shown.
func list(ctx context.Context, folder fs.FS, shown func(modified time.Time) bool) ([]File, error) {
	files := []File{}
	walked := 0
	err := fs.WalkDir(folder, ".", func(name string, d fs.DirEntry, err error) error {
		switch walked++; {
		case ctx.Err() != nil:
			return ctx.Err()
		case name == "." && err != nil:
			return err
		case walked > maxWalked:
			return fmt.Errorf("more than %d entries", maxWalked)
		case name == ".":
			return nil
		case err != nil, hidden(name): // what cannot be read is not served either
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return nil
		}
		if info, err := fs.Stat(folder, name); err == nil && info.Mode().IsRegular() && shown(info.ModTime()) {
			files = append(files, File{name, info.Size(), info.ModTime().UTC()})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing files: %w", err)
	}
	slices.SortFunc(files, func(a, b File) int {
		if order := b.Modified.Compare(a.Modified); order != 0 {
			return order
		}
		return strings.Compare(a.Name, b.Name)
	})
	return files[:min(len(files), maxListed)], nil
}

// hidden reports whether any part of a name begins with a dot.
func hidden(name string) bool { return strings.HasPrefix(name, ".") || strings.Contains(name, "/.") }

// file serves one file by [http.ServeContent]: with ETag, ranges, and the conditions of RFC 9110.
func (s *servient) file(w http.ResponseWriter, r *http.Request, to route) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	p := s.properties[to.name]
	if p == nil || p.files == nil {
		absent(w, "property of files", to.name)
		return
	}
	defer s.streams.Add(-1)
	if s.streams.Add(1) > maxStreams {
		refuse(w, fmt.Errorf("%d streams are open, no more are served", maxStreams), http.StatusServiceUnavailable)
		return
	}
	if err := viewOf(r.Context()).allOf(to.name); err != nil {
		refuse(w, err, http.StatusForbidden)
		return
	}
	f, info, err := openFile(p.files.FS, to.file)
	if err == nil && !p.files.shows(viewOf(r.Context()), info.ModTime()) { // what is not listed is not there
		err = errors.Join(fs.ErrNotExist, f.Close())
	}
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, fs.ErrNotExist) {
			status, err = http.StatusNotFound, fmt.Errorf("there is no file %.100q", to.file)
		}
		refuse(w, err, status)
		return
	}
	defer f.Close()
	h.Set("Content-Type", mediaType(to.file))
	h.Set("ETag", fmt.Sprintf(`"%x-%x"`, info.Size(), info.ModTime().UnixNano()))
	out := &paced{ResponseWriter: w, stream: stream{w: w, rc: http.NewResponseController(w), ctx: r.Context()}}
	out.shown = func() bool {
		v := viewOf(r.Context())
		return v.allOf(to.name) == nil && p.files.shows(v, info.ModTime())
	}
	unhook := context.AfterFunc(r.Context(), func() { out.deadline(endLimit) })
	defer out.done(unhook)
	http.ServeContent(out, r, "", info.ModTime(), f)
}

// openFile opens a regular file that may be served. What may not, is not there.
func openFile(folder fs.FS, name string) (interface {
	io.ReadSeeker
	io.Closer
}, fs.FileInfo, error) {
	if !fs.ValidPath(name) || name == "." || hidden(name) || strings.ContainsAny(name, "\\\x00") {
		return nil, nil, fs.ErrNotExist
	}
	info, err := fs.Stat(folder, name) // before it is opened: opening a pipe would wait for its other end
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, nil, notThere(err)
	}
	f, err := folder.Open(name)
	if err != nil {
		return nil, nil, notThere(err)
	}
	if info, err = f.Stat(); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	seeker, ok := f.(interface {
		io.ReadSeeker
		io.Closer
	})
	if !ok || !info.Mode().IsRegular() {
		return nil, nil, errors.Join(fmt.Errorf("file %.100q cannot be read in parts", name), f.Close())
	}
	return seeker, info, nil
}

// notThere keeps from callers why a file cannot be opened: of a link that leads elsewhere they learn nothing.
func notThere(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return fs.ErrNotExist
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		return fs.ErrNotExist
	}
	return err
}

// mediaType names a file's type by its ending, alike on every machine.
func mediaType(name string) string {
	switch ending := strings.ToLower(path.Ext(name)); ending {
	case ".mp4", ".m4v":
		return "video/mp4"
	case ".mkv":
		return "video/x-matroska"
	case ".ts":
		return "video/mp2t"
	case ".webm":
		return "video/webm"
	case ".txt", ".log", ".csv", ".md":
		return "text/plain; charset=utf-8"
	case ".jpg", ".jpeg", ".png", ".gif", ".webp", ".json", ".pdf":
		return mime.TypeByExtension(ending)
	}
	return "application/octet-stream"
}

// paced is a response of which each write has a time of its own, and none is made after the request's context ended.
// Nor is any once the file is not to be seen any more.
type paced struct {
	http.ResponseWriter
	stream
	shown func() bool
}

// Write writes p.
func (w *paced) Write(p []byte) (int, error) {
	w.deadline(writeLimit)
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	if !w.shown() {
		return 0, errMoment
	}
	return w.ResponseWriter.Write(p)
}

// done leaves the connection as it was, for the next request.
func (w *paced) done(unhook func() bool) {
	unhook()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.rc.SetWriteDeadline(time.Time{})
}
