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
		field{"PackageType Image", in.PackageType == types.PackageTypeImage},
		field{"PublishTo", in.PublishTo != ""},
		field{"TenancyConfig", in.TenancyConfig != nil},
	); err != nil {
		return err
	}
	if err := unsupportedCode(code.ImageUri, code.SourceKMSKeyArn); err != nil {
		return err
	}
	return unsupportedConfig(in.ImageConfig, in.DurableConfig, in.CapacityProviderConfig)
}

func unsupportedInCodeUpdate(in *lambda.UpdateFunctionCodeInput) error {
	if err := refuse(field{"PublishTo", in.PublishTo != ""}); err != nil {
		return err
	}
	return unsupportedCode(in.ImageUri, in.SourceKMSKeyArn)
}

func unsupportedInConfigUpdate(in *lambda.UpdateFunctionConfigurationInput) error {
	return unsupportedConfig(in.ImageConfig, in.DurableConfig, in.CapacityProviderConfig)
}

func unsupportedCode(image, kms *string) error {
	return refuse(
		field{"ImageUri", str(image) != ""},
		field{"SourceKMSKeyArn", str(kms) != ""},
	)
}

func unsupportedConfig(image *types.ImageConfig, durable *types.DurableConfig, capacity *types.CapacityProviderConfig) error {
	return refuse(
		field{"ImageConfig", image != nil && (len(image.Command)+len(image.EntryPoint) > 0 || str(image.WorkingDirectory) != "")},
		field{"DurableConfig", durable != nil},
		field{"CapacityProviderConfig", capacity != nil},
	)
}
