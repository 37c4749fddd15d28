package rootdir

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"
)

func TestIsFull(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{syscall.ENOSPC, true},
		{syscall.EDQUOT, true},
		{fmt.Errorf("store: %w", &fs.PathError{Op: "write", Path: "x", Err: syscall.EDQUOT}), true},
		{errors.Join(syscall.EIO, syscall.ENOSPC), true},
		{syscall.EIO, false},
		{errors.New("no space left on device"), false},
		{nil, false},
	} {
		if got := IsFull(c.err); got != c.want {
			t.Errorf("%v: got %v, want %v", c.err, got, c.want)
		}
	}
}
