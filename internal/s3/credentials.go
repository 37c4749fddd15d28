package s3

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
)

// maxCredentials bounds a file of credentials.
const maxCredentials = 64 << 10

// LoadCredentials reads a file in the form of ~/.aws/credentials; the profile
// is "default".
func LoadCredentials(name string) (Credentials, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return Credentials{}, fmt.Errorf("s3: credentials: %w", err)
	}
	c, err := parseCredentials(b)
	if err != nil {
		return Credentials{}, fmt.Errorf("s3: credentials in %s: %w", name, err)
	}
	return c, nil
}

// parseCredentials never repeats what it reads in an error: it may be secret.
func parseCredentials(b []byte) (Credentials, error) {
	var c Credentials
	if len(b) > maxCredentials {
		return c, fmt.Errorf("%d bytes, at most %d are read", len(b), maxCredentials)
	}
	profile := ""
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, maxCredentials+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' {
			profile = strings.TrimSpace(strings.Trim(line, "[]"))
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return Credentials{}, fmt.Errorf("line %d is neither [PROFILE] nor NAME = VALUE", n)
		}
		if profile != "default" {
			continue
		}
		switch strings.TrimSpace(name) {
		case "aws_access_key_id":
			c.AccessKeyID = strings.TrimSpace(value)
		case "aws_secret_access_key":
			c.SecretAccessKey = strings.TrimSpace(value)
		case "aws_session_token":
			c.SessionToken = strings.TrimSpace(value)
		}
	}
	if err := lines.Err(); err != nil {
		return Credentials{}, err
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return Credentials{}, errors.New("no aws_access_key_id and aws_secret_access_key in the profile [default]")
	}
	return c, nil
}
