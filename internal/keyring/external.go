package keyring

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// AWS is a KMS that speaks AWS's API, at AWS or anywhere else.
type AWS struct {
	arn    string
	client *kms.Client
}

// AWSConfig says where an external KMS is and who asks it.
type AWSConfig struct {
	// KeyARN is the key that wraps master keys. An alias will not do: it may
	// be pointed elsewhere, and what was wrapped must stay openable.
	KeyARN string
	// Endpoint is its URL; empty for AWS's own of the key's region.
	Endpoint    string
	Credentials aws.CredentialsProvider
}

var keyARN = regexp.MustCompile(`^arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:key/[A-Za-z0-9-]{1,64}$`)

// NewAWS makes a client of an external KMS; nothing is asked yet.
func NewAWS(cfg AWSConfig) (*AWS, error) {
	m := keyARN.FindStringSubmatch(cfg.KeyARN)
	if m == nil {
		return nil, fmt.Errorf("external KMS: %.100q is not the ARN of a key, as in arn:aws:kms:REGION:ACCOUNT:key/ID", cfg.KeyARN)
	}
	if cfg.Credentials == nil {
		return nil, errors.New("external KMS: there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	opts := kms.Options{
		Region: m[1], Credentials: cfg.Credentials, RetryMaxAttempts: 3,
		HTTPClient: &http.Client{Timeout: 10 * time.Second},
	}
	if cfg.Endpoint != "" {
		opts.BaseEndpoint = &cfg.Endpoint
	}
	return &AWS{arn: cfg.KeyARN, client: kms.New(opts)}, nil
}

// KeyARN implements External.
func (a *AWS) KeyARN() string { return a.arn }

// Wrap implements External.
func (a *AWS) Wrap(ctx context.Context, about map[string]string, key []byte) ([]byte, error) {
	out, err := a.client.Encrypt(ctx, &kms.EncryptInput{KeyId: &a.arn, Plaintext: key, EncryptionContext: about})
	if err != nil {
		return nil, fmt.Errorf("external KMS: %w", err)
	}
	return out.CiphertextBlob, nil
}

// Unwrap implements External. The key is named, so that a blob cannot choose
// another one.
func (a *AWS) Unwrap(ctx context.Context, keyARN string, about map[string]string, wrapped []byte) ([]byte, error) {
	out, err := a.client.Decrypt(ctx, &kms.DecryptInput{KeyId: &keyARN, CiphertextBlob: wrapped, EncryptionContext: about})
	if err != nil {
		return nil, fmt.Errorf("external KMS: %w", err)
	}
	return out.Plaintext, nil
}
