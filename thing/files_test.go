package thing

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/kindred-iot/kindred/thing/thingtest"
)

// folder serves a folder as the property "recordings".
func folder(files fs.FS) http.Handler {
	t := New("Recorder")
	Files(t, "recordings", "What was recorded", files)
	return t.Handler(permit)
}

func TestFilesDescription(t *testing.T) {
	th := New("Recorder")
	Files(th, "recordings", "What was recorded", fstest.MapFS{})
	d := th.Describe()
	raw, _ := json.Marshal(d.Properties["recordings"])
	want := `{"type":"array","description":"What was recorded","items":{"type":"object","properties":{` +
		`"modified":{"type":"string","format":"date-time"},` +
		`"name":{"type":"string","description":"with the folders that it is in, between slashes"},` +
		`"size":{"type":"integer","unit":"byte"}},"required":["name","size","modified"]},"readOnly":true,` +
		`"uriVariables":{"file":{"type":"string","description":"a name of the list"}},` +
		`"forms":[{"href":"properties/recordings","contentType":"application/json","op":["readproperty"]},` +
		`{"href":"files/recordings/{+file}","contentType":"application/octet-stream","op":["readproperty"]}]}`
	if string(raw) != want {
		t.Errorf("got  %s\nwant %s", raw, want)
	}
	thingtest.Valid(t, d)
}

// recordings makes a folder with what may be served and what may not, beside a secret.
func recordings(t *testing.T) fs.FS {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"secret.txt":                  "classified",
		"served/monday.mp4":           "0123456789",
		"served/2026/11/tuesday.mp4":  "tuesday",
		"served/.hidden":              "classified",
		"served/.git/config":          "classified",
		"served/2026/.thumbnails/a":   "classified",
		"served/with space & more%.x": "odd",
		"served/observe":              "a file of this name",
		"served/empty":                "",
	} {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, time.Time{}, time.Unix(int64(1e9+len(content)), 0)); err != nil {
			t.Fatal(err)
		}
	}
	served := filepath.Join(dir, "served")
	for link, to := range map[string]string{"out.txt": "../secret.txt", "abs.txt": filepath.Join(dir, "secret.txt"), "in.mp4": "monday.mp4", "up": ".."} {
		if err := os.Symlink(to, filepath.Join(served, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(served, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(served)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root.FS()
}

func TestFilesAreListed(t *testing.T) {
	c := serve(t, folder(recordings(t)))
	v, err := c.Read(t.Context(), "recordings")
	if err != nil {
		t.Fatal(err)
	}
	var files []File
	if err := v.Decode(&files); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, fmt.Sprintf("%s %d %d", f.Name, f.Size, f.Modified.Unix()-1e9))
	}
	want := "observe 19 19; in.mp4 10 10; monday.mp4 10 10; 2026/11/tuesday.mp4 7 7; with space & more%.x 3 3; empty 0 0"
	if strings.Join(got, "; ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "; "), want)
	}
}

func TestFilesServed(t *testing.T) {
	h := folder(recordings(t))
	get := func(path string, headers ...string) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequest("GET", "/x", nil)
		r.URL.Path, r.URL.RawPath = path, ""
		for _, line := range headers {
			name, value, _ := strings.Cut(line, ": ")
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if strings.Contains(w.Body.String(), "classified") {
			t.Errorf("%s gives the secret away", path)
		}
		return w
	}
	whole := get("/files/recordings/monday.mp4")
	tag, date := whole.Header().Get("ETag"), whole.Header().Get("Last-Modified")
	for _, tt := range []struct {
		path    string
		headers []string
		status  int
		body    string
	}{
		{"monday.mp4", nil, 200, "0123456789"},
		{"2026/11/tuesday.mp4", nil, 200, "tuesday"},
		{"in.mp4", nil, 200, "0123456789"},
		{"observe", nil, 200, "a file of this name"},
		{"with space & more%.x", nil, 200, "odd"},
		{"monday.mp4", []string{"Range: bytes=3-5"}, 206, "345"},
		{"monday.mp4", []string{"Range: bytes=-2"}, 206, "89"},
		{"monday.mp4", []string{"Range: bytes=7-", "If-Range: " + tag}, 206, "789"},
		{"monday.mp4", []string{"Range: bytes=7-", "If-Range: " + date}, 206, "789"},
		{"monday.mp4", []string{"Range: bytes=7-", `If-Range: "another"`}, 200, "0123456789"},
		{"monday.mp4", []string{"Range: bytes=10-"}, 416, ""},
		{"monday.mp4", []string{"If-None-Match: " + tag}, 304, ""},
		{"monday.mp4", []string{`If-Match: "another"`}, 412, ""},
		{"", nil, 404, ""},
		{".", nil, 404, ""},
		{"2026", nil, 404, ""},
		{"2026/11/", nil, 404, ""},
		{"missing.mp4", nil, 404, ""},
		{".hidden", nil, 404, ""},
		{".git/config", nil, 404, ""},
		{"2026/.thumbnails/a", nil, 404, ""},
		{"../secret.txt", nil, 404, ""},
		{"2026/../../secret.txt", nil, 404, ""},
		{"2026/../monday.mp4", nil, 404, ""},
		{"/etc/passwd", nil, 404, ""},
		{"//etc/passwd", nil, 404, ""},
		{`..\secret.txt`, nil, 404, ""},
		{"monday.mp4\x00.jpg", nil, 404, ""},
		{"out.txt", nil, 404, ""},
		{"abs.txt", nil, 404, ""},
		{"up/secret.txt", nil, 404, ""},
		{"up/served/monday.mp4", nil, 404, ""},
		{"pipe", nil, 404, ""},
		{"monday.mp4/x", nil, 404, ""},
	} {
		w := get("/files/recordings/"+tt.path, tt.headers...)
		if w.Code != tt.status || (tt.status < 300 && w.Body.String() != tt.body) {
			t.Errorf("%q %q: %d %q, want %d %q", tt.path, tt.headers, w.Code, w.Body, tt.status, tt.body)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%q: may be sniffed", tt.path)
		}
	}
	if w := get("/files/elsewhere/monday.mp4"); w.Code != 404 {
		t.Errorf("of another property: %d", w.Code)
	}
	if got := whole.Header().Get("Content-Type"); got != "video/mp4" {
		t.Errorf("content type %q", got)
	}
}

func TestFilesAskPermission(t *testing.T) {
	th := New("Recorder")
	Files(th, "recordings", "What was recorded", fstest.MapFS{"a": {}})
	var asked []string
	h := th.Handler(func(_ *http.Request, op Op, name string) error {
		asked = append(asked, string(op)+" "+name)
		return errors.New("no")
	})
	for _, path := range []string{"/properties/recordings", "/files/recordings/a", "/files/recordings/missing"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != http.StatusForbidden {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if got := strings.Join(asked, ", "); got != "readproperty recordings, readfile recordings, readfile recordings" {
		t.Errorf("asked %s", got)
	}
}

func TestFetch(t *testing.T) {
	c := serve(t, folder(recordings(t)))
	state, err := c.Stat(t.Context(), "recordings", "monday.mp4")
	if err != nil || state.Size != 10 || state.ContentType != "video/mp4" || state.Modified.Unix() != 1e9+10 || !strongETag(state.ETag) {
		t.Fatalf("%+v, %v", state, err)
	}
	if empty, err := c.Stat(t.Context(), "recordings", "empty"); err != nil || empty.Size != 0 {
		t.Errorf("%+v, %v", empty, err)
	}
	other := state
	other.ETag = `"another"`
	for _, tt := range []struct {
		name   string
		state  FileState
		offset int64
		want   string
	}{
		{"monday.mp4", FileState{}, 0, "0123456789"},
		{"monday.mp4", state, 4, "456789"},
		{"monday.mp4", state, 9, "9"},
		{"monday.mp4", other, 4, "0123456789"},
		{"monday.mp4", FileState{}, 4, "0123456789"},
		{"with space & more%.x", FileState{}, 0, "odd"},
		{"empty", FileState{}, 0, ""},
	} {
		d, err := c.Fetch(t.Context(), "recordings", tt.name, tt.state, tt.offset)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(d)
		if err != nil || string(got) != tt.want || d.Offset != d.Size {
			t.Errorf("%s from %d: %q, %v, want %q", tt.name, tt.offset, got, err, tt.want)
		}
		d.Close()
	}
	for _, name := range []string{"", "..", "../secret.txt", "a/../../b", "/etc/passwd"} {
		if _, err := c.Fetch(t.Context(), "recordings", name, FileState{}, 0); err == nil || !strings.Contains(err.Error(), "is no file's name") {
			t.Errorf("%q: %v", name, err)
		}
	}
	var p *Problem
	if _, err := c.Fetch(t.Context(), "recordings", "missing", FileState{}, 0); !errors.As(err, &p) || p.Status != 404 {
		t.Errorf("of a file that is not there: %v", err)
	}
}

func FuzzContentRange(f *testing.F) {
	for _, text := range []string{"bytes 3-9/10", "bytes 0-0/1", "bytes 3-8/10", "bytes */10", "bytes 5-4/5", "", "bytes 0-9223372036854775806/9223372036854775807"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, last, size, err := parseContentRange(text)
		if err != nil {
			return
		}
		if first < 0 || last < first || size <= last {
			t.Errorf("%q gives %d to %d of %d", text, first, last, size)
		}
		again, end, whole, err := parseContentRange(fmt.Sprintf("bytes %d-%d/%d", first, last, size))
		if err != nil || again != first || end != last || whole != size {
			t.Errorf("%q does not survive: %d to %d of %d, %v", text, again, end, whole, err)
		}
	})
}
