package iam

import (
	"context"

	"hearth/internal/awserr"
	"hearth/internal/awsquery"
)

// What this service does not have (groups, passwords, certificates, second
// factors, instance profiles) answers as if there were none: tools list it
// before they delete a user or role.
var absentOperations = merge(
	noneOf("Groups", "ListGroups", nil),
	noneOf("Groups", "ListGroupsForUser", aboutUser),
	noneOf("MFADevices", "ListMFADevices", aboutUser),
	noneOf("VirtualMFADevices", "ListVirtualMFADevices", nil),
	noneOf("SSHPublicKeys", "ListSSHPublicKeys", aboutUser),
	noneOf("Certificates", "ListSigningCertificates", aboutUser),
	noneOf("ServiceSpecificCredentials", "ListServiceSpecificCredentials", aboutUser),
	noneOf("AccountAliases", "ListAccountAliases", nil),
	noneOf("InstanceProfiles", "ListInstanceProfiles", nil),
	noneOf("InstanceProfiles", "ListInstanceProfilesForRole", aboutRole),
	noneOf("SAMLProviderList", "ListSAMLProviders", nil),
	noneOf("ServerCertificateMetadataList", "ListServerCertificates", nil),
	map[string]operation{
		"GetLoginProfile":    {serve: noLoginProfile, about: aboutUser},
		"DeleteLoginProfile": {serve: noLoginProfile, about: aboutUser},

		"GetInstanceProfile":    {serve: noInstanceProfile},
		"CreateInstanceProfile": {serve: noNewInstanceProfile},
	},
)

// noneOf is an operation that lists nothing.
func noneOf(member, action string, about func(*Service, *call) subject) map[string]operation {
	return map[string]operation{action: {about: about, serve: func(_ context.Context, s *Service, c *call) (any, error) {
		var err error
		switch {
		case c.Get("RoleName") != "":
			_, err = s.role(c)
		case c.Get("UserName") != "":
			_, err = s.user(c)
		}
		return awsquery.Fields{{Name: member, Value: awsquery.List[string]{}}, {Name: "IsTruncated", Value: false}}, err
	}}}
}

func noLoginProfile(_ context.Context, s *Service, c *call) (any, error) {
	u, err := s.user(c)
	if err != nil {
		return nil, err
	}
	return nil, noEntity("Login Profile for User %s cannot be found.", u.Name)
}

func noInstanceProfile(_ context.Context, _ *Service, c *call) (any, error) {
	name, err := c.name("InstanceProfileName", maxPolicyName)
	if err != nil {
		return nil, err
	}
	return nil, noEntity("Instance Profile %s cannot be found.", name)
}

func noNewInstanceProfile(context.Context, *Service, *call) (any, error) {
	return nil, awserr.New("InvalidAction", "Hearth has no instance profiles, for it has no instances. "+
		"Make the role without one (Ansible's iam_role: create_instance_profile: false).")
}
