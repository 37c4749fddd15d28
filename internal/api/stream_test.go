package api

import (
	"context"

	"hearth/internal/invocation"
)

func (m *memory) InvokeStream(ctx context.Context, account, name, qualifier string, req *invocation.Request, to invocation.Sink) (*invocation.Response, *invocation.Timeline, error) {
	if err := m.Check(ctx, account, name, qualifier); err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	m.last = req
	m.mu.Unlock()
	return m.stream(req, to)
}
