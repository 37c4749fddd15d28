"""Calls a function's URL that asks for signatures, as botocore signs.

The environment says where Hearth is and, in FUNCTION, which function.
"""

import http.client
import json
import os
import sys
import urllib.parse

import boto3
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest

client = boto3.client("lambda")
credentials = boto3.Session().get_credentials()
shown = client.get_function_url_config(FunctionName=os.environ["FUNCTION"])["FunctionUrl"]
# Python does not resolve names below localhost on every system.
connect = urllib.parse.urlsplit(client.meta.endpoint_url).netloc


def check(got, want, what):
    if got != want:
        sys.exit(f"{what}: got {got!r}, want {want!r}")


def call(request):
    url = urllib.parse.urlsplit(request.url)
    c = http.client.HTTPConnection(connect, timeout=60)
    path = url.path + ("?" + url.query if url.query else "")
    c.request(request.method, path, request.body, {**dict(request.headers.items()), "Host": url.netloc})
    answer = c.getresponse()
    return answer.status, json.loads(answer.read())


def request(**more):
    return AWSRequest(method="POST", url=shown + "echo?x=a%20b", data=b'{"k": 1}', headers={"Content-Type": "application/json"}, **more)


status, answer = call(request().prepare())
check(status, 403, "unsigned")
check(answer["Message"].split(".")[0], "Forbidden", "unsigned")

signed = request()
SigV4Auth(credentials, "lambda", client.meta.region_name).add_auth(signed)
status, answer = call(signed.prepare())
check(status, 201, "signed")
check(answer["event"]["body"], '{"k": 1}', "body")
check(answer["event"]["requestContext"]["authorizer"]["iam"]["accessKey"], credentials.access_key, "caller")
check("authorization" in answer["event"]["headers"], False, "the signature reached the function")

tampered = request()
SigV4Auth(credentials, "lambda", client.meta.region_name).add_auth(tampered)
tampered.data = b'{"k": 2}'
status, answer = call(tampered.prepare())
check(status, 403, "another body")
check(answer["message"].startswith("The request signature we calculated does not match"), True, "another body")

link = AWSRequest(method="GET", url=shown + "echo?x=1")
SigV4QueryAuth(credentials, "lambda", client.meta.region_name, expires=60).add_auth(link)
status, answer = call(link.prepare())
check(status, 201, "presigned")
check(answer["event"]["queryStringParameters"]["x"], "1", "presigned")
check("X-Amz-Signature" in answer["event"]["rawQueryString"], False, "the presigned signature reached the function")
print("ok")
