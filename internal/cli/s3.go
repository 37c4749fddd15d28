package cli

import (
	"os"

	"hearth/internal/s3"
)

// The variables that hold the access key for the S3 endpoint. They are not
// AWS's own: those are Hearth's, for whoever calls it.
const (
	s3KeyEnv     = "HEARTH_S3_ACCESS_KEY_ID"
	s3SecretEnv  = "HEARTH_S3_SECRET_ACCESS_KEY"
	s3SessionEnv = "HEARTH_S3_SESSION_TOKEN"
)

// flagSet is what takes flags.
type flagSet interface {
	StringVar(p *string, name, value, usage string)
	StringArrayVar(p *[]string, name string, value []string, usage string)
	BoolVar(p *bool, name string, value bool, usage string)
	Int64Var(p *int64, name string, value int64, usage string)
}

// s3Flags adds the flags that say where code in buckets is fetched from.
func s3Flags(f flagSet, cfg *s3.Config, credentials *string) {
	f.StringVar(&cfg.Endpoint, "s3-endpoint", os.Getenv("HEARTH_S3_ENDPOINT"),
		"URL of the S3 server that S3Bucket and S3Key of requests name code in (HEARTH_S3_ENDPOINT)")
	f.StringVar(&cfg.Region, "s3-region", os.Getenv("HEARTH_S3_REGION"), "region of that server (HEARTH_S3_REGION; default us-east-1)")
	f.StringVar(credentials, "s3-credentials", "",
		"file with an access key for it, in the form of ~/.aws/credentials (default "+s3KeyEnv+" and "+s3SecretEnv+", or anonymous)")
}

// s3Credentials reads the access key from a file, or else from the
// environment, which it takes it out of: no child process needs it.
func s3Credentials(c *s3.Credentials, file string) (err error) {
	*c = s3.Credentials{AccessKeyID: os.Getenv(s3KeyEnv), SecretAccessKey: os.Getenv(s3SecretEnv), SessionToken: os.Getenv(s3SessionEnv)}
	for _, name := range []string{s3KeyEnv, s3SecretEnv, s3SessionEnv} {
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	if file != "" {
		*c, err = s3.LoadCredentials(file)
	}
	return err
}
