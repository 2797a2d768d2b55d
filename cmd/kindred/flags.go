package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kindred-iot/kindred/grant"
)

// A durationFlag is a time of at least zero, in the form that all of the command line has for one: 7d, 36h or 90s.
type durationFlag struct{ d *time.Duration }

// durationVar adds a flag for a duration; one whose default is zero is not limited.
func durationVar(c *cobra.Command, d *time.Duration, name string, otherwise time.Duration, help string) {
	*d = otherwise
	c.Flags().Var(durationFlag{d}, name, help)
}

func (f durationFlag) Type() string { return "duration" }

// String is "15m" where Go says "15m0s", and nothing for zero.
func (f durationFlag) String() string {
	if f.d == nil || *f.d == 0 {
		return ""
	}
	text := f.d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func (f durationFlag) Set(text string) (err error) {
	*f.d, err = grant.ParseDuration(text)
	return err
}

// A countFlag is a number from 1.
type countFlag struct {
	n    *uint32
	most uint32
}

func (f countFlag) Type() string { return "number" }

func (f countFlag) String() string {
	if f.n == nil || *f.n == 0 {
		return ""
	}
	return fmt.Sprint(*f.n)
}

func (f countFlag) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 || n > uint64(f.most) {
		return fmt.Errorf("%.40q is no number from 1 to %d", text, f.most)
	}
	*f.n = uint32(n)
	return nil
}

// A languageFlag is the language that grants are said in.
type languageFlag struct{ language *grant.Language }

func (f languageFlag) String() string { return grant.English.Tag }
func (f languageFlag) Type() string   { return "language" }
func (f languageFlag) Set(tag string) (err error) {
	*f.language, err = grant.LanguageOf(tag)
	return err
}

// lang adds the flag for the language to a command that says grants.
func (s *session) lang(c *cobra.Command) {
	s.language = grant.English
	var tags []string
	for _, l := range grant.Languages {
		tags = append(tags, l.Tag)
	}
	c.Flags().Var(languageFlag{&s.language}, "lang", "the `language` of sentences: "+strings.Join(tags, " or "))
	hide(c.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions(tags, cobra.ShellCompDirectiveNoFileComp)))
}

// badFlag says what is wrong with a flag as commands say it of those that they read themselves.
func badFlag(_ *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	if !errors.As(err, &value) {
		return usage("%s", err)
	}
	var number *strconv.NumError
	if errors.As(err, &number) {
		return usage("--%s: %.40q is no number that it can be", value.GetFlag().Name, value.GetValue())
	}
	return usage("--%s: %s", value.GetFlag().Name, own(value.Unwrap()))
}
