package main

import (
	"bytes"
	"encoding/csv"
	"strconv"
	"strings"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/journal"
)

// csvHeader names the columns of "log --csv".
var csvHeader = []string{
	"time", "who", "op", "thing", "affordance", "outcome", "grant", "reason", "count", "bytes", "offline", "with", "countersigned", "sentence",
}

// printCSV writes entries as RFC 4180 has it, with times as RFC 3339 has them and members by their SPIFFE IDs.
func (s *session) printCSV(entries []journal.Entry, r kindred.Roster, now time.Time) error {
	t := teller{namesOf(r), now}
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	w.UseCRLF = true
	if err := w.Write(csvHeader); err != nil {
		return err
	}
	for _, e := range entries {
		l := t.object(e)
		row := []string{
			l.Time.Format(time.RFC3339Nano), l.Who, string(l.Op), string(l.Path), l.Affordance, l.Outcome, l.Grant, l.Reason,
			strconv.Itoa(int(max(1, l.Count))), strconv.FormatUint(l.Bytes, 10), strconv.FormatBool(l.Offline), l.With,
			strconv.FormatBool(l.Signed), l.Sentence,
		}
		for i := range row {
			row[i] = harmless(row[i])
		}
		if err := w.Write(row); err != nil {
			return err
		}
	}
	w.Flush()
	_, err := text.WriteTo(s.out)
	return err
}

// harmless keeps a spreadsheet from taking a text of others for a formula.
func harmless(text string) string {
	if strings.IndexAny(text, "=+-@") == 0 {
		return "'" + text
	}
	return text
}
