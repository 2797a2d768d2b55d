package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/identity"
)

func newTree(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "tree",
		Short: "Draw the members of the tree",
		Long: `Draw the members of the tree: all of them to owners, to others those they have something
to do with. "online" are devices that the gateway hears of now.`,
		Args: cobra.NoArgs,
	}
	return s.does(c, func(ctx context.Context, _ []string) error {
		return s.with(ctx, func(n *kindred.Node) error {
			r, err := s.roster(ctx, n)
			if err != nil {
				return err
			}
			settings, err := readSettings(s.dir)
			if err != nil {
				return err
			}
			return s.printTree(n, r, treeName(settings, n))
		})
	})
}

// treeMember is a member in the output of "tree".
type treeMember struct {
	ID     string        `json:"id"`
	Path   identity.Path `json:"path"`
	Kind   string        `json:"kind"`
	Label  string        `json:"label"`
	Since  time.Time     `json:"since"`
	Online *bool         `json:"online,omitempty"`
	Self   bool          `json:"self,omitempty"`
	Until  *time.Time    `json:"until,omitempty"` // of an exported key
}

func (s *session) printTree(n *kindred.Node, r kindred.Roster, name string) error {
	list := make([]treeMember, 0, len(r.Members))
	for _, m := range r.Members {
		shown := treeMember{
			ID: m.Who.ID.String(), Path: m.Who.ID.Path, Kind: m.Who.Kind().String(), Label: m.Label, Since: m.Since.UTC(),
			Online: m.Online, Self: m.Who.Member() == n.Self().Member(),
		}
		if self := m.Who.Self(); self.Tool() {
			shown.Until = &self.NotAfter
		}
		list = append(list, shown)
	}
	return s.print(list, s.draw(name, list))
}

// treeName is what people call the tree, or the beginning of its ID.
func treeName(settings Settings, n *kindred.Node) string {
	if settings.Name != "" {
		return settings.Name
	}
	return "tree " + n.Self().ID.Tree.String()[:8] + "…"
}

// draw draws members, which are in the order of their paths.
func (s *session) draw(name string, list []treeMember) string {
	here := map[identity.Path]bool{}
	for _, m := range list {
		here[m.Path] = true
	}
	below := map[identity.Path][]treeMember{} // by the closest one above that is shown
	for _, m := range list {
		above := m.Path.Parent()
		for above != "" && !here[above] {
			above = above.Parent()
		}
		below[above] = append(below[above], m)
	}
	type row struct {
		text string
		m    treeMember
	}
	var rows []row
	width := 0
	var grow func(above identity.Path, indent string)
	grow = func(above identity.Path, indent string) {
		for i, m := range below[above] {
			branch, next := "├── ", "│   "
			if i == len(below[above])-1 {
				branch, next = "└── ", "    "
			}
			text := indent + branch + strings.TrimPrefix(string(m.Path), slash(above))
			rows = append(rows, row{text, m})
			width = max(width, len([]rune(text)))
			grow(m.Path, indent+next)
		}
	}
	grow("", "")
	var out strings.Builder
	fmt.Fprintln(&out, s.tint(bold, name))
	for _, r := range rows {
		pad := strings.Repeat(" ", width-len([]rune(r.text)))
		fmt.Fprintln(&out, strings.TrimRight(r.text+pad+"  "+s.remarks(r.m), " "))
	}
	return out.String()
}

func slash(p identity.Path) string {
	if p == "" {
		return ""
	}
	return string(p) + "/"
}

// remarks says what a member is.
func (s *session) remarks(m treeMember) string {
	text := s.tint(faint, fmt.Sprintf("%-7s", m.Kind))
	if m.Online != nil && *m.Online {
		text += "  " + s.tint(green, "online")
	}
	if m.Self {
		text += "  " + s.tint(blue, "this directory")
	}
	if m.Until != nil {
		text += "  " + lasts(*m.Until, s.now())
	}
	if m.Label != "" {
		text += "  " + oneLine(m.Label)
	}
	return text
}

// lasts says when an exported key ends, or that it did.
func lasts(t, now time.Time) string {
	if now.After(t) {
		return "ended " + stamp(t, now)
	}
	return "exported, until " + stamp(t, now)
}
