package cli

import (
	"os"
	"path/filepath"
	"testing"

	"hearth/internal/s3"
)

func TestS3Credentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("[default]\naws_access_key_id = file\naws_secret_access_key = b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, file string
		env        map[string]string
		want       s3.Credentials
	}{
		{"anonymous", "", nil, s3.Credentials{}},
		{"environment", "", map[string]string{s3KeyEnv: "env", s3SecretEnv: "s", s3SessionEnv: "t"}, s3.Credentials{AccessKeyID: "env", SecretAccessKey: "s", SessionToken: "t"}},
		{"the file before the environment", file, map[string]string{s3KeyEnv: "env", s3SecretEnv: "s", s3SessionEnv: "t"}, s3.Credentials{AccessKeyID: "file", SecretAccessKey: "b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range []string{s3KeyEnv, s3SecretEnv, s3SessionEnv} {
				t.Setenv(name, tt.env[name])
			}
			var got s3.Credentials
			if err := s3Credentials(&got, tt.file); err != nil || got != tt.want {
				t.Errorf("%+v, %v, want %+v", got, err, tt.want)
			}
			if v, ok := os.LookupEnv(s3SecretEnv); ok {
				t.Errorf("left in the environment: %q", v)
			}
		})
	}
	if err := s3Credentials(&s3.Credentials{}, filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was read")
	}
}
