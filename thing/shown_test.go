package thing

import "testing"

// What an owner saw before it was agreed on is what leaves, whatever a thing adds to its values later: fields are named,
// and a new one is not.
func TestShownIsNamed(t *testing.T) {
	v := View{Fields: []string{"power"}}
	for value, want := range map[string]string{
		`{"power":1,"tariff":2}`:                     `{"power":1}`,
		`{"power":1,"tariff":2,"presence":"asleep"}`: `{"power":1}`,
		`[{"power":1,"presence":1},{"presence":2}]`:  `[{"power":1},{}]`,
		`{"other":{"power":1}}`:                      `{}`,
	} {
		got, err := v.Shown("telegram", []byte(value))
		if err != nil || string(got) != want {
			t.Errorf("of %s is shown %s, %v, want %s", value, got, err, want)
		}
	}
	for _, value := range []string{`17`, `"power"`, `[1,2]`, `null`, "\xff\xd8"} {
		if got, err := v.Shown("telegram", []byte(value)); err == nil {
			t.Errorf("of %q, in which no field can be told apart, is shown %s", value, got)
		}
	}
}
