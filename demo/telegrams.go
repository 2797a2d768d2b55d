package demo

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/meter/p1"
)

// Input is what the meter replays.
type input struct {
	files    []string // all with a good telegram at least
	told     string   // what it is, in words
	skipped  []skip
	readings []reading // what the demo's own expressions find
}

// A skip is a file that is not replayed, or in part.
type skip struct {
	File string `json:"file"`
	Why  string `json:"why"`
}

// Step is between two telegrams of the day that is made up: the meter tells them a second apart, a day in 12 minutes.
const step = 2 * time.Minute

// makeUp writes a day of telegrams into a file, and tells of it as of files.
func makeUp(file string, start time.Time) (input, error) {
	var b bytes.Buffer
	n := 0
	for r := range p1.Simulate(start, seed, step) {
		b.Write(p1.Encode(r))
		n++
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		return input{}, err
	}
	in := input{files: []string{file}, told: fmt.Sprintf("%d telegrams through a day of a made-up household", n)}
	in.readings = find(b.Bytes())
	return in, nil
}

// examine reads the files that the meter is to replay, and says which are passed over, and why.
func examine(files []string) (input, error) {
	var in input
	good := 0
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return in, err
		}
		n, why := count(data)
		good += n
		if why != "" {
			in.skipped = append(in.skipped, skip{filepath.Base(name), why})
		}
		if n == 0 {
			continue
		}
		if name, err = filepath.Abs(name); err != nil {
			return in, err
		}
		in.files = append(in.files, name)
		in.readings = append(in.readings, find(data)...)
	}
	in.told = fmt.Sprintf("%d recorded telegrams of %d files", good, len(in.files))
	if len(in.skipped) > 0 {
		in.told += "; skipped are " + skips(in.skipped)
	}
	if good == 0 {
		return in, fmt.Errorf("no file has a telegram that a meter could tell: %s", in.told)
	}
	return in, nil
}

// count returns how many telegrams of a file a meter can tell, and what is wrong with the first that it cannot.
func count(data []byte) (good int, why string) {
	s := p1.NewScanner(bytes.NewReader(data))
	for s.Scan() {
		if _, err := p1.Parse(s.Telegram()); err == nil {
			good++
		} else if why == "" {
			why = strings.TrimPrefix(err.Error(), "p1: parsing telegram: ")
		}
	}
	if good == 0 && why == "" {
		why = "no telegram in it"
	}
	return good, why
}

func skips(list []skip) string {
	texts := make([]string, len(list))
	for i, s := range list {
		texts[i] = s.File + " (" + s.Why + ")"
	}
	return strings.Join(texts, ", ")
}

// A reading is what the demo finds in a telegram without the help of the package that the meter uses.
type reading struct {
	time  time.Time
	power int64 // drawn, in W
	names []string
}

// The expressions. Names are the identification line and whatever an identifier object holds: those of meters behind
// this one too.
var (
	telegramText = regexp.MustCompile(`(?s)/[^\n]{5,}\n.*?\n!`)
	timeText     = regexp.MustCompile(`(?m)^0-0:1\.0\.0\((\d{12})([SW])\)`)
	powerText    = regexp.MustCompile(`(?m)^1-0:1\.7\.0\((\d+(?:\.\d+)?)\*(k?)W\)`)
	modelText    = regexp.MustCompile(`^/(\S{8,})`)
	nameText     = regexp.MustCompile(`(?m)^0-\d:96\.1\.[01]\(([0-9A-Za-z]{8,})\)`)
)

// find returns what the expressions find in the telegrams of a text. Telegrams without a time or a power have nothing
// to compare, and are passed over.
func find(text []byte) []reading {
	var found []reading
	for _, telegram := range telegramText.FindAll(text, -1) {
		at, power := timeText.FindSubmatch(telegram), powerText.FindSubmatch(telegram)
		if at == nil || power == nil {
			continue
		}
		zone := "+0100"
		if string(at[2]) == "S" {
			zone = "+0200"
		}
		moment, err := time.Parse("060102150405-0700", string(at[1])+zone)
		watts, ok := new(big.Rat).SetString(string(power[1]))
		if err != nil || !ok {
			continue
		}
		if len(power[2]) > 0 {
			watts.Mul(watts, big.NewRat(1000, 1))
		}
		if !watts.IsInt() {
			continue
		}
		found = append(found, reading{moment, watts.Num().Int64(), names(telegram)})
	}
	return found
}

// names returns what tells a meter from others, as it stands in the telegram and as it is printed on the meter.
func names(telegram []byte) []string {
	var list []string
	if m := modelText.FindSubmatch(telegram); m != nil {
		list = append(list, string(m[1]))
	}
	for _, m := range nameText.FindAllSubmatch(telegram, -1) {
		list = append(list, string(m[1]))
		if plain, err := hex.DecodeString(string(m[1])); err == nil {
			list = append(list, string(plain))
		}
	}
	return list
}

// match returns the telegram that says what the meter told.
func (in input) match(at time.Time, power int64) (reading, error) {
	times := 0
	for _, r := range in.readings {
		if !r.time.Equal(at) {
			continue
		}
		times++
		if r.power == power {
			return r, nil
		}
	}
	if times > 0 {
		return reading{}, fmt.Errorf("the meter told %d W at %s, and no telegram of that time does", power, at)
	}
	return reading{}, errors.New("the meter told a time that stands in no telegram: " + at.String())
}
