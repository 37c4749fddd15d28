package volumefs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"hearth/internal/blockfs"
)

// show notes that a volume is open.
func (h *Host) show(v *Volume) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.shown[v.id]
	if s == nil {
		s = &shown{objects: make(map[string]int)}
		h.shown[v.id] = s
	}
	s.objects[v.ref.Object]++
}

// hide notes that it is not any more.
func (h *Host) hide(v *Volume) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.shown[v.id]
	if s.objects[v.ref.Object]--; s.objects[v.ref.Object] == 0 {
		delete(s.objects, v.ref.Object)
	}
	if len(s.objects) == 0 {
		delete(h.shown, v.id)
	}
}

// Unreadable lists the objects of open volumes of which reads have failed since
// it was asked last, but for those that only took too long.
func (h *Host) Unreadable(ctx context.Context) ([]string, error) {
	h.mu.Lock()
	ids := slices.Sorted(maps.Keys(h.shown))
	h.mu.Unlock()
	var objects []string
	for _, id := range ids {
		stats, err := h.client.Stats(ctx, id)
		if errors.Is(err, blockfs.ErrUnknown) {
			continue // closed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("volumefs: %w", err)
		}
		objects = append(objects, h.failing(id, stats.Errors-stats.Stalls)...)
	}
	return objects, nil
}

// failing returns the objects of a volume if more of its reads have failed.
func (h *Host) failing(id string, failed int64) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.shown[id]
	if s == nil {
		return nil
	}
	more := failed > s.failed
	s.failed = failed // blockfs counts anew when it opens a volume again
	if !more {
		return nil
	}
	return slices.Sorted(maps.Keys(s.objects))
}
