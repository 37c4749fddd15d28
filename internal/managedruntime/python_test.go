package managedruntime_test

import "testing"

func TestPythonAnswers(t *testing.T) {
	for _, prewarm := range []bool{false, true} {
		s := start(t, options{
			runtime: "python3.11", handler: "app.handler", prewarm: prewarm,
			task: map[string]string{"app.py": "def handler(event, context):\n    return {'hello': event['name']}\n"},
		})
		got := s.invoke(event{payload: `{"name":"you"}`})
		if got.kind != "response" || got.body != `{"hello": "you"}` {
			t.Errorf("prewarm %v: got %s %s\n%s", prewarm, got.kind, got.body, s.out)
		}
	}
}
