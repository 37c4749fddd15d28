"""A function behind a URL: the path says what it answers."""

import base64
import json
import time


def handler(event, context):
    path = event["rawPath"]
    if path == "/echo":
        return {
            "statusCode": 201,
            "headers": {"Content-Type": "application/json", "X-Mine": "ü", "Connection": "close"},
            "cookies": ["a=1; HttpOnly", "b=2"],
            "body": json.dumps({"event": event, "arn": context.invoked_function_arn, "id": context.aws_request_id}),
        }
    if path == "/bytes":
        sent = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
        return {
            "statusCode": 200,
            "headers": {"content-type": "application/octet-stream"},
            "body": base64.b64encode(sent[::-1]).decode(),
            "isBase64Encoded": True,
        }
    if path == "/raise":
        raise RuntimeError("not for the client's eyes")
    if path == "/sleep":
        time.sleep(60)
    if path == "/malformed":
        return {"statusCode": 200, "headers": {"a": "b\r\nSet-Cookie: c"}}
    return {"hello": "world"}
