package managedruntime_test

import "testing"

func TestNodeAnswers(t *testing.T) {
	for _, prewarm := range []bool{false, true} {
		s := start(t, options{
			runtime: "nodejs20.x", handler: "app.handler", prewarm: prewarm,
			task: map[string]string{"app.js": "exports.handler = async (event) => ({hello: event.name});\n"},
		})
		got := s.invoke(event{payload: `{"name":"you"}`})
		if got.kind != "response" || got.body != `{"hello":"you"}` {
			t.Errorf("prewarm %v: got %s %s\n%s", prewarm, got.kind, got.body, s.out)
		}
	}
}
