package grant

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
)

var update = flag.Bool("update", false, "write the golden files anew")

// What each language says of every term, and of some together: testdata/sentences.LANGUAGE.
func TestSentences(t *testing.T) {
	h := newHousehold(t)
	names := map[identity.MemberID]string{}
	for _, path := range append(slices.Clone(members), objects...) {
		names[h.At(path).Member()] = string(path)
	}
	saturday := Window{DayOf(time.Saturday), 14 * 60, 16 * 60}
	day := int64(24 * 3600)
	sayings := []func(*Terms){
		func(t *Terms) {},
		func(t *Terms) { t.Actions = See },
		func(t *Terms) { t.Actions, t.Thing.Affordance = Actions(Invoke), "unlock" },
		func(t *Terms) { t.Actions = Actions(Read | Write | Observe) },
		func(t *Terms) { t.Subject.Below = true },
		func(t *Terms) { t.Windows = []Window{saturday} },
		func(t *Terms) { t.Windows = []Window{{AllDays, 22 * 60, 6 * 60}} },
		func(t *Terms) { t.Windows = []Window{{1<<5 - 1, 8 * 60, 12 * 60}, saturday, {1 | 1<<6, 840, 840}} },
		func(t *Terms) { t.From = now.Add(time.Hour).Unix() },
		func(t *Terms) { t.Until = now.Add(time.Hour).Unix() },
		func(t *Terms) { t.From, t.Until = now.Add(time.Hour).Unix(), now.Add(3*time.Hour).Unix() },
		func(t *Terms) { t.Windows, t.Until = []Window{saturday}, now.Add(240*time.Hour).Unix() },
		func(t *Terms) { t.Uses = 1 },
		func(t *Terms) { t.Uses = 2 },
		func(t *Terms) { t.Uses = 10 },
		func(t *Terms) { t.Rate = Rate{4, 3600} },
		func(t *Terms) { t.Rate = Rate{1, day} },
		func(t *Terms) { t.Budget = 1800 },
		func(t *Terms) { t.Budget = 90 },
		func(t *Terms) { t.Home = true },
		func(t *Terms) { t.Route = DirectRoute },
		func(t *Terms) { t.Route = GatewayRoute },
		func(t *Terms) { t.Purpose = "heating-advice" },
		func(t *Terms) { t.Moments.From = 1 },
		func(t *Terms) { t.Moments.From = now.Unix() - 7*day },
		func(t *Terms) { t.Moments.Until = now.Unix() + 7*day },
		func(t *Terms) { t.Moments = Moments{From: 1, Until: now.Unix()} },
		func(t *Terms) { t.Moments = Moments{From: now.Unix() - day, Until: now.Unix()} },
		func(t *Terms) {
			t.Windows, t.Moments = []Window{saturday}, Moments{From: now.Unix() - day, Always: true}
		},
		func(t *Terms) { t.Detail.Step = QuarterHour },
		func(t *Terms) { t.Detail.Step = Hour },
		func(t *Terms) { t.Detail.Step = Day },
		func(t *Terms) { t.Detail.Step = Month },
		func(t *Terms) { t.Detail.Area = true },
		func(t *Terms) { t.Agreement.Clear = []string{"power"} },
		func(t *Terms) { t.Agreement.Recipient = "Bank plc" },
		func(t *Terms) {
			t.Agreement = Agreement{Clear: []string{"power", "energy", "tariff"}, Recipient: "Bank plc", Place: "DE"}
		},
		func(t *Terms) { t.Retention = 30 * day },
		func(t *Terms) { t.Offline = 36 * 3600 },
		func(t *Terms) {
			t.Actions, t.Thing.Affordance, t.Subject.Below = See, "power", true
			t.Windows = []Window{saturday}
			t.From, t.Until = now.Unix()+day, now.Unix()+30*day
			t.Uses, t.Rate, t.Budget, t.Home, t.Route = 100, Rate{2, 600}, 7200, true, DirectRoute
			t.Purpose, t.Retention, t.Detail = "heating-advice", day, Detail{Month, true}
			t.Moments, t.Offline = Moments{From: now.Unix() - day, Until: now.Unix() + day, Always: true}, day
			t.Agreement = Agreement{Clear: []string{"power"}, Recipient: "Bank plc", Place: "DE"}
		},
	}
	for _, l := range Languages {
		var got strings.Builder
		for _, change := range sayings {
			terms := h.terms("sam/anna", "home/lock")
			terms.Zone = "Europe/Berlin"
			change(&terms)
			if err := terms.Validate(); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&got, l.Sentence(terms, func(id identity.TreeMember) string { return names[id.Member] }))
		}
		golden := filepath.Join("testdata", "sentences."+l.Tag)
		if *update {
			if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != string(want) {
			t.Errorf("%s says otherwise than %s (-update writes it anew):\n%s", l.Tag, golden, got.String())
		}
		if strings.ContainsAny(got.String(), "{}") {
			t.Errorf("%s leaves something open:\n%s", l.Tag, got.String())
		}
	}
}

// Every language has all words, and puts the same into each as English does.
func TestLanguagesAreWhole(t *testing.T) {
	names := regexp.MustCompile(`\{[a-z]+\}`)
	for _, l := range Languages {
		phrases, in := map[string]string{}, map[string]string{}
		collect(reflect.ValueOf(english), "", in)
		collect(reflect.ValueOf(*l.words), "", phrases)
		for name, phrase := range phrases {
			want, got := names.FindAllString(in[name], -1), names.FindAllString(phrase, -1)
			slices.Sort(want)
			slices.Sort(got)
			if phrase == "" && name != ".steps.0" || !slices.Equal(got, want) { // every value: nothing is said
				t.Errorf("%s: %s is %q, where English has %q", l.Tag, name, phrase, in[name])
			}
		}
	}
}

// collect finds all strings in a value.
func collect(v reflect.Value, name string, all map[string]string) {
	switch v.Kind() {
	case reflect.String:
		all[name] = v.String()
	case reflect.Array:
		for i := range v.Len() {
			collect(v.Index(i), fmt.Sprintf("%s.%d", name, i), all)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			collect(v.Field(i), name+"."+v.Type().Field(i).Name, all)
		}
	}
}

func TestLanguageOf(t *testing.T) {
	for tag, want := range map[string]string{
		"en": "en", "de": "de", "de-AT": "de", "de_DE.UTF-8": "de", "EN_us": "en", "de@euro": "de",
		"": "", "fr": "", "deutsch": "", "C": "", "-de": "",
	} {
		l, err := LanguageOf(tag)
		if l.Tag != want || (err != nil) != (want == "") {
			t.Errorf("LanguageOf(%q) = %q, %v, want %q", tag, l.Tag, err, want)
		}
	}
}
