package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/signed"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// A house is a tree with a camera, home/cam, another one, home/eye, and keys of those who read.
type house struct {
	*identitytest.Tree
	t              testing.TB
	cam, eye       *identitytest.Member
	sam, anna, eve Key
}

func newHouse(t testing.TB) house {
	h := house{Tree: identitytest.NewTree(t, noon), t: t, sam: newKey(t), anna: newKey(t), eve: newKey(t)}
	h.Add(identity.Place, "home")
	h.cam, h.eye = h.Add(identity.Device, "home/cam"), h.Add(identity.Device, "home/eye")
	return h
}

func (h house) recorder(s Store) *Recorder { return h.recorderOf(s, h.cam) }

func (h house) recorderOf(s Store, m *identitytest.Member) *Recorder {
	return NewRecorder(s, m.Signer, m.Chain, func() time.Time { return noon })
}

func (h house) reader(s Store, k Key) Reader {
	return Reader{Store: s, Key: k, Verify: func(chain [][]byte, at time.Time) (identity.Chain, error) {
		return identity.Verify(chain, h.ID, h.Root, at)
	}}
}

// recording returns the recording of a minute after noon.
func recording(minute int, content string) Recording {
	from := noon.Add(time.Duration(minute) * time.Minute)
	return Recording{
		Affordance: "recordings", Title: from.Format("15-04.mjpeg"), Type: "video/x-motion-jpeg",
		From: from, Until: from.Add(time.Minute), Content: []byte(content),
	}
}

func (h house) record(r *Recorder, rec Recording, to ...Key) {
	h.t.Helper()
	if err := r.Record(h.t.Context(), rec, recipients(to...)); err != nil {
		h.t.Fatal(err)
	}
}

func recipients(keys ...Key) (to []Recipient) {
	for _, k := range keys {
		to = append(to, k.Recipient())
	}
	return to
}

// shelf returns what a key opens of the camera's recordings: title and content of each.
func (h house) shelf(s Store, k Key) (shelf Shelf, contents string) {
	h.t.Helper()
	r := h.reader(s, k)
	shelf, err := r.Of(h.t.Context(), h.cam.Member(), time.Time{})
	if err != nil {
		h.t.Fatal(err)
	}
	var all []string
	for _, f := range shelf.Found {
		content, err := r.Open(h.t.Context(), f)
		if err != nil {
			content = []byte(err.Error())
		}
		all = append(all, f.Title+" "+string(content))
	}
	return shelf, strings.Join(all, ", ")
}

// Two members: anna comes later than the first recording, and has gone before the last.
func TestRecordingsAreForThoseOfTheMoment(t *testing.T) {
	forEachStore(t, func(t *testing.T, s Store) {
		h := newHouse(t)
		r := h.recorder(s)
		h.record(r, recording(0, "a cat"), h.sam)
		h.record(r, recording(1, "a dog"), h.sam, h.anna)
		h.record(r, recording(2, "a fox"), h.anna, h.sam)
		h.record(r, recording(3, "an owl"), h.sam)
		h.record(h.recorder(s), recording(4, "a bat"), h.sam) // started anew
		h.record(h.recorderOf(s, h.eye), recording(5, "another camera's"), h.sam, h.anna)
		for _, test := range []struct {
			key    Key
			want   string
			others int
		}{
			{h.sam, "12-00.mjpeg a cat, 12-01.mjpeg a dog, 12-02.mjpeg a fox, 12-03.mjpeg an owl, 12-04.mjpeg a bat", 0},
			{h.anna, "12-01.mjpeg a dog, 12-02.mjpeg a fox", 3},
			{h.eve, "", 4},
			{Key{}, "", 4},
		} {
			shelf, got := h.shelf(s, test.key)
			if got != test.want || shelf.Others != test.others || len(shelf.Damaged) != 0 {
				t.Errorf("found %q, %d for others, %v; want %q, %d for others", got, shelf.Others, shelf.Damaged, test.want, test.others)
			}
		}
		found, err := h.reader(s, h.sam).Of(t.Context(), h.cam.Member(), noon.Add(3*time.Minute+30*time.Second))
		if err != nil || len(found.Found) != 2 || found.Found[0].Title != "12-03.mjpeg" {
			t.Errorf("since half past three minutes: %+v, %v", found, err)
		}
		if found, err := h.reader(s, h.sam).Of(t.Context(), h.cam.Member(), time.Now().Add(3*time.Hour)); err != nil || len(found.Found) != 0 {
			t.Errorf("in three hours: %+v, %v", found, err)
		}
	})
}

// An index has so many entries, and then there is another one.
func TestIndexesAreBounded(t *testing.T) {
	h, s := newHouse(t), newShelves()
	r := h.recorder(s)
	for i := range 2*MaxEntries + 1 {
		h.record(r, recording(i, fmt.Sprint(i)), h.sam)
	}
	if shelf, _ := h.shelf(s, h.sam); len(shelf.Found) != 2*MaxEntries+1 || len(s.objects) != 2*MaxEntries+1+3 {
		t.Errorf("%d recordings in %d objects", len(shelf.Found), len(s.objects))
	}
}

// Whoever keeps the store sees random names, padded sizes, and nothing that says what, whose or for whom.
func TestAStoreLearnsNothing(t *testing.T) {
	forEachStore(t, func(t *testing.T, s Store) {
		h := newHouse(t)
		r := h.recorder(s)
		secret := strings.Repeat("who came home at ten past two? ", 1000)
		sizes := map[int64]bool{}
		for i := range 30 {
			h.record(r, recording(i, secret[:len(secret)-i]), h.sam, h.anna, h.eve)
		}
		telling := [][]byte{[]byte("who came home"), []byte("mjpeg"), []byte("recordings"), []byte("home/cam"), h.cam.Raw[0][50:90], []byte(h.ID.String())}
		id := h.cam.Member()
		telling = append(telling, id[:], []byte(id.String()), []byte(h.sam.Recipient().String()[20:60]))
		first := map[byte]int{}
		for name, o := range listed(t, s) {
			data, err := s.Get(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range telling {
				if bytes.Contains(data, text) || strings.Contains(name, string(text)) {
					t.Errorf("%s shows %q", name, text)
				}
			}
			sizes[o.Size] = true
			first[name[0]]++
		}
		if len(sizes) > 3 { // all recordings have one, and the index another
			t.Errorf("there are %d sizes", len(sizes))
		}
		if len(first) < 6 {
			t.Errorf("names begin with %d characters of 32", len(first))
		}
	})
}

// shelves are a store in memory that meddles.
type shelves struct {
	mu      sync.Mutex
	objects map[string][]byte
	put     func(name string, data []byte) error // instead of storing, unless it returns errStore
}

var errStore = errors.New("store it")

func newShelves() *shelves { return &shelves{objects: map[string][]byte{}} }

func (s *shelves) Put(_ context.Context, name string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.put != nil {
		if err := s.put(name, data); !errors.Is(err, errStore) {
			return err
		}
	}
	s.objects[name] = data
	return nil
}

func (s *shelves) Get(_ context.Context, name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.objects[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return data, nil
}

func (s *shelves) List(_ context.Context, each func(Object) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, data := range s.objects {
		if err := each(Object{name, int64(len(data)), time.Now()}); err != nil {
			return err
		}
	}
	return nil
}

func (s *shelves) Delete(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, name)
	return nil
}

// names returns the names of the camera's objects of a role.
func (s *shelves) names(thing identity.MemberID, of role) (names []string) {
	for name := range s.objects {
		if n, err := ParseName(name); err == nil && n.of(thing, of) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// What a store alters, cuts off, swaps or makes up is noticed, and never shown for what it is not.
func TestAStoreCanAlterNothing(t *testing.T) {
	h := newHouse(t)
	camera := h.cam.Member()
	for _, test := range []struct {
		what   string
		meddle func(s *shelves, indexes, recordings []string)
		want   string // of what is found
		others int
		broken int // indexes
	}{
		{"nothing", func(*shelves, []string, []string) {}, "12-00.mjpeg a cat, 12-01.mjpeg a dog", 0, 0},
		{"recordings swapped", func(s *shelves, _, recordings []string) {
			a, b := recordings[0], recordings[1]
			s.objects[a], s.objects[b] = s.objects[b], s.objects[a]
		}, "12-00.mjpeg DAMAGED, 12-01.mjpeg DAMAGED", 0, 0},
		{"a recording cut off", func(s *shelves, _, recordings []string) {
			for _, name := range recordings {
				s.objects[name] = s.objects[name][:len(s.objects[name])-20]
			}
		}, "12-00.mjpeg DAMAGED, 12-01.mjpeg DAMAGED", 0, 0},
		{"a recording for others", func(s *shelves, _, recordings []string) {
			for _, name := range recordings {
				s.objects[name] = mustSeal(t, []byte("a cat"), h.eve.Recipient())
			}
		}, "12-00.mjpeg DAMAGED, 12-01.mjpeg DAMAGED", 0, 0},
		{"a recording made up", func(s *shelves, _, recordings []string) {
			for _, name := range recordings {
				s.objects[name] = mustSeal(t, []byte("a fox"), h.sam.Recipient())
			}
		}, "12-00.mjpeg DAMAGED, 12-01.mjpeg DAMAGED", 0, 0},
		{"a recording gone", func(s *shelves, _, recordings []string) {
			for _, name := range recordings {
				delete(s.objects, name)
			}
		}, "12-00.mjpeg GONE, 12-01.mjpeg GONE", 0, 0},
		{"an index altered", func(s *shelves, indexes, _ []string) {
			s.objects[indexes[0]] = slices.Clone(s.objects[indexes[0]])
			s.objects[indexes[0]][len(s.objects[indexes[0]])-5] ^= 1
		}, "", 0, 1},
		{"an index under another name", func(s *shelves, indexes, _ []string) {
			s.objects[newName(camera, roleIndex).String()] = s.objects[indexes[0]]
		}, "12-00.mjpeg a cat, 12-01.mjpeg a dog", 0, 1},
		{"a recording for an index", func(s *shelves, indexes, recordings []string) {
			s.objects[indexes[0]] = s.objects[recordings[0]]
		}, "", 0, 1},
		{"another camera's index", func(s *shelves, indexes, _ []string) {
			name := newName(camera, roleIndex)
			s.objects[name.String()] = h.index(h.eye, Index{Thing: h.eye.Member(), Name: name})
		}, "12-00.mjpeg a cat, 12-01.mjpeg a dog", 0, 1},
		{"an index by somebody else", func(s *shelves, indexes, _ []string) {
			name := newName(camera, roleIndex)
			s.objects[name.String()] = h.index(h.eye, Index{Thing: camera, Name: name})
		}, "12-00.mjpeg a cat, 12-01.mjpeg a dog", 0, 1},
		{"an index that nobody signed", func(s *shelves, indexes, _ []string) {
			s.objects[indexes[0]] = mustSeal(t, []byte("a list"), h.sam.Recipient())
		}, "", 0, 1},
		{"an index that is large", func(s *shelves, indexes, _ []string) {
			s.objects[indexes[0]] = make([]byte, maxSealed+1)
		}, "", 0, 1},
		{"an index for others", func(s *shelves, indexes, _ []string) {
			s.objects[newName(camera, roleIndex).String()] = mustSeal(t, nil, h.eve.Recipient())
		}, "12-00.mjpeg a cat, 12-01.mjpeg a dog", 1, 0},
		{"what is no object", func(s *shelves, _, _ []string) { s.objects["notes.txt"] = nil }, "12-00.mjpeg a cat, 12-01.mjpeg a dog", 0, 0},
	} {
		s := newShelves()
		r := h.recorder(s)
		h.record(r, recording(0, "a cat"), h.sam)
		h.record(r, recording(1, "a dog"), h.sam)
		test.meddle(s, s.names(camera, roleIndex), s.names(camera, roleRecording))
		reader := h.reader(s, h.sam)
		shelf, err := reader.Of(t.Context(), camera, time.Time{})
		if err != nil {
			t.Errorf("%s: %v", test.what, err)
			continue
		}
		var got []string
		for _, f := range shelf.Found {
			content, err := reader.Open(t.Context(), f)
			switch {
			case errors.Is(err, ErrDamaged):
				content = []byte("DAMAGED")
			case errors.Is(err, fs.ErrNotExist):
				content = []byte("GONE")
			case err != nil:
				t.Errorf("%s: %v", test.what, err)
			}
			got = append(got, f.Title+" "+string(content))
		}
		if got := strings.Join(got, ", "); got != test.want || shelf.Others != test.others || len(shelf.Damaged) != test.broken {
			t.Errorf("%s: found %q, %d for others, damaged %v; want %q, %d and %d", test.what, got, shelf.Others, shelf.Damaged, test.want, test.others, test.broken)
		}
		for _, err := range shelf.Damaged {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: %v", test.what, err)
			}
		}
	}
}

// index returns an index signed by a member, for sam.
func (h house) index(by *identitytest.Member, x Index) []byte {
	h.t.Helper()
	x.Tree, x.Affordance, x.Time = h.ID, "recordings", noon.Unix()
	if x.Entries == nil {
		x.Entries = []Entry{{Object: newName(x.Thing, roleRecording), Title: "a", Type: "b", Size: 1}}
	}
	raw, err := signed.Sign(by.Signer, IndexType, x, by.Raw...)
	if err != nil {
		h.t.Fatal(err)
	}
	return mustSeal(h.t, raw, h.sam.Recipient())
}

func TestIndexesAreChecked(t *testing.T) {
	h := newHouse(t)
	camera := h.cam.Member()
	good := Entry{Object: newName(camera, roleRecording), Title: "12-00.mjpeg", Type: "video/x-motion-jpeg", From: 1, Until: 2, Size: 3}
	with := func(change func(*Entry)) []Entry {
		e := good
		change(&e)
		return []Entry{e}
	}
	for what, test := range map[string]struct {
		entries []Entry
		want    string
	}{
		"in order":          {[]Entry{good}, ""},
		"empty":             {[]Entry{}, "0 entries, want 1 to 64"},
		"many":              {slices.Repeat([]Entry{good}, MaxEntries+1), "65 entries, want 1 to 64"},
		"a path":            {with(func(e *Entry) { e.Title = "../x" }), `"../x" is no name of a file`},
		"a hidden file":     {with(func(e *Entry) { e.Title = ".profile" }), `".profile" is no name of a file`},
		"no title":          {with(func(e *Entry) { e.Title = "" }), `"" is no name of a file`},
		"a line break":      {with(func(e *Entry) { e.Title = "a\nb" }), `"a\nb" is no name of a file`},
		"a long title":      {with(func(e *Entry) { e.Title = strings.Repeat("x", 129) }), "is no name of a file"},
		"no type":           {with(func(e *Entry) { e.Type = "" }), `"" is no media type`},
		"backwards":         {with(func(e *Entry) { e.Until = 0 }), "12-00.mjpeg lasts from 1 until 0"},
		"for ever":          {with(func(e *Entry) { e.Until = maxMillis + 1 }), "lasts from 1 until"},
		"large":             {with(func(e *Entry) { e.Size = MaxContent + 1 }), "12-00.mjpeg has 67108865 bytes, of at most 67108864"},
		"negative":          {with(func(e *Entry) { e.Size = -1 }), "12-00.mjpeg has -1 bytes, of at most 67108864"},
		"another's":         {with(func(e *Entry) { e.Object = newName(h.eye.Member(), roleRecording) }), "is no recording of the thing"},
		"an index as entry": {with(func(e *Entry) { e.Object = newName(camera, roleIndex) }), "is no recording of the thing"},
	} {
		s, name := newShelves(), newName(camera, roleIndex)
		s.objects[name.String()] = h.index(h.cam, Index{Thing: camera, Name: name, Entries: test.entries})
		shelf, err := h.reader(s, h.sam).Of(t.Context(), camera, time.Time{})
		switch {
		case err != nil:
			t.Errorf("%s: %v", what, err)
		case test.want == "" && len(shelf.Found) != 1, test.want != "" && (len(shelf.Damaged) != 1 || !strings.Contains(shelf.Damaged[0].Error(), test.want)):
			t.Errorf("%s: %d found, damaged %v; want %s", what, len(shelf.Found), shelf.Damaged, test.want)
		}
	}
}

func TestRecordRefuses(t *testing.T) {
	h, s := newHouse(t), newShelves()
	r := h.recorder(s)
	for want, change := range map[string]func(*Recording){
		`"a/b" is no name of a file`: func(rec *Recording) { rec.Title = "a/b" },
		`"" is no media type`:        func(rec *Recording) { rec.Type = "" },
		`"" is no affordance`:        func(rec *Recording) { rec.Affordance = "" },
		"lasts from":                 func(rec *Recording) { rec.Until = rec.From.Add(-time.Hour) },
		"67108865 bytes, of at most": func(rec *Recording) { rec.Content = make([]byte, MaxContent+1) },
	} {
		rec := recording(0, "a cat")
		change(&rec)
		if err := r.Record(t.Context(), rec, recipients(h.sam)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := r.Record(t.Context(), recording(0, "a cat"), nil); err == nil || !strings.Contains(err.Error(), "0 recipients") {
		t.Errorf("for nobody: %v", err)
	}
	if len(s.objects) != 0 {
		t.Errorf("%d objects were stored", len(s.objects))
	}
}

// At each write in turn a store fails, once before it stored and once after. What was acknowledged is there, nothing is
// listed that is not, and the thing goes on.
func TestFaultsAtEveryWrite(t *testing.T) {
	const writes = 8
	for at := range writes {
		for _, after := range []bool{false, true} {
			h, s := newHouse(t), newShelves()
			n := 0
			s.put = func(name string, data []byte) error {
				if n++; n-1 != at {
					return errStore
				}
				if after {
					s.objects[name] = data
				}
				return fmt.Errorf("%w: by the test", ErrFull)
			}
			r := h.recorder(s)
			var want []string
			for i := range writes/2 + 1 {
				rec := recording(i, fmt.Sprint(i))
				err := r.Record(t.Context(), rec, recipients(h.sam))
				if failed := i == at/2; failed != errors.Is(err, ErrFull) {
					t.Errorf("fault %d: %v", at, err)
				}
				if content := at%2 == 0; err == nil || !content { // of what is not listed now the next index tells
					want = append(want, rec.Title+" "+string(rec.Content))
				}
			}
			shelf, got := h.shelf(s, h.sam)
			if got != strings.Join(want, ", ") || len(shelf.Damaged) != 0 {
				t.Errorf("fault %d, after storing %t: found %q, want %q; damaged %v", at, after, got, want, shelf.Damaged)
			}
		}
	}
}

// With a full disk the error says so, what is there stays, and once there is room it goes on.
func TestAFullDiskAndThenRoom(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=128k"); err != nil {
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
	h := newHouse(t)
	r := h.recorder(s)
	h.record(r, recording(0, "a cat"), h.sam)
	large := recording(1, strings.Repeat("x", 200_000))
	if err := r.Record(t.Context(), large, recipients(h.sam)); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	h.record(r, recording(2, "a dog"), h.sam)
	if _, got := h.shelf(s, h.sam); got != "12-00.mjpeg a cat, 12-02.mjpeg a dog" {
		t.Errorf("found %q", got)
	}
	if err := syscall.Mount("", disk, "tmpfs", syscall.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	h.record(r, large, h.sam)
	if shelf, _ := h.shelf(s, h.sam); len(shelf.Found) != 3 {
		t.Errorf("%d found", len(shelf.Found))
	}
}

// What is old is deleted, whatever process stored it, and nothing of anybody else's.
func TestForget(t *testing.T) {
	forEachStore(t, func(t *testing.T, s Store) {
		h := newHouse(t)
		h.record(h.recorder(s), recording(0, "a cat"), h.sam)
		h.record(h.recorderOf(s, h.eye), recording(0, "another camera's"), h.sam)
		r := h.recorder(s)
		if n, err := r.Forget(t.Context(), time.Now().Add(-time.Hour)); n != 0 || err != nil {
			t.Errorf("what is an hour old: %d, %v", n, err)
		}
		if n, err := r.Forget(t.Context(), time.Now().Add(time.Hour)); n != 2 || err != nil {
			t.Errorf("everything: %d, %v", n, err)
		}
		if left := listed(t, s); len(left) != 2 {
			t.Errorf("%d objects are left", len(left))
		}
	})
}

// A repeating store lists each object again and again.
type repeating struct{ Store }

func (s repeating) List(ctx context.Context, each func(Object) error) error {
	return s.Store.List(ctx, func(o Object) error { return errors.Join(each(o), each(o), each(o)) })
}

// However often a store lists something, it is shown once, and deleted once.
func TestAStoreThatRepeatsItself(t *testing.T) {
	folder, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h, s := newHouse(t), repeating{folder}
	r := h.recorder(s)
	h.record(r, recording(0, "a cat"), h.sam)
	if shelf, contents := h.shelf(s, h.sam); len(shelf.Found) != 1 {
		t.Errorf("it has %d recordings: %s", len(shelf.Found), contents)
	}
	if shelf, _ := h.shelf(s, h.anna); shelf.Others != 1 {
		t.Errorf("%d lists are sealed to others", shelf.Others)
	}
	if n, err := r.Forget(t.Context(), time.Now().Add(time.Hour)); n != 2 || err != nil {
		t.Errorf("of two objects %d are deleted, %v", n, err)
	}
}

// A reader is told what it may see while things are stored and forgotten, and nothing it may not.
func TestReadingWhileItIsStored(t *testing.T) {
	h := newHouse(t)
	s, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := h.recorder(s)
	var wait sync.WaitGroup
	wait.Go(func() {
		for i := range 30 {
			to := []Key{h.sam}
			if rand.IntN(2) == 0 {
				to = append(to, h.anna)
			}
			h.record(r, recording(i, fmt.Sprint(i)), to...)
		}
	})
	last := 0
	for range 10 {
		shelf, err := h.reader(s, h.sam).Of(t.Context(), h.cam.Member(), time.Time{})
		if err != nil || len(shelf.Damaged) != 0 || shelf.Others != 0 {
			t.Errorf("%+v, %v", shelf, err)
		}
		if len(shelf.Found) < last {
			t.Errorf("%d found after %d", len(shelf.Found), last)
		}
		last = len(shelf.Found)
	}
	wait.Wait()
	if shelf, _ := h.shelf(s, h.sam); len(shelf.Found) != 30 {
		t.Errorf("%d found at the end", len(shelf.Found))
	}
}

func FuzzIndex(f *testing.F) {
	h := newHouse(f)
	camera, name := h.cam.Member(), newName(h.cam.Member(), roleIndex)
	entry := Entry{Object: newName(camera, roleRecording), Title: "a", Type: "b", Size: 1}
	x := Index{Tree: h.ID, Thing: camera, Name: name, Affordance: "recordings", Entries: []Entry{entry}, Time: noon.Unix()}
	raw, err := signed.Sign(h.cam.Signer, IndexType, x, h.cam.Raw...)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := openIndex(data, name, camera, h.reader(nil, h.sam).Verify)
		if err == nil && (len(got.Entries) != 1 || got.Entries[0] != entry || got.Affordance != x.Affordance) {
			t.Errorf("%x is read as %+v", data, got)
		}
	})
}
