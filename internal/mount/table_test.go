package mount

import (
	"slices"
	"testing"
)

func TestMountPoints(t *testing.T) {
	const table = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n" +
		"40 22 7:0 / /data/a\\040b\\134c ro,nosuid shared:1 - ext4 /dev/loop0 ro\n" +
		"41 22 0:4 net:[1] /data/gone//deleted rw - nsfs nsfs rw\n" +
		"short line\n"
	got, want := mountPoints(table), []string{"/", `/data/a b\c`, "/data/gone"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBelow(t *testing.T) {
	for _, test := range []struct {
		path, dir string
		want      bool
	}{
		{"/a/b", "/a/b", true},
		{"/a/b/c", "/a/b/", true},
		{"/a/b/c (deleted)", "/a/b/c", true},
		{"/a/bc", "/a/b", false},
		{"/a", "/a/b", false},
		{"/a", "/", true},
	} {
		if got := below(test.path, test.dir); got != test.want {
			t.Errorf("below(%s, %s): got %t, want %t", test.path, test.dir, got, test.want)
		}
	}
}

func FuzzMountPoints(f *testing.F) {
	f.Add("40 22 7:0 / /data/a\\040b ro - ext4 /dev/loop0 ro\n")
	f.Add("\\0\\04\\777 \\ \\\\ a b c \\400")
	f.Fuzz(func(t *testing.T, table string) {
		for _, point := range mountPoints(table) {
			if len(point) > len(table) {
				t.Errorf("a mount point longer than the table: %q", point)
			}
		}
	})
}
