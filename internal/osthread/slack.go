package osthread

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// SetTimerSlack says for all threads of this process, those to come included,
// how late the kernel may be with their timers, so that several are served by
// one wake-up. Go's monitor thread sleeps for 20 µs at a time while anything
// runs; with the kernel's usual slack of 50 µs it takes a tenth of a core.
func SetTimerSlack(slack time.Duration) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("set timer slack: %w", err)
	}
	for _, task := range tasks {
		// A thread inherits from the one that makes it; one that is made
		// meanwhile may have the old value, and costs a little.
		err := os.WriteFile("/proc/"+task.Name()+"/timerslack_ns", strconv.AppendInt(nil, slack.Nanoseconds(), 10), 0o644)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("set timer slack: %w", err)
		}
	}
	return nil
}
