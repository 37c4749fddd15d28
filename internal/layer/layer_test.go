package layer

import "testing"

func version() *Version {
	return &Version{Account: "111111111111", Region: "us-east-1", Name: "tools", Number: 3}
}

func TestARN(t *testing.T) {
	const layer = "arn:aws:lambda:us-east-1:111111111111:layer:tools"
	if v := version(); v.LayerARN() != layer || v.ARN() != layer+":3" {
		t.Errorf("%s, %s", v.LayerARN(), v.ARN())
	}
}

func TestFilter(t *testing.T) {
	v := version()
	v.Runtimes, v.Architectures = []string{"python3.11", "python3.12"}, []string{"x86_64"}
	for _, tt := range []struct {
		filter Filter
		want   bool
	}{
		{Filter{}, true},
		{Filter{Runtime: "python3.12"}, true},
		{Filter{Runtime: "nodejs20.x"}, false},
		{Filter{Architecture: "x86_64"}, true},
		{Filter{Architecture: "arm64"}, false},
		{Filter{Runtime: "python3.11", Architecture: "arm64"}, false},
	} {
		if got := tt.filter.Matches(v); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.filter, got, tt.want)
		}
	}
	if (Filter{Runtime: "python3.11"}).Matches(version()) {
		t.Error("a version that names no runtime was picked by one")
	}
}
