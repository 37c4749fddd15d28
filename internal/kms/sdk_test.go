package kms

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/uuid"

	"hearth/internal/etcd"
	"hearth/internal/keyring"
)

func TestLifeOfAKey(t *testing.T) {
	b := start(t)
	ctx, c := t.Context(), b.client(t, account)
	made, err := c.CreateKey(ctx, &kms.CreateKeyInput{
		Description: aws.String("mine"), Tags: []types.Tag{{TagKey: aws.String("team"), TagValue: aws.String("a")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := made.KeyMetadata
	id := m.KeyId
	if *m.Arn != "arn:aws:kms:us-east-1:000000000000:key/"+*id || !m.Enabled || m.KeyState != types.KeyStateEnabled ||
		m.KeyManager != types.KeyManagerTypeCustomer || m.KeySpec != types.KeySpecSymmetricDefault || *m.Description != "mine" ||
		!m.CreationDate.Equal(b.clock.Now()) || m.Origin != types.OriginTypeAwsKms || m.KeyUsage != types.KeyUsageTypeEncryptDecrypt {
		t.Errorf("metadata %+v", m)
	}
	if _, err := c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/mine"), TargetKeyId: id}); err != nil {
		t.Fatal(err)
	}
	aliasARN := "arn:aws:kms:us-east-1:000000000000:alias/mine"
	for _, name := range []string{*id, *m.Arn, "alias/mine", aliasARN} {
		out, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &name})
		if err != nil || *out.KeyMetadata.Arn != *m.Arn {
			t.Errorf("describe %s: %+v, %v", name, out, err)
		}
		enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &name, Plaintext: []byte("hello"), EncryptionContext: map[string]string{"a": "b"}})
		if err != nil {
			t.Fatal(err)
		}
		dec, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob, EncryptionContext: map[string]string{"a": "b"}})
		if err != nil || string(dec.Plaintext) != "hello" || *dec.KeyId != *m.Arn || dec.EncryptionAlgorithm != types.EncryptionAlgorithmSpecSymmetricDefault {
			t.Errorf("decrypted %+v, %v", dec, err)
		}
	}
	aliases, err := c.ListAliases(ctx, &kms.ListAliasesInput{KeyId: id})
	if err != nil || len(aliases.Aliases) != 1 || *aliases.Aliases[0].AliasArn != aliasARN || *aliases.Aliases[0].TargetKeyId != *id {
		t.Errorf("aliases %+v, %v", aliases, err)
	}

	enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: id, Plaintext: []byte("hello")})
	if err != nil {
		t.Fatal(err)
	}
	decrypt := func() error {
		_, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob})
		return err
	}
	if _, err := c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: id}); err != nil {
		t.Fatal(err)
	}
	wantError(t, decrypt(), "DisabledException", *m.Arn+" is disabled.")
	_, err = c.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: id, KeySpec: types.DataKeySpecAes256})
	wantError(t, err, "DisabledException", "")
	if _, err := c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: id}); err != nil {
		t.Fatal(err)
	}
	if err := decrypt(); err != nil {
		t.Error(err)
	}

	gone, err := c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: aws.Int32(7)})
	if err != nil || !gone.DeletionDate.Equal(b.clock.Now().Add(7*day)) || gone.KeyState != types.KeyStatePendingDeletion {
		t.Fatalf("%+v, %v", gone, err)
	}
	wantError(t, decrypt(), "KMSInvalidStateException", *m.Arn+" is pending deletion.")
	_, err = c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: id})
	wantError(t, err, "KMSInvalidStateException", "")
	if _, err := c.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: id}); err != nil {
		t.Fatal(err)
	}
	wantError(t, decrypt(), "DisabledException", "")
	if _, err := c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: id}); err != nil {
		t.Fatal(err)
	}
	b.clock.add(30*day - time.Millisecond)
	b.chores(ctx)
	if _, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: id}); err != nil {
		t.Error(err)
	}
	b.clock.add(time.Millisecond)
	_, err = c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: id})
	wantError(t, err, "NotFoundException", "Key '"+*m.Arn+"' does not exist")
	b.chores(ctx)
	wantError(t, decrypt(), "AccessDeniedException", "does not exist, does not exist in this region")
	if all, err := c.ListAliases(ctx, &kms.ListAliasesInput{}); err != nil || len(all.Aliases) != 0 || len(b.keys.All()) != 0 {
		t.Errorf("left behind: %+v, %d keys, %v", all, len(b.keys.All()), err)
	}
}

func TestCrypt(t *testing.T) {
	b := start(t)
	ctx, c := t.Context(), b.client(t, account)
	k1, k2 := b.makeKey(t, account).arn(), b.makeKey(t, account).arn()
	con := map[string]string{"project": "x", "b": "c"}
	enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &k1, Plaintext: bytes.Repeat([]byte("p"), maxPlaintext), EncryptionContext: con})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(enc.CiphertextBlob, []byte("pppp")) {
		t.Error("the ciphertext holds the plaintext")
	}
	for _, wrong := range []map[string]string{nil, {"project": "x"}, {"project": "b", "b": "c"}, {"project": "x", "b": "c", "d": ""}, {"projectx": "b", "c": ""}} {
		_, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob, EncryptionContext: wrong})
		wantError(t, err, "InvalidCiphertextException", "")
	}
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob, EncryptionContext: con, KeyId: &k2})
	wantError(t, err, "IncorrectKeyException", "does not identify a CMK")
	// The key that a ciphertext names cannot be changed for another.
	swapped := bytes.Clone(enc.CiphertextBlob)
	h, _ := readHeader(swapped)
	h.id = strings.TrimPrefix(k2, "arn:aws:kms:us-east-1:000000000000:key/")
	copy(swapped, h.append(nil))
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: swapped, EncryptionContext: con})
	wantError(t, err, "InvalidCiphertextException", "")

	re, err := c.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: enc.CiphertextBlob, SourceEncryptionContext: con, DestinationKeyId: &k2})
	if err != nil || *re.SourceKeyId != k1 || *re.KeyId != k2 {
		t.Fatalf("%+v, %v", re, err)
	}
	dec, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: re.CiphertextBlob, KeyId: &k2})
	if err != nil || len(dec.Plaintext) != maxPlaintext {
		t.Errorf("%+v, %v", dec, err)
	}

	for _, in := range []*kms.GenerateDataKeyInput{
		{KeyId: &k1, KeySpec: types.DataKeySpecAes128}, {KeyId: &k1, KeySpec: types.DataKeySpecAes256}, {KeyId: &k1, NumberOfBytes: aws.Int32(1024), EncryptionContext: con},
	} {
		out, err := c.GenerateDataKey(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		want := map[types.DataKeySpec]int{types.DataKeySpecAes128: 16, types.DataKeySpecAes256: 32, "": 1024}[in.KeySpec]
		dec, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: out.CiphertextBlob, EncryptionContext: in.EncryptionContext})
		if err != nil || len(out.Plaintext) != want || !bytes.Equal(dec.Plaintext, out.Plaintext) {
			t.Errorf("data key of %d bytes, want %d, %v", len(out.Plaintext), want, err)
		}
	}
	hidden, err := c.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &k1, KeySpec: types.DataKeySpecAes256})
	if err != nil {
		t.Fatal(err)
	}
	if dec, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: hidden.CiphertextBlob}); err != nil || len(dec.Plaintext) != 32 {
		t.Errorf("%+v, %v", dec, err)
	}
	r1, err1 := c.GenerateRandom(ctx, &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(64)})
	r2, err2 := c.GenerateRandom(ctx, &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(64)})
	if err1 != nil || err2 != nil || len(r1.Plaintext) != 64 || bytes.Equal(r1.Plaintext, r2.Plaintext) {
		t.Errorf("random: %v, %v", err1, err2)
	}
	_, err = c.Encrypt(ctx, &kms.EncryptInput{KeyId: &k1, Plaintext: []byte("x"), DryRun: aws.Bool(true)})
	wantError(t, err, "DryRunOperationException", "would have succeeded")
}

func TestRotation(t *testing.T) {
	b := start(t)
	ctx, c := t.Context(), b.client(t, account)
	k := b.makeKey(t, account)
	id := k.arn()
	encrypted := func() []byte {
		out, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		return out.CiphertextBlob
	}
	blobs := [][]byte{encrypted()}
	if _, err := c.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id}); err != nil {
		t.Fatal(err)
	}
	blobs = append(blobs, encrypted())
	if _, err := c.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &id, RotationPeriodInDays: aws.Int32(90)}); err != nil {
		t.Fatal(err)
	}
	status, err := c.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &id})
	if err != nil || !status.KeyRotationEnabled || *status.RotationPeriodInDays != 90 || !status.NextRotationDate.Equal(b.clock.Now().Add(90*day)) {
		t.Errorf("%+v, %v", status, err)
	}
	b.clock.add(90*day - 1)
	b.chores(ctx)
	b.clock.add(1)
	b.chores(ctx)
	b.chores(ctx)
	blobs = append(blobs, encrypted())
	list, err := c.ListKeyRotations(ctx, &kms.ListKeyRotationsInput{KeyId: &id})
	if err != nil || len(list.Rotations) != 2 || list.Rotations[0].RotationType != types.RotationTypeOnDemand || list.Rotations[1].RotationType != types.RotationTypeAutomatic {
		t.Errorf("%+v, %v", list, err)
	}
	for i, blob := range blobs {
		if h, ok := readHeader(blob); !ok || int(h.version) != i+1 {
			t.Errorf("ciphertext %d is of material %d", i, h.version)
		}
		if dec, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob}); err != nil || string(dec.Plaintext) != "x" {
			t.Errorf("ciphertext %d: %v", i, err)
		}
	}
	if _, err := c.DisableKeyRotation(ctx, &kms.DisableKeyRotationInput{KeyId: &id}); err != nil {
		t.Fatal(err)
	}
	if status, err := c.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &id}); err != nil || status.KeyRotationEnabled {
		t.Errorf("%+v, %v", status, err)
	}
	for range maxOnDemand - 1 {
		if _, err := c.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id})
	wantError(t, err, "LimitExceededException", "25")
}

func TestPolicyTagsAndDescription(t *testing.T) {
	b := start(t)
	ctx, c := t.Context(), b.client(t, account)
	id := b.makeKey(t, account).ID
	policy, err := c.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &id})
	if err != nil || !strings.Contains(*policy.Policy, `"arn:aws:iam::000000000000:root"`) || *policy.PolicyName != "default" {
		t.Errorf("%+v, %v", policy, err)
	}
	mine := statement("Allow", "arn:aws:iam::"+account+":root", "kms:*", "")
	if _, err := c.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &id, Policy: &mine}); err != nil {
		t.Fatal(err)
	}
	if policy, err := c.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &id, PolicyName: aws.String("default")}); err != nil || *policy.Policy != mine {
		t.Errorf("%+v, %v", policy, err)
	}
	_, err = c.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &id, PolicyName: aws.String("x")})
	wantError(t, err, "NotFoundException", "No such policy exists")
	_, err = c.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &id, Policy: aws.String("{")})
	wantError(t, err, "MalformedPolicyDocumentException", "")
	if l, err := c.ListKeyPolicies(ctx, &kms.ListKeyPoliciesInput{KeyId: &id}); err != nil || len(l.PolicyNames) != 1 {
		t.Errorf("%+v, %v", l, err)
	}

	var tags []types.Tag
	for i := range maxTags {
		tags = append(tags, types.Tag{TagKey: aws.String(fmt.Sprintf("k%02d", i)), TagValue: aws.String("v")})
	}
	if _, err := c.TagResource(ctx, &kms.TagResourceInput{KeyId: &id, Tags: tags}); err != nil {
		t.Fatal(err)
	}
	_, err = c.TagResource(ctx, &kms.TagResourceInput{KeyId: &id, Tags: []types.Tag{{TagKey: aws.String("more"), TagValue: aws.String("")}}})
	wantError(t, err, "LimitExceededException", "50")
	_, err = c.TagResource(ctx, &kms.TagResourceInput{KeyId: &id, Tags: []types.Tag{{TagKey: aws.String("aws:x"), TagValue: aws.String("")}}})
	wantError(t, err, "TagException", "")
	if _, err := c.UntagResource(ctx, &kms.UntagResourceInput{KeyId: &id, TagKeys: []string{"k00", "nothing"}}); err != nil {
		t.Fatal(err)
	}
	found := 0
	pages := kms.NewListResourceTagsPaginator(c, &kms.ListResourceTagsInput{KeyId: &id, Limit: aws.Int32(20)})
	for pages.HasMorePages() {
		p, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		found += len(p.Tags)
	}
	if found != maxTags-1 {
		t.Errorf("%d tags", found)
	}
	if _, err := c.UpdateKeyDescription(ctx, &kms.UpdateKeyDescriptionInput{KeyId: &id, Description: aws.String("new")}); err != nil {
		t.Fatal(err)
	}
	if d, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id}); err != nil || *d.KeyMetadata.Description != "new" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestAliases(t *testing.T) {
	b := start(t)
	ctx, c := t.Context(), b.client(t, account)
	k1, k2, theirs := b.makeKey(t, account), b.makeKey(t, account), b.makeKey(t, other)
	alias := func(name, target string) error {
		_, err := c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &target})
		return err
	}
	for i := range 7 {
		if err := alias(fmt.Sprintf("alias/team/%d", i), k1.ID); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, alias("alias/team/1", k2.ID), "AlreadyExistsException", "An alias with the name arn:aws:kms:us-east-1:000000000000:alias/team/1 already exists")
	wantError(t, alias("team", k1.ID), "ValidationException", "Invalid identifier")
	wantError(t, alias("alias/a b", k1.ID), "ValidationException", "regular expression")
	wantError(t, alias("alias/aws/x", k1.ID), "NotAuthorizedException", "")
	wantError(t, alias("alias/"+strings.Repeat("x", 256), k1.ID), "ValidationException", "256")
	wantError(t, alias("alias/x", "alias/team/1"), "ValidationException", "Aliases must refer to keys")
	wantError(t, alias("alias/x", uuid.NewString()), "NotFoundException", "does not exist")
	wantError(t, alias("alias/x", theirs.arn()), "AccessDeniedException", "")

	name := "alias/team/3"
	if _, err := c.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: &name, TargetKeyId: &k2.ID}); err != nil {
		t.Fatal(err)
	}
	if d, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &name}); err != nil || *d.KeyMetadata.KeyId != k2.ID {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := c.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: &name}); err != nil {
		t.Fatal(err)
	}
	_, err := c.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: &name})
	wantError(t, err, "NotFoundException", "Alias arn:aws:kms:us-east-1:000000000000:alias/team/3 is not found.")
	_, err = c.Encrypt(ctx, &kms.EncryptInput{KeyId: &name, Plaintext: []byte("x")})
	wantError(t, err, "NotFoundException", "is not found.")
	_, err = c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: aws.String("alias/team/1")})
	wantError(t, err, "InvalidArnException", "not supported")

	var names []string
	pages := kms.NewListAliasesPaginator(c, &kms.ListAliasesInput{Limit: aws.Int32(4)})
	for pages.HasMorePages() {
		p, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range p.Aliases {
			names = append(names, strings.TrimPrefix(*a.AliasName, "alias/team/"))
		}
	}
	if got := strings.Join(names, ""); got != "012456" {
		t.Errorf("aliases %s", got)
	}
	ids := 0
	keyPages := kms.NewListKeysPaginator(c, &kms.ListKeysInput{Limit: aws.Int32(1)})
	for keyPages.HasMorePages() {
		p, err := keyPages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		ids += len(p.Keys)
	}
	if ids != 2 {
		t.Errorf("%d keys", ids)
	}
}

func TestUnsupported(t *testing.T) {
	b := start(t)
	ctx, c := t.Context(), b.client(t, account)
	for _, in := range []*kms.CreateKeyInput{
		{KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeSignVerify}, {KeyUsage: types.KeyUsageTypeGenerateVerifyMac},
		{Origin: types.OriginTypeExternal}, {MultiRegion: aws.Bool(true)}, {CustomKeyStoreId: aws.String("cks-1")},
	} {
		_, err := c.CreateKey(ctx, in)
		wantError(t, err, "UnsupportedOperationException", "not supported by Hearth")
	}
	id := b.makeKey(t, account).ID
	_, err := c.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: &id, GranteePrincipal: aws.String("arn:aws:iam::000000000000:role/r"),
		Operations: []types.GrantOperation{types.GrantOperationDecrypt}})
	wantError(t, err, "UnsupportedOperationException", "Grants are not supported")
	// Tools look for grants whether they use them or not.
	if l, err := c.ListGrants(ctx, &kms.ListGrantsInput{KeyId: &id}); err != nil || l.Grants == nil || len(l.Grants) != 0 || l.Truncated {
		t.Errorf("grants: %+v, %v", l, err)
	}
	_, err = c.ListGrants(ctx, &kms.ListGrantsInput{KeyId: aws.String("00000000-0000-4000-8000-000000000000")})
	wantError(t, err, "NotFoundException", "")
	if l, err := c.ListRetirableGrants(ctx, &kms.ListRetirableGrantsInput{RetiringPrincipal: aws.String("arn:aws:iam::000000000000:role/r")}); err != nil || l.Grants == nil {
		t.Errorf("retirable grants: %+v, %v", l, err)
	}
	wantError(t, b.do(t, root(account), "TrentService.Nothing", "{}", nil), "UnknownOperationException", "")
	wantError(t, b.do(t, root(account), "Nothing", "{}", nil), "UnknownOperationException", "")
}

// TestKeyringOfAnotherKMS has a keyring's master keys wrapped by this KMS, as
// by one of AWS's.
func TestKeyringOfAnotherKMS(t *testing.T) {
	b := start(t)
	c := b.client(t, account)
	k := b.makeKey(t, account)
	outside, err := keyring.NewAWS(keyring.AWSConfig{KeyARN: k.arn(), Endpoint: b.url, Credentials: c.Options().Credentials})
	if err != nil {
		t.Fatal(err)
	}
	server, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	f := &file{}
	cfg := keyring.Config{Store: f, Client: server.Client(), External: outside}
	place := keyring.Binding{Account: account, Purpose: "p", Record: "r"}
	ring, err := keyring.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ring.Stop)
	sealed, err := ring.Seal(t.Context(), place, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if v, err := ring.RotateMaster(t.Context()); err != nil || v != 2 {
		t.Errorf("master key %d, %v", v, err)
	}
	again, err := keyring.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Stop)
	if got, err := again.Open(t.Context(), place, sealed); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := c.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &k.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "is disabled") {
		t.Errorf("with a disabled key: %v", err)
	}
	if got, err := again.Open(t.Context(), place, sealed); err != nil || string(got) != "x" {
		t.Errorf("one that runs: %q, %v", got, err)
	}
}
