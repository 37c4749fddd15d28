"""Drives the API as boto3 and the AWS CLI do: python3 drive.py ENDPOINT KEY SECRET."""
import json
import sys

import botocore.config
import botocore.exceptions
import botocore.session

endpoint, key, secret = sys.argv[1:4]
session = botocore.session.get_session()


def client(service):
    return session.create_client(
        service, region_name="us-east-1", endpoint_url=endpoint,
        aws_access_key_id=key, aws_secret_access_key=secret,
        config=botocore.config.Config(retries={"total_max_attempts": 1}))


lam = client("lambda")
name = "from-botocore"
created = lam.create_function(
    FunctionName=name, Runtime="python3.11", Handler="app.handler", Role="arn:aws:iam::000000000000:role/r",
    Code={"ZipFile": b"z" * (2 << 20)}, Environment={"Variables": {"GREETING": "h\u00e9 \u20ac"}}, Tags={"a": "1", "b/c": "2"})
arn = created["FunctionArn"]
assert created["State"] == "Pending", created
assert lam.get_function(FunctionName=arn)["Configuration"]["CodeSize"] == 2 << 20
assert lam.get_function_configuration(FunctionName=name, Qualifier="$LATEST")["FunctionArn"] == arn + ":$LATEST"
assert lam.list_functions(MaxItems=10)["Functions"][0]["Environment"]["Variables"]["GREETING"] == "h\u00e9 \u20ac"
out = lam.invoke(FunctionName=arn, Payload=b'{"a": 1}', LogType="Tail", ClientContext="e30=")
assert out["StatusCode"] == 200 and out["ExecutedVersion"] == "$LATEST", out
assert json.loads(out["Payload"].read()) == {"a": 1}
assert lam.invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"] == 204
lam.tag_resource(Resource=arn, Tags={"k 1": "v/=+ \u00e9"})
lam.untag_resource(Resource=arn, TagKeys=["b/c", "a"])
assert lam.list_tags(Resource=arn)["Tags"] == {"k 1": "v/=+ \u00e9"}
assert lam.update_function_configuration(FunctionName=name, MemorySize=512)["MemorySize"] == 512
assert lam.update_function_code(FunctionName=name, ZipFile=b"new")["CodeSize"] == 3
assert lam.get_account_settings()["AccountUsage"]["FunctionCount"] == 1
try:
    lam.invoke(FunctionName="nope")
    raise AssertionError("invoked nothing")
except lam.exceptions.ResourceNotFoundException as e:
    assert e.response["Error"]["Message"].endswith(":function:nope:$LATEST"), e.response
try:
    lam.list_capacity_providers()
    raise AssertionError("listed")
except botocore.exceptions.ClientError as e:
    assert e.response["Error"]["Code"] == "NotImplementedException", e.response
    assert e.response["ResponseMetadata"]["RetryAttempts"] == 0
lam.delete_function(FunctionName=name)
