package p1

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Parse reads one telegram, from its slash to the end of the line with the
// checksum, as [Scanner] returns it. It keeps nothing of its argument.
//
// The checksum is checked first: where it is wrong the error names both values.
// See the package's documentation for what else is refused.
func Parse(telegram []byte) (Reading, error) {
	r, err := parse(telegram)
	if err != nil {
		return Reading{}, fmt.Errorf("p1: parsing telegram: %w", err)
	}
	return r, nil
}

func parse(telegram []byte) (Reading, error) {
	identifier, lines, err := open(telegram)
	if err != nil {
		return Reading{}, err
	}
	f := fields{objects: map[string]string{}, repeated: map[string]bool{}}
	for line := range strings.SplitSeq(lines, "\n") {
		id, values, ok := strings.Cut(strings.TrimSuffix(line, "\r"), "(")
		if !ok {
			continue
		}
		if _, again := f.objects[id]; again {
			f.repeated[id] = true
		}
		f.objects[id] = "(" + values
	}
	r := f.reading()
	r.Identifier = identifier
	return r, f.err
}

// open checks a telegram's frame and checksum, and gives the identification
// line and the lines of data objects.
func open(telegram []byte) (identifier, lines string, err error) {
	if len(telegram) > MaxTelegram {
		return "", "", fmt.Errorf("longer than %d bytes", MaxTelegram)
	}
	if len(telegram) == 0 || telegram[0] != '/' {
		return "", "", fmt.Errorf("does not begin with %q", "/")
	}
	end := bytes.Index(telegram, []byte("\n!"))
	if end < 0 {
		if len(telegram) == MaxTelegram {
			return "", "", fmt.Errorf("no line with %q within %d bytes", "!", MaxTelegram)
		}
		return "", "", fmt.Errorf("cut short: no line with %q", "!")
	}
	end += len("\n!")
	sum, _, _ := strings.Cut(string(telegram[end:]), "\n")
	if err := checkSum(telegram[:end], strings.TrimSpace(sum)); err != nil {
		return "", "", err
	}
	identifier, lines, _ = strings.Cut(string(telegram[:end-1]), "\n")
	identifier = strings.TrimSuffix(identifier, "\r")
	if err := checkIdentifier(identifier); err != nil {
		return "", "", err
	}
	return identifier, lines, nil
}

func checkSum(covered []byte, told string) error {
	if told == "" {
		return fmt.Errorf("no checksum after %q, so damage cannot be told (DSMR before version 4?)", "!")
	}
	want, err := strconv.ParseUint(told, 16, 16)
	if err != nil || len(told) > 4 {
		return fmt.Errorf("checksum %.12q is not four hexadecimal digits", told)
	}
	if got := crc16(covered); got != uint16(want) {
		return fmt.Errorf("checksum is %04X, telegram says %04X", got, want)
	}
	return nil
}

func checkIdentifier(s string) error {
	if len(s) < 2 || len(s) > 128 {
		return fmt.Errorf("identification line of %d bytes", len(s))
	}
	for _, c := range []byte(s) {
		if c >= 0x80 || c == '\r' {
			return fmt.Errorf("identification line %q is not ASCII", s)
		}
	}
	return nil
}

// fields reads a telegram's data objects. The first thing found wrong sticks,
// and makes all later reads return zero.
type fields struct {
	objects  map[string]string // OBIS reference to values, parentheses included
	repeated map[string]bool
	err      error
}

// values gives the values of an object without their parentheses.
func (f *fields) values(id string) ([]string, bool) {
	raw, ok := f.objects[id]
	if !ok || f.err != nil {
		return nil, false
	}
	if f.repeated[id] {
		f.fail(id, "stands twice")
		return nil, false
	}
	inner, ok := strings.CutSuffix(strings.TrimPrefix(raw, "("), ")")
	if !ok {
		f.fail(id, fmt.Sprintf("%.40q does not end with %q", raw, ")"))
		return nil, false
	}
	return strings.Split(inner, ")("), true
}

// value gives the only value of an object.
func (f *fields) value(id string) (string, bool) {
	vs, ok := f.values(id)
	if ok && len(vs) != 1 {
		f.fail(id, fmt.Sprintf("%d values, want one", len(vs)))
		return "", false
	}
	if !ok {
		return "", false
	}
	return vs[0], true
}

func (f *fields) fail(id, what string) {
	if f.err == nil {
		f.err = fmt.Errorf("%s: %s", id, what)
	}
}

// text reads an identifier; an empty one counts as not told.
func (f *fields) text(id string) string {
	s, _ := f.value(id)
	if len(s) > 96 {
		f.fail(id, fmt.Sprintf("identifier of %d bytes, at most 96", len(s)))
		return ""
	}
	for _, c := range []byte(s) {
		if c < 0x20 || c > 0x7e || c == '(' || c == ')' {
			f.fail(id, fmt.Sprintf("identifier %q is not plain text", s))
			return ""
		}
	}
	return s
}

// digits reads a whole number of at most max.
func (f *fields) digits(id string, max int) int {
	s, ok := f.value(id)
	if !ok {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || int(n) > max {
		f.fail(id, fmt.Sprintf("%.20q is not a number of at most %d", s, max))
		return 0
	}
	return int(n)
}

// units says how many decimals a number in some unit has when it is kept in the
// unit of this package (Wh, W, mV, mA).
var units = map[string]int{"kWh": 3, "Wh": 0, "kW": 3, "W": 0, "V": 3, "A": 3}

// amount reads a number with one of the units allowed.
func (f *fields) amount(id string, allowed ...string) (int64, bool) {
	s, ok := f.value(id)
	if !ok {
		return 0, false
	}
	number, unit, _ := strings.Cut(s, "*")
	for _, u := range allowed {
		if u != unit {
			continue
		}
		n, err := parseFixed(number, units[u])
		if err != nil {
			f.fail(id, err.Error())
		}
		return n, err == nil
	}
	f.fail(id, fmt.Sprintf("%.40q is not in %s", s, strings.Join(allowed, " or ")))
	return 0, false
}

// parseFixed reads digits with at most one point as a number of units of
// 10^-decimals, exactly.
func parseFixed(s string, decimals int) (int64, error) {
	whole, frac, _ := strings.Cut(s, ".")
	kept, rest := frac, ""
	if len(frac) > decimals {
		kept, rest = frac[:decimals], frac[decimals:]
	}
	digits := whole + kept
	if whole == "" || len(s) > 16 || strings.Trim(whole+frac, "0123456789") != "" {
		return 0, fmt.Errorf("%.40q is not a number", s)
	}
	if strings.Trim(rest, "0") != "" {
		return 0, fmt.Errorf("%q has more than %d decimals", s, decimals)
	}
	n, err := strconv.ParseInt(digits+strings.Repeat("0", decimals-len(kept)), 10, 64)
	if err != nil || n > maxAmount {
		return 0, fmt.Errorf("%q is too large", s)
	}
	return n, nil
}

// maxAmount bounds every number: twelve digits, more than any register has.
const maxAmount = 999_999_999_999

// parseTime reads YYMMDDhhmmssX, X being S or W.
func parseTime(s string) (time.Time, error) {
	if len(s) == 13 {
		zone := map[byte]*time.Location{'S': summer, 'W': winter}[s[12]]
		if zone != nil {
			t, err := time.ParseInLocation("20060102150405", "20"+s[:12], zone)
			if err == nil {
				return t, nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("%.20q is not a time YYMMDDhhmmss with S or W", s)
}
