package grant

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// counted reports whether the terms limit how often, or for how long, something is used.
func (t *Terms) counted() bool { return t.Rate.Uses != 0 || t.Uses != 0 || t.Budget != 0 }

// budget is how long something may be used in all.
func (t *Terms) budget() time.Duration { return time.Duration(t.Budget) * time.Second }

// nearest returns the least of the ways that a route lets through.
func (r Route) nearest() Way {
	switch r {
	case AnyRoute:
		return Relayed
	case GatewayRoute:
		return ByGateway
	}
	return Direct
}

// String returns "any", "direct" or "gateway".
func (r Route) String() string {
	switch r {
	case AnyRoute:
		return "any"
	case DirectRoute:
		return "direct"
	case GatewayRoute:
		return "gateway"
	}
	return fmt.Sprintf("route(%d)", uint8(r))
}

// String returns how a request came: "relayed", "by the gateway", "direct" or "at home".
func (w Way) String() string {
	switch w {
	case Relayed:
		return "relayed"
	case ByGateway:
		return "by the gateway"
	case Direct:
		return "direct"
	case AtHome:
		return "at home"
	}
	return fmt.Sprintf("way(%d)", uint8(w))
}

// ParseRoute reads what Route.String writes.
func ParseRoute(text string) (Route, error) {
	for _, r := range []Route{AnyRoute, DirectRoute, GatewayRoute} {
		if text == r.String() {
			return r, nil
		}
	}
	return 0, fmt.Errorf("grant: %.40q is no route: want direct or gateway", text)
}

// String returns "4/1h": what ParseRate reads.
func (r Rate) String() string { return fmt.Sprintf("%d/%s", r.Uses, short(r.Seconds)) }

// ParseRate reads how often: "4/1h" is at most 4 times in any hour.
func ParseRate(text string) (Rate, error) {
	uses, per, ok := strings.Cut(text, "/")
	n, err := strconv.ParseUint(uses, 10, 32)
	var d time.Duration
	if err == nil {
		d, err = ParseDuration(per)
	}
	if !ok || err != nil || n == 0 || d < time.Second || d > MaxOffline {
		return Rate{}, fmt.Errorf("grant: %.40q is no rate: want a form such as 4/1h or 10/1d", text)
	}
	return Rate{Uses: uint32(n), Seconds: int64(d / time.Second)}, nil
}

// stepNames are what ParseDetail reads.
var stepNames = [...]string{QuarterHour: "15m", Hour: "1h", Day: "1d", Month: "1mo"}

// String returns "1d", "area" or "1d,area": what ParseDetail reads; "" for every value as it is.
func (d Detail) String() string {
	var parts []string
	if d.Step != Full && int(d.Step) < len(stepNames) {
		parts = append(parts, stepNames[d.Step])
	}
	if d.Area {
		parts = append(parts, "area")
	}
	return strings.Join(parts, ",")
}

// ParseDetail reads how finely: 15m, 1h, 1d or 1mo, area, or one of the former and area with a comma between them.
func ParseDetail(text string) (d Detail, err error) {
	for part := range strings.SplitSeq(text, ",") {
		step := slices.Index(stepNames[:], part)
		switch {
		case part == "area" && !d.Area:
			d.Area = true
		case step > 0 && d.Step == Full:
			d.Step = Step(step)
		default:
			return Detail{}, fmt.Errorf("grant: %.40q is no detail: want 15m, 1h, 1d, 1mo, area, or a form such as 1d,area", text)
		}
	}
	return d, nil
}

// ParsePurpose reads a purpose: lower-case words with hyphens, which begin with a letter.
func ParsePurpose(text string) (string, error) {
	if !validPurpose(text) {
		return "", fmt.Errorf("grant: %.80q is no purpose: want lower-case words with hyphens, such as heating-advice", text)
	}
	return text, nil
}

// ParseWhen reads days, hours or both: "mon-fri 08:00-12:00", "sat", "22:00-06:00".
func ParseWhen(text string) (Window, error) {
	w := Window{Days: AllDays}
	fields := strings.Fields(text)
	hours := len(fields) - 1
	if hours < 0 || hours > 1 {
		return Window{}, fmt.Errorf("grant: %.40q are no days and hours: want a form such as mon-fri 08:00-12:00", text)
	}
	var err error
	if days, derr := ParseDays(fields[0]); derr == nil {
		w.Days = days
	} else if hours == 1 || !strings.Contains(text, ":") {
		return Window{}, derr
	}
	if strings.Contains(fields[hours], ":") || hours == 1 {
		w.From, w.To, err = ParseWindow(fields[hours])
	}
	return w, err
}

// short writes a duration as ParseDuration reads it, in the largest unit that it is a whole number of.
func short(seconds int64) string {
	switch day := int64(24 * time.Hour / time.Second); {
	case seconds != 0 && seconds%day == 0:
		return fmt.Sprintf("%dd", seconds/day)
	case seconds != 0 && seconds%3600 == 0:
		return fmt.Sprintf("%dh", seconds/3600)
	case seconds != 0 && seconds%60 == 0:
		return fmt.Sprintf("%dm", seconds/60)
	}
	return fmt.Sprintf("%ds", seconds)
}
