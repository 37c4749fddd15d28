package kms

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"hearth/internal/awserr"
	"hearth/internal/sigv4"
)

func denied(caller sigv4.Identity, action, resource string) error {
	return awserr.New("AccessDeniedException",
		"User: %s is not authorized to perform: %s on resource: %s because no resource-based policy allows the %s action",
		caller.PrincipalARN, action, resource, action)
}

func keyNotFound(arn string) error {
	return awserr.New("NotFoundException", "Key '%s' does not exist", clip(arn))
}

func aliasNotFound(arn string) error {
	return awserr.New("NotFoundException", "Alias %s is not found.", clip(arn))
}

// inaccessible is what AWS says of a ciphertext whose key the caller cannot
// use, and does not say why.
func inaccessible() error {
	return awserr.New("AccessDeniedException",
		"The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
}

func badCiphertext() error {
	return awserr.New("InvalidCiphertextException",
		"The ciphertext is not one of this KMS, was changed, or was made with another encryption context.")
}

func badValue(format string, args ...any) error {
	return awserr.New("ValidationException", format, args...)
}

// constraint is how AWS reports a parameter out of bounds. The value is left
// out where it may be a secret.
func constraint(value, member, text string) error {
	if value != "" {
		value = "Value '" + clip(value) + "'"
	} else {
		value = "Value"
	}
	return badValue("1 validation error detected: %s at '%s' failed to satisfy constraint: %s", value, member, text)
}

func missing(member string) error {
	return constraint("null", member, "Member must not be null")
}

func unsupported(what string) error {
	return awserr.New("UnsupportedOperationException", "%s not supported by Hearth: it has symmetric keys for ENCRYPT_DECRYPT, made and kept by itself.", what)
}

// mustBeEnabled refuses keys that encrypt and decrypt nothing.
func mustBeEnabled(k *key) error {
	switch k.State {
	case disabled:
		return awserr.New("DisabledException", "%s is disabled.", k.arn())
	case pendingDeletion:
		return mustStay(k)
	}
	return nil
}

// mustStay refuses keys that are to be deleted.
func mustStay(k *key) error {
	if k.State == pendingDeletion {
		return awserr.New("KMSInvalidStateException", "%s is pending deletion.", k.arn())
	}
	return nil
}

// storeError says what a caller can do about etcd failing.
func storeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: %w", awserr.New("KMSInternalException",
			"Hearth's disk is full; nothing was changed. Free some space where its data directory is, then try again."), err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, rpctypes.ErrTimeout):
		return fmt.Errorf("%w: %w", awserr.New("KMSInternalException",
			"The key store does not answer. Look whether the change was made, then try again."), err)
	}
	return err
}

// clip bounds what of a request comes back in words.
func clip(s string) string {
	const most = 256
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
