package kms

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"hearth/internal/awserr"
)

const functionARN = "arn:aws:lambda:us-east-1:000000000000:function:hi"

// wantLambdaError checks an error that Lambda's API answers.
func wantLambdaError(t *testing.T, err error, code, message string) {
	t.Helper()
	e, ok := awserr.As(err)
	if !ok {
		t.Errorf("got %v, want %s", err, code)
		return
	}
	if e.Code != code || e.Message != message {
		t.Errorf("got  %s: %s\nwant %s: %s", e.Code, e.Message, code, message)
	}
}

func TestEnvironments(t *testing.T) {
	b := start(t)
	ctx := t.Context()
	k := b.makeKey(t, account)
	for _, keyARN := range []string{"", k.arn()} {
		for _, vars := range []map[string]string{{}, {"PASSWORD": "hunter2", "EMPTY": "", "Ü": "<&>"}} {
			sealed, err := b.SealEnvironment(ctx, account, functionARN, keyARN, vars)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(sealed, []byte("hunter2")) || bytes.Contains(sealed, []byte("PASSWORD")) {
				t.Error("the environment is not sealed")
			}
			got, err := b.OpenEnvironment(ctx, account, functionARN, sealed)
			if err != nil || !maps.Equal(got, vars) || got == nil {
				t.Errorf("opened %v, %v, want %v", got, err, vars)
			}
		}
	}
}

// TestEnvironmentsStayInTheirPlace swaps sealed environments between functions,
// accounts and the API.
func TestEnvironmentsStayInTheirPlace(t *testing.T) {
	b := start(t)
	ctx := t.Context()
	k := b.makeKey(t, account)
	sealed, err := b.SealEnvironment(ctx, account, functionARN, k.arn(), map[string]string{"A": "b"})
	if err != nil {
		t.Fatal(err)
	}
	const denied = "Lambda was unable to decrypt the environment variables because KMS access was denied. " +
		"Please check the function's KMS key settings. KMS Exception: "
	swapped := denied + "InvalidCiphertextException KMS Message: The ciphertext is not one of this KMS, was changed, or was made with another encryption context."
	_, err = b.OpenEnvironment(ctx, account, functionARN+"2", sealed)
	wantLambdaError(t, err, "KMSAccessDeniedException", swapped)
	_, err = b.OpenEnvironment(ctx, other, functionARN, sealed)
	wantLambdaError(t, err, "KMSAccessDeniedException", denied+"AccessDeniedException KMS Message: "+
		"The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if got, err := b.OpenEnvironment(ctx, account, functionARN, bad); err == nil {
			t.Errorf("byte %d changed: opened %v", i, got)
		}
	}
	// What the API encrypts is no environment, and the reverse.
	c := b.client(t, account)
	con := map[string]string{contextName: functionARN}
	enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &k.ID, Plaintext: []byte(`{"A":"forged"}`), EncryptionContext: con})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.OpenEnvironment(ctx, account, functionARN, enc.CiphertextBlob)
	wantLambdaError(t, err, "KMSAccessDeniedException", swapped)
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed, EncryptionContext: con})
	wantError(t, err, "InvalidCiphertextException", "")
}

func TestEnvironmentsOfUnusableKeys(t *testing.T) {
	b := start(t)
	ctx, c := t.Context(), b.client(t, account)
	k, theirs := b.makeKey(t, account), b.makeKey(t, other)
	sealed, err := b.SealEnvironment(ctx, account, functionARN, k.arn(), map[string]string{"A": "b"})
	if err != nil {
		t.Fatal(err)
	}
	open := func() error {
		_, err := b.OpenEnvironment(ctx, account, functionARN, sealed)
		return err
	}
	const begin = "Lambda was unable to decrypt the environment variables because "
	const end = ". Please check the function's KMS key settings. KMS Exception: "
	if _, err := c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &k.ID}); err != nil {
		t.Fatal(err)
	}
	wantLambdaError(t, open(), "KMSDisabledException", begin+"the KMS key used is disabled"+end+"DisabledException KMS Message: "+k.arn()+" is disabled.")
	const seal = "Lambda was unable to configure access to your environment variables because the KMS key is invalid for CreateGrant. " +
		"Please check your KMS key settings. KMS Exception: "
	sealBy := func(arn string) error {
		_, err := b.SealEnvironment(ctx, account, functionARN, arn, nil)
		return err
	}
	wantLambdaError(t, sealBy(k.arn()), "InvalidParameterValueException", seal+"DisabledException KMS Message: "+k.arn()+" is disabled.")
	if _, err := c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &k.ID, PendingWindowInDays: aws.Int32(7)}); err != nil {
		t.Fatal(err)
	}
	wantLambdaError(t, open(), "KMSInvalidStateException", begin+"the KMS key used is in an invalid state for Decrypt"+end+
		"KMSInvalidStateException KMS Message: "+k.arn()+" is pending deletion.")
	b.clock.add(7 * day)
	b.chores(ctx)
	wantLambdaError(t, open(), "KMSNotFoundException", begin+"the KMS key was not found"+end+"NotFoundException KMS Message: Key '"+k.arn()+"' does not exist")
	wantLambdaError(t, sealBy("arn:aws:kms:us-east-1:000000000000:alias/x"), "InvalidParameterValueException",
		seal+"InvalidArnException KMS Message: Key Aliases are not supported for this operation.")
	wantLambdaError(t, sealBy(theirs.arn()), "InvalidParameterValueException",
		seal+"AccessDeniedException KMS Message: User: arn:aws:iam::000000000000:root is not authorized to perform: kms:CreateGrant on resource: "+
			theirs.arn()+" because no resource-based policy allows the kms:CreateGrant action")
}

func TestAuthorizeEnvironment(t *testing.T) {
	b := start(t)
	k := b.makeKey(t, account)
	if err := b.AuthorizeEnvironment(t.Context(), root(account), nil, "kms:Decrypt", functionARN, k.arn()); err != nil {
		t.Error(err)
	}
	if err := b.AuthorizeEnvironment(t.Context(), root(other), nil, "kms:Decrypt", functionARN, ""); err != nil {
		t.Error(err)
	}
	why := "User: arn:aws:iam::111111111111:root is not authorized to perform: kms:%[1]s on resource: " + k.arn() +
		" because no resource-based policy allows the kms:%[1]s action"
	err := b.AuthorizeEnvironment(t.Context(), root(other), nil, "kms:Decrypt", functionARN, k.arn())
	wantLambdaError(t, err, "KMSAccessDeniedException", "Lambda was unable to decrypt the environment variables because KMS access was denied. "+
		"Please check the function's KMS key settings. KMS Exception: AccessDeniedException KMS Message: "+fmt.Sprintf(why, "Decrypt"))
	err = b.AuthorizeEnvironment(t.Context(), root(other), nil, "kms:Encrypt", functionARN, k.arn())
	wantLambdaError(t, err, "InvalidParameterValueException", "Lambda was unable to configure access to your environment variables because the KMS key "+
		"is invalid for CreateGrant. Please check your KMS key settings. KMS Exception: AccessDeniedException KMS Message: "+fmt.Sprintf(why, "Encrypt"))
}

// TestNothingIsInTheClear looks for what is secret in all that etcd holds.
func TestNothingIsInTheClear(t *testing.T) {
	b := start(t)
	k := b.makeKey(t, account)
	raw, err := b.keeper.Open(t.Context(), materialBinding(k.Account, k.ID, 1), k.Materials[0].Sealed)
	if err != nil {
		t.Fatal(err)
	}
	all, err := b.etcd.Get(t.Context(), "\x00", withEverything...)
	if err != nil || len(all.Kvs) < 2 {
		t.Fatal(err, all)
	}
	text := []byte(base64.StdEncoding.EncodeToString(raw))
	for _, kv := range all.Kvs {
		if bytes.Contains(kv.Value, raw) || bytes.Contains(kv.Value, text[:40]) {
			t.Errorf("%s holds the key's material", kv.Key)
		}
	}
}
