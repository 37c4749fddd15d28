package journal_test

import (
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/etcd"
	"hearth/internal/journal"
)

// BenchmarkEtcd appends records of 200 bytes from one client after the other,
// and from 64 at once, to the embedded etcd.
func BenchmarkEtcd(b *testing.B) {
	for name, parallel := range map[string]int{"1": 1, "64": 64} {
		b.Run(name, func(b *testing.B) {
			server, err := etcd.Start(b.Context(), etcd.Config{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer server.Stop()
			log := journal.NewEtcd(server.Client(), "bench")
			term, err := log.Lead(b.Context(), nil, 10*time.Second)
			if err != nil {
				b.Fatal(err)
			}
			w := journal.NewWriter(log, term.Term(), 1)
			record := make([]byte, 200)
			var last atomic.Uint64
			b.ResetTimer()
			done := make(chan struct{})
			work := make(chan struct{})
			for range parallel {
				go func() {
					defer func() { done <- struct{}{} }()
					for range work {
						index, err := w.Append(b.Context(), record)
						if err != nil {
							b.Error(err)
						}
						if n := uint64(index); n > last.Load() {
							last.Store(n)
						}
					}
				}()
			}
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			for range parallel {
				<-done
			}
			b.ReportMetric(float64(b.N)/float64(max(1, last.Load())), "records/entry")
			w.Close()
			if err := term.Resign(b.Context()); err != nil {
				b.Error(err)
			}
		})
	}
}
