package guest

import "testing"

func TestPlatformErrorType(t *testing.T) {
	for header, want := range map[string]string{
		"Runtime.ImportModuleError": "Runtime.ImportModuleError",
		"Function.MyError":          "Function.MyError",
		"Function.my":               "Function.Unknown",
		"Function.A1":               "Function.Unknown",
		"Extension.X":               "Runtime.Unknown",
		"xRuntime.Bad":              "Runtime.Unknown",
		"Runtime.Bad\n":             "Runtime.Unknown",
		"":                          "Runtime.Unknown",
	} {
		if got := platformErrorType(header); got != want {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	}
}

func TestNeedsFresh(t *testing.T) {
	boot := map[string]string{"PATH": "/bin", "TZ": ":UTC"}
	for _, c := range []struct {
		name string
		want map[string]string
		got  bool
	}{
		{"same", map[string]string{"PATH": "/bin", "TZ": ":UTC"}, false},
		{"more", map[string]string{"PATH": "/bin", "TZ": ":UTC", "A": "b"}, false},
		{"differs", map[string]string{"PATH": "/bin", "TZ": "CET"}, true},
		{"lacks", map[string]string{"PATH": "/bin"}, true},
		{"prefix", map[string]string{"PATH": "/bin", "TZ": ":UTC", "LD_PRELOAD": "x"}, true},
	} {
		if got := needsFresh(boot, c.want); got != c.got {
			t.Errorf("%s: got %v, want %v", c.name, got, c.got)
		}
	}
}
