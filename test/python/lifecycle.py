"""Takes a function through its whole life with boto3.

Usage: lifecycle.py DIR, where DIR holds 1.zip and 2.zip, two versions of the
Python function of the end-to-end tests. The environment says where Hearth is.
"""

import base64
import hashlib
import json
import pathlib
import sys
import urllib.request

import boto3
from botocore.config import Config

NAME = "boto3"
ROLE = "arn:aws:iam::000000000000:role/hearth-function"
QUICK = {"Delay": 1, "MaxAttempts": 180}

client = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}))


def check(got, want, what):
    if got != want:
        sys.exit(f"{what}: got {got!r}, want {want!r}")


def invoke(event, **more):
    answer = client.invoke(FunctionName=NAME, Payload=json.dumps(event), **more)
    check(answer["StatusCode"], 200, "status")
    check(answer["ExecutedVersion"], "$LATEST", "executed version")
    if "FunctionError" in answer:
        sys.exit(f"{event}: {answer['FunctionError']}: {answer['Payload'].read()}")
    return json.loads(answer["Payload"].read()), answer


def create(archive):
    made = client.create_function(
        FunctionName=NAME,
        Runtime="python3.11",
        Role=ROLE,
        Handler="app.handler",
        Code={"ZipFile": archive},
        Description="first",
        Tags={"stage": "test"},
    )
    check(made["State"], "Pending", "state after create")
    check(made["CodeSha256"], sha(archive), "sha of the code")
    client.get_waiter("function_active_v2").wait(FunctionName=NAME, WaiterConfig=QUICK)
    check(invoke({"do": "version"})[0], "1", "version")


def sha(archive):
    return base64.b64encode(hashlib.sha256(archive).digest()).decode()


def update_code(archive):
    changed = client.update_function_code(FunctionName=NAME, ZipFile=archive)
    check(changed["CodeSha256"], sha(archive), "sha of the new code")
    client.get_waiter("function_updated_v2").wait(FunctionName=NAME, WaiterConfig=QUICK)
    check(invoke({"do": "version"})[0], "2", "version after the update")


def update_configuration():
    before = client.get_function_configuration(FunctionName=NAME)
    client.update_function_configuration(
        FunctionName=NAME,
        Environment={"Variables": {"COLOUR": "blaßrosa"}},
        MemorySize=320,
        Timeout=7,
        RevisionId=before["RevisionId"],
    )
    client.get_waiter("function_updated_v2").wait(FunctionName=NAME, WaiterConfig=QUICK)
    try:
        client.update_function_configuration(FunctionName=NAME, Timeout=8, RevisionId=before["RevisionId"])
        sys.exit("an old revision id was accepted")
    except client.exceptions.PreconditionFailedException as e:
        check(e.response["ResponseMetadata"]["HTTPStatusCode"], 412, "status of an old revision id")
    after = client.get_function_configuration(FunctionName=NAME)
    check((after["MemorySize"], after["Timeout"], after["Description"]), (320, 7, "first"), "configuration")
    env = invoke({"do": "environment"})[0]
    check((env["COLOUR"], env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]), ("blaßrosa", "320"), "variables in the function")


def download(archive):
    found = client.get_function(FunctionName=NAME)
    check(found["Code"]["RepositoryType"], "S3", "repository type")
    check(found["Tags"], {"stage": "test"}, "tags")
    with urllib.request.urlopen(found["Code"]["Location"]) as answer:
        body = answer.read()
    check(sha(body), found["Configuration"]["CodeSha256"], "sha of the download")
    check(body == archive, True, "the download is what was uploaded")


def list_all(archive):
    client.create_function(FunctionName=NAME + "-2", Runtime="python3.11", Role=ROLE, Handler="app.handler", Code={"ZipFile": archive})
    pages = list(client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 1}))
    check(max(len(page["Functions"]) for page in pages), 1, "functions a page")
    names = [f["FunctionName"] for page in pages for f in page["Functions"]]
    check([n for n in names if n.startswith(NAME)], [NAME, NAME + "-2"], "functions listed")
    client.delete_function(FunctionName=NAME + "-2")


def tags():
    arn = client.get_function_configuration(FunctionName=NAME)["FunctionArn"]
    client.tag_resource(Resource=arn, Tags={"team": "fire & flame", "stage": "prod"})
    check(client.list_tags(Resource=arn)["Tags"], {"team": "fire & flame", "stage": "prod"}, "tags after tagging")
    client.untag_resource(Resource=arn, TagKeys=["stage"])
    check(client.list_tags(Resource=arn)["Tags"], {"team": "fire & flame"}, "tags after untagging")


def kinds_of_invoke():
    dry = client.invoke(FunctionName=NAME, InvocationType="DryRun")
    check((dry["StatusCode"], dry["Payload"].read()), (204, b""), "dry run")
    _, answer = invoke({"do": "say", "text": "hello log"}, LogType="Tail")
    log = base64.b64decode(answer["LogResult"]).decode()
    for line in ("START RequestId: ", "hello log\n", "END RequestId: ", "REPORT RequestId: "):
        check(line in log, True, f"{line!r} in the tail {log!r}")
    context = base64.b64encode(json.dumps({"custom": {"k": "v"}}).encode()).decode()
    described, answer = invoke({"do": "describe"}, ClientContext=context)
    check(described["custom"], {"k": "v"}, "client context")
    check(described["id"], answer["ResponseMetadata"]["RequestId"], "request id")
    failed = client.invoke(FunctionName=NAME, Payload=b'{"do":"fail"}')
    check(failed["FunctionError"], "Unhandled", "function error")


def streamed(event):
    answer = client.invoke_with_response_stream(FunctionName=NAME, Payload=json.dumps(event), LogType="Tail")
    check((answer["StatusCode"], answer["ExecutedVersion"]), (200, "$LATEST"), "head of a stream")
    events = list(answer["EventStream"])
    chunks = [e["PayloadChunk"]["Payload"] for e in events if "PayloadChunk" in e]
    check(["InvokeComplete" in e for e in events], [False] * len(chunks) + [True], "order of events")
    return b"".join(chunks), events[-1]["InvokeComplete"]


def stream():
    payload, end = streamed({"do": "echo", "value": "whole"})
    check((payload, list(end)), (b'"whole"', ["LogResult"]), "stream")
    check("REPORT RequestId: " in base64.b64decode(end["LogResult"]).decode(), True, "log of a stream")
    payload, end = streamed({"do": "fail"})
    check(end["ErrorCode"], "Unhandled", "error code")
    check(json.loads(end["ErrorDetails"]), json.loads(payload), "error details")


def keys():
    kms = boto3.client("kms", config=Config(retries={"total_max_attempts": 1}))
    key = kms.create_key(Description="boto3")["KeyMetadata"]
    kms.create_alias(AliasName="alias/boto3", TargetKeyId=key["KeyId"])
    context = {"of": "boto3"}
    sealed = kms.encrypt(KeyId="alias/boto3", Plaintext=b"secret", EncryptionContext=context)["CiphertextBlob"]
    opened = kms.decrypt(CiphertextBlob=sealed, EncryptionContext=context)
    check((opened["Plaintext"], opened["KeyId"]), (b"secret", key["Arn"]), "decrypted")
    try:
        kms.decrypt(CiphertextBlob=sealed)
        sys.exit("decrypted without its context")
    except kms.exceptions.InvalidCiphertextException:
        pass
    data = kms.generate_data_key(KeyId=key["Arn"], KeySpec="AES_256")
    check(kms.decrypt(CiphertextBlob=data["CiphertextBlob"])["Plaintext"], data["Plaintext"], "data key")
    kms.enable_key_rotation(KeyId=key["KeyId"])
    check(kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"], True, "rotation")
    gone = kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    check(gone["KeyState"], "PendingDeletion", "state of a key")
    try:
        kms.encrypt(KeyId=key["KeyId"], Plaintext=b"secret")
        sys.exit("encrypted by a key that is to be deleted")
    except kms.exceptions.KMSInvalidStateException:
        pass


def delete():
    answer = client.delete_function(FunctionName=NAME)
    check(answer["ResponseMetadata"]["HTTPStatusCode"], 204, "status of delete")
    for call in (client.get_function, client.invoke, client.delete_function):
        try:
            call(FunctionName=NAME)
            sys.exit("a deleted function was found")
        except client.exceptions.ResourceNotFoundException as e:
            check(e.response["ResponseMetadata"]["HTTPStatusCode"], 404, "status of a deleted function")


def main():
    first, second = (pathlib.Path(sys.argv[1], name).read_bytes() for name in ("1.zip", "2.zip"))
    who = boto3.client("sts").get_caller_identity()
    check((who["Account"], who["Arn"]), ("000000000000", "arn:aws:iam::000000000000:root"), "caller")
    check(client.get_account_settings()["AccountLimit"]["ConcurrentExecutions"], 1000, "concurrency")
    create(first)
    update_code(second)
    update_configuration()
    download(second)
    list_all(first)
    tags()
    kinds_of_invoke()
    stream()
    keys()
    delete()
    print("boto3", boto3.__version__, "ok")


main()
