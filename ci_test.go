package kindred_test

import (
	"os/exec"
	"strings"
	"testing"
)

// A test that is skipped, and one that fails or hangs, are told by name; so is a package that does not build.
func TestSummary(t *testing.T) {
	const passes = `{"Action":"run","Package":"a","Test":"TestX"}
{"Action":"output","Package":"a","Test":"TestX","Output":"    x_test.go:3: skipped three.txt: no checksum\n"}
{"Action":"pass","Package":"a","Test":"TestX","Elapsed":0.5}
{"Action":"output","Package":"a","Test":"TestY","Output":"=== RUN   TestY\n"}
{"Action":"output","Package":"a","Test":"TestY","Output":"    y_test.go:9: there is no data\n"}
{"Action":"output","Package":"a","Test":"TestY","Output":"--- SKIP: TestY (0.00s)\n"}
{"Action":"skip","Package":"a","Test":"TestY"}
{"Action":"pass","Package":"a","Elapsed":1.25}
`
	for _, tt := range []struct {
		name, events string
		ok           bool
		want         []string
	}{
		{"passes", passes, true, []string{
			"ok  \ta\t1.2s\t2 tests\n", "skipped: a TestX, of its inputs: three.txt: no checksum\n",
			"skipped: a TestY: y_test.go:9: there is no data\n", "1 passed, 0 failed, 1 skipped\n",
		}},
		{"fails", passes + `{"Action":"output","Package":"b","Test":"TestZ","Output":"    z_test.go:1: is 2, want 1\n"}
{"Action":"fail","Package":"b","Test":"TestZ"}
{"Action":"fail","Package":"b","Elapsed":2}
`, false, []string{"FAIL b TestZ\n    z_test.go:1: is 2, want 1\n", "FAIL\tb\t2.0s\n", "1 passed, 1 failed, 1 skipped\n"}},
		{"hangs", passes + `{"Action":"output","Package":"b","Test":"TestZ","Output":"=== RUN   TestZ\n"}
{"Action":"output","Package":"b","Test":"TestZ","Output":"panic: test timed out after 20m0s\n"}
{"Action":"output","Package":"b","Output":"FAIL\tb\t1200.1s\n"}
{"Action":"fail","Package":"b","Elapsed":1200.1}
`, false, []string{
			"FAIL b TestZ, which did not end\n=== RUN   TestZ\npanic: test timed out after 20m0s\n", "FAIL\tb\t1200.1s\n",
			"1 passed, 1 failed, 1 skipped\n",
		}},
		{"does not build", passes + `{"ImportPath":"c [c.test]","Action":"build-output","Output":"c.go:1: what is this?\n"}
{"ImportPath":"c [c.test]","Action":"build-fail"}
`, false, []string{"c.go:1: what is this?\n"}},
		{"runs nothing", "", false, []string{"0 passed, 0 failed, 0 skipped\n"}},
		{"is no JSON", passes + "go: no such tool\n", true, []string{"go: no such tool\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command("go", "run", ".ci/summary.go")
			cmd.Stdin = strings.NewReader(tt.events)
			out, err := cmd.Output()
			if ok := err == nil; ok != tt.ok {
				t.Errorf("it ended with %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("it told\n%s\nwant\n%s", out, want)
				}
			}
		})
	}
}
