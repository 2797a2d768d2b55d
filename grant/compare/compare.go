// Package compare holds the decisions of package grant against those of general policy engines on the same rules: Open
// Policy Agent, casbin, and Cedar alone, with all grants as one set of policies. It is a module of its own, so that
// what the others need is neither built nor tested with Kindred; "make bench" runs it.
package compare
