package grant

import (
	"bytes"
	"crypto"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/signed"
)

// verify is what knows the root of a household.
func (h household) verify(chain [][]byte, at time.Time) (identity.Chain, error) {
	return identity.Verify(chain, h.ID, h.Root, at)
}

func (h household) sign(t testing.TB, by identity.Path, terms Terms) []byte {
	t.Helper()
	raw, err := Sign(h.At(by).Signer, h.At(by).Raw, terms)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// usual returns terms such as people give.
func (h household) usual() Terms {
	terms := h.terms("sam/anna", "home/lock")
	terms.Thing.Affordance, terms.Actions = "state", See
	terms.From, terms.Until = now.Unix(), now.Add(30*24*time.Hour).Unix()
	terms.Windows, terms.Zone = []Window{{DayOf(time.Saturday), 14 * 60, 16 * 60}, {AllDays, 0, 0}}, "Europe/Berlin"
	terms.Offline = 7 * 24 * 3600
	return terms
}

// full returns terms that use every field but those of grants that pass on others.
func (h household) full() Terms {
	terms := h.usual()
	terms.Subject.Below = true
	terms.Purpose, terms.Retention, terms.Detail = "heating-advice", 30*24*3600, Detail{Day, true}
	terms.Moments = Moments{From: now.Unix() - 3600, Until: now.Unix() + 3600, Always: true}
	terms.Rate, terms.Uses, terms.Budget, terms.Home, terms.Route = Rate{2, 3600}, 5, 600, true, GatewayRoute
	terms.Agreement = Agreement{Clear: []string{"state"}, Recipient: "Bank plc", Place: "DE", Notice: signed.Sum([]byte("notice"))}
	return terms
}

func TestSignOpen(t *testing.T) {
	h := newHousehold(t)
	for _, want := range []Terms{h.terms("sam/anna", "home/lock"), h.full()} {
		raw := h.sign(t, "sam/laptop", want)
		o, err := Open(raw, h.verify)
		if err != nil {
			t.Fatal(err)
		}
		terms, s, err := Parse(raw)
		if err != nil || s.Digest != o.Digest() {
			t.Errorf("Parse: %v, digest %s, want %s", err, s.Digest, o.Digest())
		}
		for _, got := range []Terms{terms, o.Terms()} {
			a, errA := signed.Marshal(got)
			b, errB := signed.Marshal(want)
			if errA != nil || errB != nil || !bytes.Equal(a, b) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
		if o.Signer().ID.Path != "sam/laptop" {
			t.Errorf("signed by %s", o.Signer().ID)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	h, abroad := newHousehold(t), newHousehold(t)
	terms := h.terms("sam/anna", "home/lock")
	by := func(giver identity.Path) Terms {
		t := terms
		t.Giver = h.At(giver).Member()
		return t
	}
	early := terms
	early.Time = now.Add(-2 * time.Hour).Unix() // before the signer had its certificate
	raw := func(key crypto.Signer, typ signed.Type, payload any, chain ...[]byte) []byte {
		raw, err := signed.Sign(key, typ, payload, chain...)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	laptop := h.At("sam/laptop")
	elsewhere := terms
	elsewhere.Tree = abroad.ID
	invalid := terms
	invalid.Actions = 0
	for _, test := range []struct {
		name string
		raw  []byte
		want string
	}{
		{"nothing", nil, "signed: "},
		{"another type", raw(laptop.Signer, "kindred/head", terms, laptop.Raw...), `it is a "kindred/head"`},
		{"another payload", raw(laptop.Signer, Type, []int{1}, laptop.Raw...), "decoding"},
		{"invalid terms", raw(laptop.Signer, Type, invalid, laptop.Raw...), "actions 0x0"},
		{"no certificates", raw(laptop.Signer, Type, terms), "0 certificates"},
		{"a key that is not the leaf's", raw(identitytest.NewKey(t), Type, terms, laptop.Raw...), "verification error"},
		{"another tree's leaf", raw(abroad.At("sam/laptop").Signer, Type, terms, abroad.At("sam/laptop").Raw...), "it is for"},
		{"another tree's thing", h.sign(t, "sam/laptop", elsewhere), "about a thing of tree"},
		{"another giver", h.sign(t, "sam/laptop", by("carl")), "does not act for the giver"},
		{"a person", h.sign(t, "sam/anna/phone", by("sam/anna")), "acts for no owner, and it passes nothing on"},
		{"a person at the top", h.sign(t, "carl/phone", by("carl")), "acts for no owner"},
		{"a person, for the owner above", h.sign(t, "sam/anna/phone", by("sam")), "does not act for the giver"},
		{"a device", h.sign(t, "home/gateway", by("home")), "does not act for the giver"},
		{"a service", h.sign(t, "bank", by("bank")), "acts for no owner"},
		{"an owner's app, for itself", h.sign(t, "sam/laptop", by("sam/laptop")), "acts for no owner"},
		{"the owner, by a key that signs certificates", h.sign(t, "sam", by("sam")), "which is no leaf"},
		{"before the signer was", h.sign(t, "sam/laptop", early), "not yet valid"},
	} {
		_, err := Open(test.raw, h.verify)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
	}
}

// A statement that says more than this version reads must not be taken for one that says less.
func TestLaterFieldsAreRefused(t *testing.T) {
	h := newHousehold(t)
	laptop := h.At("sam/laptop")
	for _, later := range []any{
		struct {
			Terms
			Mood string `cbor:"27,keyasint"`
		}{h.full(), "good"},
		struct {
			Terms
			Price int64 `cbor:"28,keyasint"`
		}{h.full(), 3600},
	} {
		raw, err := signed.Sign(laptop.Signer, Type, later, laptop.Raw...)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Parse(raw); err == nil || !strings.Contains(err.Error(), "unknown field") {
			t.Errorf("%T: %v", later, err)
		}
	}
}

func TestValidate(t *testing.T) {
	h := newHousehold(t)
	if err := h.full().Validate(); err != nil {
		t.Error(err)
	}
	for name, test := range map[string]struct {
		change func(*Terms)
		want   string
	}{
		"no tree":             {func(t *Terms) { t.Tree = identity.TreeID{} }, "no tree"},
		"no ID":               {func(t *Terms) { t.ID = [16]byte{} }, "no ID"},
		"no giver":            {func(t *Terms) { t.Giver = identity.MemberID{} }, "no giver"},
		"nobody":              {func(t *Terms) { t.Subject.Member = identity.MemberID{} }, "nobody"},
		"nobody's tree":       {func(t *Terms) { t.Subject.Tree = identity.TreeID{} }, "nobody"},
		"nothing":             {func(t *Terms) { t.Thing.Member = identity.MemberID{} }, "no thing"},
		"an injection":        {func(t *Terms) { t.Thing.Affordance = `x" || true || "` }, "no name of an affordance"},
		"a digit first":       {func(t *Terms) { t.Thing.Affordance = "1x" }, "no name"},
		"a long name":         {func(t *Terms) { t.Thing.Affordance = strings.Repeat("x", 64) }, "no name"},
		"no actions":          {func(t *Terms) { t.Actions = 0 }, "actions 0x0"},
		"unknown actions":     {func(t *Terms) { t.Actions = 0x11 }, "actions 0x11"},
		"no time":             {func(t *Terms) { t.Time = 0 }, "signed at"},
		"a far time":          {func(t *Terms) { t.Time = 1 << 60 }, "signed at"},
		"a negative from":     {func(t *Terms) { t.From = -1 }, "from Unix time -1"},
		"a far until":         {func(t *Terms) { t.Until = 1 << 60 }, "until 1152921504606846976"},
		"until before from":   {func(t *Terms) { t.Until = t.From }, "before it begins"},
		"until before signed": {func(t *Terms) { t.From, t.Until = 0, t.Time }, "before it begins"},
		"negative offline":    {func(t *Terms) { t.Offline = -1 }, "an offline term of -1 seconds"},
		"long offline":        {func(t *Terms) { t.Offline = 367 * 24 * 3600 }, "an offline term of 31708800 seconds"},
		"too deep":            {func(t *Terms) { t.Depth = 5 }, "passed on 5 times, of at most 4"},
		"too deep below":      {func(t *Terms) { t.Parent, t.Depth = signed.Sum(nil), 4 }, "passed on 4 times, of at most 3"},
		"handed on, nowhere":  {func(t *Terms) { t.Actions, t.HandOn = 1, 2 }, "there to be passed on, and may not be"},
		"handed on and kept":  {func(t *Terms) { t.HandOn, t.Depth = 1, 1 }, "to read is allowed, and also only"},
		"unknown handed on":   {func(t *Terms) { t.HandOn, t.Depth = 0x10, 1 }, "actions 0x19"},
		"a giver from abroad": {func(t *Terms) { t.GiverTree = t.Tree }, ErrForeign.Error()},
		"many windows":        {func(t *Terms) { t.Windows = make([]Window, 33) }, "33 windows, of at most 32"},
		"no days":             {func(t *Terms) { t.Windows[0].Days = 0 }, "on days 0x0"},
		"an eighth day":       {func(t *Terms) { t.Windows[0].Days = 0xff }, "on days 0xff"},
		"a late hour":         {func(t *Terms) { t.Windows[0].From = 1440 }, "from minute 1440"},
		"a later hour":        {func(t *Terms) { t.Windows[0].To = 1440 }, "to 1440"},
		"no zone":             {func(t *Terms) { t.Zone = "" }, `"" is no name`},
		"the machine's zone":  {func(t *Terms) { t.Zone = "Local" }, `"Local" is no name`},
		"a file":              {func(t *Terms) { t.Zone = "../../etc/passwd" }, "time zone"},
		"an unknown zone":     {func(t *Terms) { t.Zone, t.Windows = "Mars/Olympus", nil }, `"Mars/Olympus"`},
		"a long zone":         {func(t *Terms) { t.Zone = strings.Repeat("x", 65) }, "is no name"},
	} {
		terms := h.full()
		test.change(&terms)
		err := terms.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), "grant: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, test.want)
		}
		if _, err := Sign(h.At("sam/laptop").Signer, h.At("sam/laptop").Raw, terms); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	if _, err := Sign(h.At("sam/laptop").Signer, nil, h.full()); err == nil || !strings.Contains(err.Error(), "no certificates") {
		t.Errorf("signing without certificates: %v", err)
	}
}

func TestSentence(t *testing.T) {
	h := newHousehold(t)
	saturday := Window{DayOf(time.Saturday), 14 * 60, 16 * 60}
	for _, test := range []struct {
		change func(*Terms)
		want   string
	}{
		{func(t *Terms) {}, "anna may use home/lock until you take it back."},
		{func(t *Terms) { t.Windows, t.Zone = []Window{saturday}, "Europe/Berlin" },
			"anna may use home/lock on Saturdays 14:00–16:00 (Berlin) until you take it back."},
		{func(t *Terms) { t.Actions, t.Thing.Affordance, t.Zone = See, "state", "Europe/Berlin" },
			"anna may see state of home/lock until you take it back."},
		{func(t *Terms) { t.Actions = Actions(Read | Invoke) }, "anna may read and invoke home/lock until you take it back."},
		{func(t *Terms) { t.Actions = Actions(Read | Write | Invoke) }, "anna may read, write and invoke home/lock until you take it back."},
		{func(t *Terms) { t.Until, t.Zone = now.Add(24*time.Hour).Unix(), "America/New_York" },
			"anna may use home/lock until 22 Nov 2026, 09:30 (New York), unless you take it back before."},
		{func(t *Terms) {
			t.From, t.Until, t.Zone = now.Add(time.Hour).Unix(), now.Add(24*time.Hour).Unix(), "Europe/Berlin"
			t.Windows = []Window{{1<<5 - 1, 0, 0}, {1<<5 | 1<<6, 8 * 60, 0}}
		}, "anna may use home/lock on Mondays to Fridays and Saturdays and Sundays 08:00–24:00 (Berlin) from 21 Nov 2026, 16:30 until 22 Nov 2026, 15:30, unless you take it back before."},
		{func(t *Terms) { t.From = now.Add(time.Hour).Unix() }, "anna may use home/lock from 21 Nov 2026, 15:30 (UTC) until you take it back."},
		{func(t *Terms) { t.From = t.Time }, "anna may use home/lock until you take it back."},
		{func(t *Terms) { t.Windows, t.Zone = []Window{{AllDays, 22 * 60, 6 * 60}}, "UTC" },
			"anna may use home/lock every day 22:00–06:00 (UTC) until you take it back."},
		{func(t *Terms) { t.Windows, t.Zone = []Window{{1 | 1<<2 | 1<<4, 840, 840}}, "UTC" },
			"anna may use home/lock on Mondays, Wednesdays and Fridays 14:00–14:00 the next day (UTC) until you take it back."},
		{func(t *Terms) { t.Offline = 7 * 24 * 3600 }, "anna may use home/lock until you take it back; offline for up to 7 days after the last check."},
	} {
		terms := h.terms("sam/anna", "home/lock")
		test.change(&terms)
		if err := terms.Validate(); err != nil {
			t.Fatal(err)
		}
		names := map[identity.MemberID]string{h.At("sam/anna").Member(): "anna", h.At("home/lock").Member(): "home/lock"}
		if got := terms.Sentence(func(id identity.TreeMember) string { return names[id.Member] }); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	h := newHousehold(f)
	for _, terms := range []Terms{h.terms("sam/anna", "home/lock"), h.full()} {
		f.Add(h.sign(f, "sam/laptop", terms))
	}
	stranger := newHousehold(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		terms, _, err := Parse(raw)
		if err != nil {
			return
		}
		// What Parse lets through compiles, can be said, and is nobody's grant but its signer's.
		if err := (&rules{terms: terms}).compile(); err != nil {
			t.Errorf("parsed, and does not compile: %v", err)
		}
		for _, l := range Languages {
			if l.Sentence(terms, identity.TreeMember.String) == "" {
				t.Error("parsed, and cannot be said")
			}
		}
		if _, err := Open(raw, stranger.verify); err == nil {
			t.Error("opened in a tree that never gave it")
		}
	})
}

// FuzzTerms goes past the envelope, which a fuzzer hardly gets through.
func FuzzTerms(f *testing.F) {
	h := newHousehold(f)
	for _, terms := range []Terms{h.terms("sam/anna", "home/lock"), h.full()} {
		payload, err := signed.Marshal(terms)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload, now.Unix(), "heating-advice", uint8(AtHome), uint32(1))
	}
	req := Request{Thing: h.At("home/lock").Chain, Affordance: "state", Action: Read}
	anna := h.principal("sam/anna/phone", now)
	f.Fuzz(func(t *testing.T, payload []byte, at int64, purpose string, way uint8, used uint32) {
		var terms Terms
		if signed.Unmarshal(payload, &terms) != nil || terms.Validate() != nil || at < 0 || at > maxTime {
			return
		}
		facts := fresh(time.Unix(at, 0))
		facts.Way, facts.Usage = Way(way), func(*Terms) Usage { return Usage{used, time.Duration(used) * time.Second, used, facts.Now} }
		anna.AsOf, req.Purpose = facts.Now, purpose
		g := stands(terms, facts.Now)
		g.accepted = true
		d, err := Decide(req, anna, []Grant{g}, facts)
		if err != nil {
			t.Errorf("valid terms that cannot be evaluated: %v", err)
		}
		if d.Allowed && (!terms.To(anna.Chain) || !terms.On(req.Thing) || !terms.Actions.Has(Read) || !d.Until.After(facts.Now) ||
			terms.Purpose != "" && terms.Purpose != purpose || terms.Uses != 0 && used >= terms.Uses || terms.Home && facts.Way != AtHome) {
			t.Errorf("%+v allowed by %+v", d, terms)
		}
	})
}
