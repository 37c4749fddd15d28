package sigv4

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Sign signs a request in its Authorization header. The body is passed beside
// the request, which must carry the same bytes.
func Sign(ctx context.Context, r *http.Request, accessKeyID, secret string, scope Scope, body []byte, at time.Time) error {
	sum := sha256.Sum256(body)
	credentials := aws.Credentials{AccessKeyID: accessKeyID, SecretAccessKey: secret}
	err := v4.NewSigner().SignHTTP(ctx, credentials, r, hex.EncodeToString(sum[:]), scope.Service, scope.Region, at)
	if err != nil {
		return fmt.Errorf("sigv4: sign: %w", err)
	}
	return nil
}

// Presign returns the URL of r with a signature in its query, good for the
// method and an empty body until expires has passed. The key may be one of a
// session, whose token is then in the query too.
func Presign(ctx context.Context, r *http.Request, key aws.Credentials, scope Scope, at time.Time, expires time.Duration) (string, error) {
	query := r.URL.Query()
	query.Set("X-Amz-Expires", strconv.Itoa(int(expires/time.Second)))
	r.URL.RawQuery = query.Encode()
	url, _, err := v4.NewSigner().PresignHTTP(ctx, key, r, emptyHash, scope.Service, scope.Region, at)
	if err != nil {
		return "", fmt.Errorf("sigv4: presign: %w", err)
	}
	return url, nil
}
