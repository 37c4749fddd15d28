package managedruntime_test

import (
	"testing"
	"time"

	"hearth/test/harness/runtimeapi"
)

// BenchmarkFirstAnswer is the time to the first answer of an empty function:
// from the start of its process (which here includes mounting the image), or
// from handing the function to a process started ahead.
func BenchmarkFirstAnswer(b *testing.B) {
	for _, c := range []struct{ runtime, file, source string }{
		{"python3.11", "app.py", "def handler(event, context):\n    return event\n"},
		{"nodejs20.x", "app.js", "exports.handler = async (event) => event;\n"},
		{"nodejs20.x", "app.mjs", "export const handler = async (event) => event;\n"},
	} {
		for name, prewarm := range map[string]bool{"fresh": false, "prewarmed": true} {
			b.Run(c.runtime+"/"+c.file+"/"+name, func(b *testing.B) {
				var total time.Duration
				for range b.N {
					s := start(b, options{runtime: c.runtime, handler: "app.handler", prewarm: prewarm, task: map[string]string{c.file: c.source}})
					s.invoke(runtimeapi.Event{Payload: "{}"})
					total += time.Since(s.began)
					s.stop()
				}
				b.ReportMetric(float64(total.Microseconds())/1000/float64(b.N), "ms/answer")
			})
		}
	}
}

// BenchmarkInvoke is the time of a warm invoke of an empty function, with no
// sandbox around it.
func BenchmarkInvoke(b *testing.B) {
	for runtime, task := range map[string]map[string]string{
		"python3.11": {"app.py": "def handler(event, context):\n    return event\n"},
		"nodejs20.x": {"app.js": "exports.handler = async (event) => event;\n"},
	} {
		b.Run(runtime, func(b *testing.B) {
			s := start(b, options{runtime: runtime, handler: "app.handler", task: task})
			s.invoke(runtimeapi.Event{Payload: "{}"})
			for b.Loop() {
				s.invoke(runtimeapi.Event{Payload: `{"name":"you"}`})
			}
		})
	}
}
