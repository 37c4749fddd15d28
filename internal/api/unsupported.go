package api

import (
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// field is a member of a request that this version does not serve. Accepting
// it silently would make functions that behave otherwise than asked.
type field struct {
	name string
	set  bool
}

// refuse answers a typed error for the first field that is set. A value that
// means nothing (an empty list, "None") counts as absent.
func refuse(fields ...field) error {
	for _, f := range fields {
		if f.set {
			return badValue("%s is not supported yet by this version of Hearth. Leave it out.", f.name)
		}
	}
	return nil
}

func unsupportedInCreate(in *lambda.CreateFunctionInput) error {
	code := in.Code
	if err := refuse(
		field{"PublishTo", in.PublishTo != ""},
		field{"TenancyConfig", in.TenancyConfig != nil},
	); err != nil {
		return err
	}
	if err := unsupportedCode(code.SourceKMSKeyArn); err != nil {
		return err
	}
	return unsupportedConfig(in.DurableConfig, in.CapacityProviderConfig)
}

func unsupportedInCodeUpdate(in *lambda.UpdateFunctionCodeInput) error {
	if err := refuse(field{"PublishTo", in.PublishTo != ""}); err != nil {
		return err
	}
	return unsupportedCode(in.SourceKMSKeyArn)
}

func unsupportedInConfigUpdate(in *lambda.UpdateFunctionConfigurationInput) error {
	return unsupportedConfig(in.DurableConfig, in.CapacityProviderConfig)
}

func unsupportedCode(kms *string) error {
	return refuse(field{"SourceKMSKeyArn", str(kms) != ""})
}

func unsupportedConfig(durable *types.DurableConfig, capacity *types.CapacityProviderConfig) error {
	return refuse(
		field{"DurableConfig", durable != nil},
		field{"CapacityProviderConfig", capacity != nil},
	)
}
