package kms

import (
	"context"
	"strings"

	"hearth/internal/awserr"
	"hearth/internal/policy"
)

// defaultPolicy is the policy that AWS gives a key that is made without one:
// the account's identity policies decide.
func defaultPolicy(account string) string {
	return strings.ReplaceAll(`{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:aws:iam::ACCOUNT:root"
    },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}`, "ACCOUNT", account)
}

// managedPolicy is the policy of Lambda's own key: it is used through Lambda
// only, and the account may look at it.
func managedPolicy(region, account string) string {
	return strings.NewReplacer("ACCOUNT", account, "REGION", region).Replace(`{
  "Version" : "2012-10-17",
  "Id" : "auto-awslambda",
  "Statement" : [ {
    "Sid" : "Allow access through AWS Lambda for all principals in the account that are authorized to use AWS Lambda",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "*"
    },
    "Action" : [ "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:CreateGrant", "kms:DescribeKey" ],
    "Resource" : "*",
    "Condition" : {
      "StringEquals" : {
        "kms:ViaService" : "lambda.REGION.amazonaws.com",
        "kms:CallerAccount" : "ACCOUNT"
      }
    }
  }, {
    "Sid" : "Allow direct access to key metadata to the account",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:aws:iam::ACCOUNT:root"
    },
    "Action" : [ "kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant" ],
    "Resource" : "*"
  } ]
}`)
}

// checkPolicy refuses what can be no policy.
func checkPolicy(document string) error {
	if document == "" || len(document) > maxPolicy {
		return constraint("", "policy", "Member must have length between 1 and 32768")
	}
	if _, err := policy.Parse(policy.KindResource, policyName, []byte(document)); err != nil {
		return awserr.New("MalformedPolicyDocumentException", "%s", clip(err.Error()))
	}
	return nil
}

// policyName is the one name of a key's policy.
const policyName = "default"

func checkPolicyName(name string) error {
	if name != "" && name != policyName {
		return awserr.New("NotFoundException", "No such policy exists")
	}
	return nil
}

type policyInput struct {
	KeyID      string `json:"KeyId"`
	PolicyName string `json:"PolicyName"`
	Policy     string `json:"Policy"`
	Bypass     bool   `json:"BypassPolicyLockoutSafetyCheck"`
}

func getKeyPolicy(_ context.Context, c *call, in *policyInput) (*request, error) {
	k, err := c.findKey(in.KeyID)
	if err != nil {
		return nil, err
	}
	if err := checkPolicyName(in.PolicyName); err != nil {
		return nil, err
	}
	return &request{access: []Access{c.on(k, nil)}, run: func(context.Context) (any, error) {
		return map[string]string{"Policy": k.Policy, "PolicyName": policyName}, nil
	}}, nil
}

func putKeyPolicy(_ context.Context, c *call, in *policyInput) (*request, error) {
	if err := checkPolicyName(in.PolicyName); err != nil {
		return nil, err
	}
	if err := checkPolicy(in.Policy); err != nil {
		return nil, err
	}
	req, err := c.change(in.KeyID, func(now *key) (*key, error) {
		now.Policy = in.Policy
		return now, mustStay(now)
	}, nil)
	if err == nil && !in.Bypass {
		k, err := c.findKey(in.KeyID)
		if err != nil {
			return nil, err
		}
		req.lockout = &lockout{k, in.Policy}
	}
	return req, err
}

func listKeyPolicies(_ context.Context, c *call, in *keyInput) (*request, error) {
	k, err := c.findKey(in.KeyID)
	if err != nil {
		return nil, err
	}
	return &request{access: []Access{c.on(k, nil)}, run: func(context.Context) (any, error) {
		return struct {
			PolicyNames []string `json:"PolicyNames"`
			Truncated   bool     `json:"Truncated"`
		}{PolicyNames: []string{policyName}}, nil
	}}, nil
}
