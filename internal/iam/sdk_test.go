package iam

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hearth/internal/awsid"
	"hearth/internal/policy"
)

// TestTerraformRole does what Terraform does with a role, its policies and an
// attachment, from making to destroying.
func TestTerraformRole(t *testing.T) {
	b := start(t)
	ctx, root := t.Context(), b.root()
	name := aws.String("app")
	made, err := root.CreateRole(ctx, &iam.CreateRoleInput{
		RoleName: name, Path: aws.String("/team/"), AssumeRolePolicyDocument: aws.String(lambdaTrust), Description: aws.String("for <app> & co"),
		MaxSessionDuration: aws.Int32(7200), Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("1 2")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := made.Role
	if *r.Arn != "arn:aws:iam::000000000000:role/team/app" || !strings.HasPrefix(*r.RoleId, "AROA") || len(*r.RoleId) != 21 || len(r.Tags) != 1 {
		t.Errorf("made %+v", r)
	}
	if decoded, err := url.PathUnescape(*r.AssumeRolePolicyDocument); err != nil || decoded != lambdaTrust || strings.ContainsAny(*r.AssumeRolePolicyDocument, `{" +`) {
		t.Errorf("trust policy %q", *r.AssumeRolePolicyDocument)
	}
	got, err := root.GetRole(ctx, &iam.GetRoleInput{RoleName: name})
	if err != nil || *got.Role.Description != "for <app> & co" || *got.Role.MaxSessionDuration != 7200 || got.Role.RoleLastUsed == nil {
		t.Errorf("got %+v, %v", got, err)
	}
	document := statement("Allow", "s3:*", "*")
	p, err := root.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: name, PolicyDocument: &document})
	if err != nil {
		t.Fatal(err)
	}
	for _, arn := range []*string{p.Policy.Arn, aws.String("arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole")} {
		for range 2 { // again is no error
			if _, err := root.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: arn}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := root.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("in"), PolicyDocument: &document}); err != nil {
		t.Fatal(err)
	}
	inline, err := root.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: name, PolicyName: aws.String("in")})
	if err != nil || *inline.RoleName != "app" || *inline.PolicyDocument != url.QueryEscape(document) {
		t.Errorf("inline %+v, %v", inline, err)
	}
	attached, err := root.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: name})
	if err != nil || len(attached.AttachedPolicies) != 2 || *attached.AttachedPolicies[1].PolicyName != "AWSLambdaBasicExecutionRole" {
		t.Errorf("attached %+v, %v", attached, err)
	}
	if shown, err := root.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: p.Policy.Arn}); err != nil || *shown.Policy.AttachmentCount != 1 || !shown.Policy.IsAttachable {
		t.Errorf("policy %+v, %v", shown, err)
	}
	who, err := root.ListEntitiesForPolicy(ctx, &iam.ListEntitiesForPolicyInput{PolicyArn: p.Policy.Arn})
	if err != nil || len(who.PolicyRoles) != 1 || *who.PolicyRoles[0].RoleName != "app" || len(who.PolicyUsers) != 0 {
		t.Errorf("entities %+v, %v", who, err)
	}

	_, err = root.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: p.Policy.Arn})
	refused(t, "deleting an attached policy", err, 409, "DeleteConflict", "Cannot delete a policy attached to entities.")
	_, err = root.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name})
	refused(t, "deleting a role with policies", err, 409, "DeleteConflict", "must delete policies first")
	if _, err := root.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: name, PolicyName: aws.String("in")}); err != nil {
		t.Error(err)
	}
	_, err = root.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name})
	refused(t, "deleting a role with attachments", err, 409, "DeleteConflict", "must detach all policies first")
	for _, a := range attached.AttachedPolicies {
		if _, err := root.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: name, PolicyArn: a.PolicyArn}); err != nil {
			t.Error(err)
		}
	}
	if out, err := root.ListInstanceProfilesForRole(ctx, &iam.ListInstanceProfilesForRoleInput{RoleName: name}); err != nil || out.InstanceProfiles == nil {
		t.Errorf("instance profiles: %+v, %v", out, err)
	}
	_, err = root.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: name})
	refused(t, "an instance profile", err, 404, "NoSuchEntity", "Instance Profile app cannot be found.")
	_, err = root.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: name})
	refused(t, "a new instance profile", err, 400, "InvalidAction", "create_instance_profile: false")
	if out, err := root.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: name}); err != nil || out.PolicyNames == nil || len(out.PolicyNames) != 0 {
		t.Errorf("inline policies left: %+v, %v", out, err)
	}
	if _, err := root.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name}); err != nil {
		t.Error(err)
	}
	if _, err := root.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: p.Policy.Arn}); err != nil {
		t.Error(err)
	}
	_, err = root.GetRole(ctx, &iam.GetRoleInput{RoleName: name})
	refused(t, "the role that is gone", err, 404, "NoSuchEntity", "The role with name app cannot be found.")
	_, err = root.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: p.Policy.Arn})
	refused(t, "the policy that is gone", err, 404, "NoSuchEntity", "was not found")
}

// TestTerraformUser is the same for a user with an access key.
func TestTerraformUser(t *testing.T) {
	b := start(t)
	ctx, root := t.Context(), b.root()
	bob := b.user("bob", statement("Allow", "iam:GetUser", "*"))
	who, err := bob.GetUser(ctx, &iam.GetUserInput{})
	if err != nil || *who.User.Arn != "arn:aws:iam::000000000000:user/bob" || !strings.HasPrefix(*who.User.UserId, "AIDA") || who.User.CreateDate == nil {
		t.Errorf("GetUser %+v, %v", who, err)
	}
	if _, err := root.UpdateUser(ctx, &iam.UpdateUserInput{UserName: aws.String("bob"), NewUserName: aws.String("Robert"), NewPath: aws.String("/x/")}); err != nil {
		t.Fatal(err)
	}
	again, err := bob.GetUser(ctx, &iam.GetUserInput{})
	if err != nil || *again.User.Arn != "arn:aws:iam::000000000000:user/x/Robert" || *again.User.UserId != *who.User.UserId {
		t.Errorf("after the new name: %+v, %v", again, err)
	}
	_, err = root.GetUser(ctx, &iam.GetUserInput{UserName: aws.String("bob")})
	refused(t, "the old name", err, 404, "NoSuchEntity", "The user with name bob cannot be found.")
	_, err = root.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("ROBERT")})
	refused(t, "the name in another case", err, 409, "EntityAlreadyExists", "already exists")
	name := aws.String("Robert")
	if _, err := root.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name}); err != nil {
		t.Error(err)
	}
	_, err = root.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
	refused(t, "a third key", err, 409, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2")
	if used, err := root.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: &bob.keys.AccessKeyID}); err != nil || *used.UserName != "Robert" {
		t.Errorf("last used: %+v, %v", used, err)
	}
	// What Terraform looks through before it destroys a user by force.
	for what, list := range map[string]func() error{
		"groups": func() error {
			_, err := root.ListGroupsForUser(ctx, &iam.ListGroupsForUserInput{UserName: name})
			return err
		},
		"MFA devices": func() error { _, err := root.ListMFADevices(ctx, &iam.ListMFADevicesInput{UserName: name}); return err },
		"SSH keys": func() error {
			_, err := root.ListSSHPublicKeys(ctx, &iam.ListSSHPublicKeysInput{UserName: name})
			return err
		},
		"certificates": func() error {
			_, err := root.ListSigningCertificates(ctx, &iam.ListSigningCertificatesInput{UserName: name})
			return err
		},
		"credentials": func() error {
			_, err := root.ListServiceSpecificCredentials(ctx, &iam.ListServiceSpecificCredentialsInput{UserName: name})
			return err
		},
	} {
		if err := list(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = root.DeleteLoginProfile(ctx, &iam.DeleteLoginProfileInput{UserName: name})
	refused(t, "the password", err, 404, "NoSuchEntity", "Login Profile for User Robert cannot be found.")
	_, err = root.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name})
	refused(t, "deleting a user with keys", err, 409, "DeleteConflict", "must delete access keys first")
	keys, err := root.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: name})
	if err != nil || len(keys.AccessKeyMetadata) != 2 {
		t.Fatalf("keys %+v, %v", keys, err)
	}
	for _, k := range keys.AccessKeyMetadata {
		if _, err := root.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: name, AccessKeyId: k.AccessKeyId}); err != nil {
			t.Error(err)
		}
	}
	if _, err := root.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: name, PolicyName: aws.String("p")}); err != nil {
		t.Error(err)
	}
	if _, err := root.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name}); err != nil {
		t.Error(err)
	}
	if n := len(b.uses.All()) + len(b.users.All()); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

func TestPolicyVersions(t *testing.T) {
	b := start(t)
	ctx, root := t.Context(), b.root()
	p, err := root.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: aws.String(statement("Allow", "a:B", "*"))})
	if err != nil {
		t.Fatal(err)
	}
	arn := p.Policy.Arn
	for i := range 4 {
		v, err := root.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{
			PolicyArn: arn, PolicyDocument: aws.String(statement("Allow", fmt.Sprint("a:B", i), "*")), SetAsDefault: i == 2,
		})
		if err != nil || *v.PolicyVersion.VersionId != fmt.Sprint("v", i+2) || v.PolicyVersion.IsDefaultVersion != (i == 2) {
			t.Fatalf("version %+v, %v", v, err)
		}
	}
	_, err = root.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: aws.String(statement("Allow", "a:B", "*"))})
	refused(t, "a sixth version", err, 409, "LimitExceeded", "A managed policy can have up to 5 versions.")
	_, err = root.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v4")})
	refused(t, "deleting the default", err, 409, "DeleteConflict", "Cannot delete the default version of a policy.")
	_, err = root.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: arn})
	refused(t, "deleting with versions", err, 409, "DeleteConflict", "more than one version")
	if _, err := root.SetDefaultPolicyVersion(ctx, &iam.SetDefaultPolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v1")}); err != nil {
		t.Error(err)
	}
	all, err := root.ListPolicyVersions(ctx, &iam.ListPolicyVersionsInput{PolicyArn: arn, MaxItems: aws.Int32(2)})
	if err != nil || len(all.Versions) != 2 || !all.IsTruncated || *all.Versions[0].VersionId != "v5" {
		t.Errorf("versions %+v, %v", all, err)
	}
	for _, id := range []string{"v2", "v3", "v4", "v5"} {
		if _, err := root.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: &id}); err != nil {
			t.Error(err)
		}
	}
	v, err := root.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: aws.String(statement("Allow", "a:B", "*"))})
	if err != nil || *v.PolicyVersion.VersionId != "v6" {
		t.Errorf("a number was used again: %+v, %v", v, err)
	}
	_, err = root.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v2")})
	refused(t, "a version that is gone", err, 404, "NoSuchEntity", "version v2 does not exist")
	aws1 := aws.String("arn:aws:iam::aws:policy/AdministratorAccess")
	_, err = root.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: aws1})
	refused(t, "deleting AWS's", err, 403, "AccessDenied", "one of AWS's managed policies")
}

// TestPages walks through every kind of list in small pages.
func TestPages(t *testing.T) {
	b := start(t)
	ctx, root := t.Context(), b.root()
	const n = 2*chunk + 3
	for i := range n {
		path := "/"
		if i%2 == 1 {
			path = "/odd/"
		}
		r := &role{entity: entity{Account: testAccount, Name: fmt.Sprintf("R%04d", i), Path: path, ID: awsid.Unique(rolePrefix), Created: b.now()}, Trust: lambdaTrust, MaxSession: 3600}
		if _, err := b.addRole(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		prefix string
		size   int32
		want   int
	}{{"", 100, n + 1}, {"", 1000, n + 1}, {"/odd/", 7, n / 2}, {"/none/", 5, 0}} {
		seen := make(map[string]bool)
		in := &iam.ListRolesInput{MaxItems: &tt.size}
		if tt.prefix != "" {
			in.PathPrefix = &tt.prefix
		}
		pages := iam.NewListRolesPaginator(root, in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatalf("%+v after %d: %v", tt, len(seen), err)
			}
			if len(page.Roles) > int(tt.size) {
				t.Errorf("a page of %d", len(page.Roles))
			}
			for _, r := range page.Roles {
				seen[*r.RoleName] = true
			}
		}
		if len(seen) != tt.want {
			t.Errorf("%+v: %d roles", tt, len(seen))
		}
	}
	policies := 0
	all := iam.NewListPoliciesPaginator(root, &iam.ListPoliciesInput{MaxItems: aws.Int32(5), Scope: types.PolicyScopeTypeAws})
	for all.HasMorePages() {
		page, err := all.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		policies += len(page.Policies)
	}
	if policies != len(awsManaged) {
		t.Errorf("%d policies, want %d", policies, len(awsManaged))
	}
	_, err := root.ListUsers(ctx, &iam.ListUsersInput{MaxItems: aws.Int32(1001)})
	refused(t, "a page too large", err, 400, "ValidationError", "Member must have value less than or equal to 1000")
}

func TestTags(t *testing.T) {
	b := start(t)
	ctx, root := t.Context(), b.root()
	b.makeRole("r", lambdaTrust, "")
	pair := func(k, v string) types.Tag { return types.Tag{Key: &k, Value: &v} }
	name := aws.String("r")
	if _, err := root.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: []types.Tag{pair("A", "1"), pair("b", "")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: []types.Tag{pair("a", "2")}}); err != nil {
		t.Fatal(err)
	}
	out, err := root.ListRoleTags(ctx, &iam.ListRoleTagsInput{RoleName: name})
	if err != nil || len(out.Tags) != 2 || *out.Tags[0].Key != "a" || *out.Tags[0].Value != "2" {
		t.Errorf("tags %+v, %v", out, err)
	}
	if _, err := root.UntagRole(ctx, &iam.UntagRoleInput{RoleName: name, TagKeys: []string{"B", "A"}}); err != nil {
		t.Error(err)
	}
	if out, err := root.ListRoleTags(ctx, &iam.ListRoleTagsInput{RoleName: name}); err != nil || len(out.Tags) != 0 {
		t.Errorf("tags left %+v, %v", out, err)
	}
	_, err = root.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: []types.Tag{pair("aws:x", "")}})
	refused(t, "a tag of AWS's", err, 400, "InvalidInput", "aws:")
	_, err = root.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: []types.Tag{pair("x", "1"), pair("X", "2")}})
	if err != nil {
		t.Logf("two cases of a key: %v", err)
	}
	var many []types.Tag
	for i := range 51 {
		many = append(many, pair(fmt.Sprint("k", i), "v"))
	}
	_, err = root.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: many})
	refused(t, "51 tags", err, 409, "LimitExceeded", "maximum limit")
}

// TestWords holds errors against AWS's codes and words.
func TestWords(t *testing.T) {
	b := start(t)
	ctx, root := t.Context(), b.root()
	role := b.makeRole("r", lambdaTrust, "")
	_, err := root.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(lambdaTrust)})
	refused(t, "a role twice", err, 409, "EntityAlreadyExists", "Role with name r already exists.")
	_, err = root.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("x y"), AssumeRolePolicyDocument: aws.String(lambdaTrust)})
	refused(t, "a name with a space", err, 400, "ValidationError", "The specified value for roleName is invalid. It must contain only alphanumeric characters")
	_, err = root.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String(strings.Repeat("x", 65)), AssumeRolePolicyDocument: aws.String(lambdaTrust)})
	refused(t, "a long name", err, 400, "ValidationError", "Member must have length less than or equal to 64")
	_, err = root.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("x"), AssumeRolePolicyDocument: aws.String("{")})
	refused(t, "no policy", err, 400, "MalformedPolicyDocument", "")
	_, err = root.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("x"), AssumeRolePolicyDocument: aws.String(statement("Allow", "sts:AssumeRole", "*"))})
	refused(t, "no trust policy", err, 400, "MalformedPolicyDocument", "")
	_, err = root.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("x"), AssumeRolePolicyDocument: aws.String(trustingARN("arn:aws:iam::000000000000:user/nobody"))})
	refused(t, "trust in nobody", err, 400, "MalformedPolicyDocument", `Invalid principal in policy: "AWS":"arn:aws:iam::000000000000:user/nobody"`)
	_, err = root.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("x"), AssumeRolePolicyDocument: aws.String(lambdaTrust), MaxSessionDuration: aws.Int32(60)})
	refused(t, "a short session", err, 400, "ValidationError", "Member must have value between 3600 and 43200")
	_, err = root.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("x"), PolicyDocument: aws.String(trusting(`"*"`))})
	refused(t, "a principal in an identity policy", err, 400, "MalformedPolicyDocument", "Policy document should not specify a principal.")
	_, err = root.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("x"), PolicyDocument: aws.String(statement("Allow", "a:"+strings.Repeat("x", policy.QuotaManaged), "*"))})
	refused(t, "a long policy", err, 409, "LimitExceeded", "Cannot exceed quota for PolicySize: 6144")
	long := statement("Allow", "a:"+strings.Repeat("x", 6000), "*")
	for i, want := range []bool{true, false} {
		_, err = root.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("r"), PolicyName: aws.String(fmt.Sprint("p", i)), PolicyDocument: &long})
		if want && err != nil {
			t.Error(err)
		} else if !want {
			refused(t, "more than a role may have", err, 409, "LimitExceeded", "Maximum policy size of 10240 bytes exceeded for role r")
		}
	}
	_, err = root.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: aws.String("arn:aws:iam::000000000000:policy/none")})
	refused(t, "no such policy", err, 404, "NoSuchEntity", "Policy arn:aws:iam::000000000000:policy/none does not exist or is not attachable.")
	_, err = root.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AdministratorAccess")})
	refused(t, "not attached", err, 404, "NoSuchEntity", "was not found.")
	_, err = root.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{})
	refused(t, "a key of root", err, 400, "ValidationError", "Must specify userName when calling with non-User credentials")
	nobody := b.user("nobody", "")
	_, err = nobody.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("r")})
	refused(t, "without permission", err, 403, "AccessDenied",
		"User: arn:aws:iam::000000000000:user/nobody is not authorized to perform: iam:GetRole on resource: "+role+" because no identity-based policy allows the iam:GetRole action")
	_, err = nobody.ListRoles(ctx, &iam.ListRolesInput{})
	refused(t, "a list", err, 403, "AccessDenied", "iam:ListRoles on resource: arn:aws:iam::000000000000:role/")
	wrong := nobody.keys
	wrong.SecretAccessKey = rootSecret
	_, err = b.as(wrong).GetUser(ctx, &iam.GetUserInput{})
	refused(t, "a wrong secret", err, 403, "SignatureDoesNotMatch", "")
	_, err = b.as(aws.Credentials{AccessKeyID: "AKIANOBODY0000000000", SecretAccessKey: "x"}).GetUser(ctx, &iam.GetUserInput{})
	refused(t, "an unknown key", err, 403, "InvalidClientTokenId", "The security token included in the request is invalid.")
	_, err = root.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("g")})
	refused(t, "what is not served", err, 400, "InvalidAction", "Could not find operation CreateGroup for version 2010-05-08")
}
