package bench

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// ImageStarts are cold starts of one image with nothing cached: First when
// nothing is known of earlier ones, Later when there was one; medians.
type ImageStarts struct {
	Bytes int64 `json:"bytes"`
	First Start `json:"first"`
	Later Start `json:"later"`
}

// Colds are cold starts of images of 20 MB and of 1 GB.
type Colds struct {
	Small ImageStarts `json:"small"`
	Large ImageStarts `json:"large"`
}

// Start is a cold start and what it has fetched.
type Start struct {
	Steps   Steps   `json:"steps"`
	Fetched Fetched `json:"fetched"`
}

// imageSamples are those of one image.
type imageSamples struct {
	first, later               samples
	fetchedFirst, fetchedLater Fetched
}

// coldStarts measures the images in turns.
func (b *storageBed) coldStarts(ctx context.Context) (*Colds, error) {
	all := map[string]*imageSamples{"small": {}, "large": {}}
	for round := range b.o.Rounds {
		b.o.say(fmt.Sprintf("cold starts of images, %d of %d", round+1, b.o.Rounds))
		for _, name := range []string{"small", "large"} {
			s := all[name]
			if err := b.stopped((*storageBed).forget); err != nil {
				return nil, err
			}
			var err error
			if s.fetchedFirst, err = b.coldStart(ctx, name, &s.first); err != nil {
				return nil, err
			}
			if s.fetchedLater, err = b.coldStart(ctx, name, &s.later); err != nil {
				return nil, err
			}
		}
	}
	c := new(Colds)
	for name, into := range map[string]*ImageStarts{"small": &c.Small, "large": &c.Large} {
		s := all[name]
		into.First = Start{s.first.medians(), s.fetchedFirst}
		into.Later = Start{s.later.medians(), s.fetchedLater}
	}
	c.Small.Bytes, c.Large.Bytes = int64(smallPicture.files)*fileSize, int64(largePicture.files)*fileSize
	return c, nil
}

// stopped does something while the Hearth does not run.
func (b *storageBed) stopped(do func(*storageBed) error) error {
	if b.running {
		b.stop()
	}
	b.running = false
	return do(b)
}

// coldStart starts an image once with nothing cached.
func (b *storageBed) coldStart(ctx context.Context, name string, into *samples) (Fetched, error) {
	if err := b.restart(ctx, b.o.Delay); err != nil {
		return Fetched{}, err
	}
	t, err := b.target(ctx, name, []byte(`1`))
	if err != nil {
		return Fetched{}, err
	}
	client := newClient()
	defer client.CloseIdleConnections()
	clock := time.Now()
	timing, err := t.post(ctx, client)
	if err != nil {
		return Fetched{}, err
	}
	into.note(time.Since(clock), timeline(timing))
	if err := b.recorded(ctx); err != nil {
		return Fetched{}, err
	}
	return b.fetched(ctx)
}

// Crowd is many invokes of one image at once, with nothing cached or known.
type Crowd struct {
	Invokes int `json:"invokes"`
	// Starts is how many of them found a new environment.
	Starts int `json:"starts"`
	// Throttled is how often one was told to come again, as AWS's clients do.
	Throttled int           `json:"throttled"`
	Took      time.Duration `json:"took"`
	Latency   Latency       `json:"latency"`
	Fetched   Fetched       `json:"fetched"`
}

func (b *storageBed) crowd(ctx context.Context) (_ *Crowd, err error) {
	b.o.say(fmt.Sprintf("%d cold starts at once", b.o.Concurrent))
	if err := b.stopped((*storageBed).forget); err != nil {
		return nil, err
	}
	if err := b.restart(ctx, b.o.Delay); err != nil {
		return nil, err
	}
	t, err := b.target(ctx, "large", []byte(`{"holdMs":5000}`)) // that few are served by another's environment
	if err != nil {
		return nil, err
	}
	client := newClient()
	defer client.CloseIdleConnections()
	c := &Crowd{Invokes: b.o.Concurrent}
	var mu sync.Mutex
	clock := time.Now()
	c.Latency, err = closedLoop(c.Invokes, c.Invokes, func(int) error {
		timing, throttled, err := t.insist(ctx, client)
		mu.Lock()
		defer mu.Unlock()
		c.Throttled += throttled
		if timeline(timing)["init"] > 0 {
			c.Starts++
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	c.Took = time.Since(clock)
	c.Fetched, err = b.fetched(ctx)
	return c, err
}
