package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"hearth/test/harness"
)

// shared is the Hearth that the tests of this package share.
var shared *harness.Instance

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	defer harness.Cleanup()
	data, err := harness.NewData()
	if err != nil {
		return complain(err)
	}
	defer os.RemoveAll(data)
	if shared, err = harness.Start(data); err != nil {
		return complain(err)
	}
	code := m.Run()
	if err := shared.Stop(); err != nil {
		code = complain(err)
	}
	if left := harness.Remaining(data); len(left) > 0 {
		code = complain(fmt.Errorf("left behind after a clean stop:\n%s", strings.Join(left, "\n")))
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "hearth's log:\n%s", shared.Log())
	}
	return code
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}
