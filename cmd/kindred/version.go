package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(s *session) *cobra.Command {
	c := &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs}
	return s.does(c, func(context.Context, []string) error {
		version, revision := buildInfo()
		return s.print(map[string]string{"version": version, "revision": revision, "go": runtime.Version(), "platform": platform}, "kindred "+versionLine())
	})
}

const platform = runtime.GOOS + "/" + runtime.GOARCH

// versionLine says which version this is, and what it was built with and for.
func versionLine() string {
	version, _ := buildInfo()
	return fmt.Sprintf("%s %s %s", version, runtime.Version(), platform)
}

// buildInfo returns the version and the revision that the program was built from, as far as it knows.
func buildInfo() (version, revision string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)", ""
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			revision = setting.Value
		}
	}
	return info.Main.Version, revision
}
