"""Takes a layer through its whole life with boto3 and the AWS CLI.

Usage: layers.py DIR AWS, where DIR holds layer.zip and code.zip, a layer and a
Python function that needs it, and AWS is the CLI. The environment says where
Hearth is.
"""

import json
import pathlib
import subprocess
import sys
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

LAYER = "boto3-layer"
FUNCTION = "layered-by-boto3"
QUICK = {"Delay": 1, "MaxAttempts": 180}

client = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}))
directory, aws = pathlib.Path(sys.argv[1]), sys.argv[2]


def check(got, want, what):
    if got != want:
        sys.exit(f"{what}: got {got!r}, want {want!r}")


def cli(*words):
    made = subprocess.run([aws, "lambda", *words, "--output", "json"], check=True, capture_output=True, text=True)
    return json.loads(made.stdout) if made.stdout.strip() else None


def refused(call, code, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        check(error.response["Error"]["Code"], code, "error code")
        return
    sys.exit(f"{arguments}: no error")


archive = (directory / "layer.zip").read_bytes()
first = client.publish_layer_version(
    LayerName=LAYER,
    Description="first",
    Content={"ZipFile": archive},
    CompatibleRuntimes=["python3.11"],
    CompatibleArchitectures=["x86_64"],
    LicenseInfo="MIT",
)
check(first["Version"], 1, "version")
with urllib.request.urlopen(first["Content"]["Location"]) as answer:
    check(answer.read(), archive, "the archive behind its link")
second = cli("publish-layer-version", "--layer-name", LAYER, "--zip-file", f"fileb://{directory}/layer.zip")
check(second["Version"], 2, "version of the CLI")
versions = client.list_layer_versions(LayerName=LAYER)["LayerVersions"]
check([v["Version"] for v in versions], [2, 1], "versions")
check(cli("get-layer-version-by-arn", "--arn", first["LayerVersionArn"])["Description"], "first", "by ARN")
matching = {l["LayerName"]: l["LatestMatchingVersion"]["Version"] for l in client.list_layers(CompatibleRuntime="python3.11")["Layers"]}
check(matching.get(LAYER), 1, "newest version for python3.11")

added = client.add_layer_version_permission(
    LayerName=LAYER, VersionNumber=1, StatementId="share", Action="lambda:GetLayerVersion", Principal="123456789012"
)
policy = client.get_layer_version_policy(LayerName=LAYER, VersionNumber=1)
check(policy["RevisionId"], added["RevisionId"], "revision")
check(json.loads(policy["Policy"])["Statement"], [json.loads(added["Statement"])], "policy")
client.remove_layer_version_permission(LayerName=LAYER, VersionNumber=1, StatementId="share", RevisionId=added["RevisionId"])
refused(client.get_layer_version_policy, "ResourceNotFoundException", LayerName=LAYER, VersionNumber=1)

made = client.create_function(
    FunctionName=FUNCTION,
    Runtime="python3.11",
    Role="arn:aws:iam::000000000000:role/hearth-function",
    Handler="app.handler",
    Code={"ZipFile": (directory / "code.zip").read_bytes()},
    Layers=[first["LayerVersionArn"]],
)
check(made["Layers"], [{"Arn": first["LayerVersionArn"], "CodeSize": len(archive)}], "layers")
client.get_waiter("function_active_v2").wait(FunctionName=FUNCTION, WaiterConfig=QUICK)
client.delete_layer_version(LayerName=LAYER, VersionNumber=1)
refused(client.get_layer_version, "ResourceNotFoundException", LayerName=LAYER, VersionNumber=1)
check(json.loads(client.invoke(FunctionName=FUNCTION)["Payload"].read()), "layer", "answer")
refused(client.update_function_configuration, "InvalidParameterValueException", FunctionName=FUNCTION, Layers=[first["LayerVersionArn"]])
cli("update-function-configuration", "--function-name", FUNCTION, "--layers", second["LayerVersionArn"])
client.get_waiter("function_updated_v2").wait(FunctionName=FUNCTION, WaiterConfig=QUICK)
check(json.loads(client.invoke(FunctionName=FUNCTION)["Payload"].read()), "layer", "answer over another version")
client.update_function_configuration(FunctionName=FUNCTION, Layers=[])
client.get_waiter("function_updated_v2").wait(FunctionName=FUNCTION, WaiterConfig=QUICK)
check("Layers" in client.get_function_configuration(FunctionName=FUNCTION), False, "layers after they were cleared")

client.delete_function(FunctionName=FUNCTION)
cli("delete-layer-version", "--layer-name", LAYER, "--version-number", "2")
check(client.list_layer_versions(LayerName=LAYER)["LayerVersions"], [], "versions at the end")
print("layers: ok")
