"""Asks Hearth's API, from inside, with what its environment gives it."""

import json
import os
import socket

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

session = botocore.session.get_session()
once = Config(retries={"total_max_attempts": 1})


def client(service):
    return session.create_client(service, config=once)


# At init already: a function may need its API before its first event.
who = client("sts").get_caller_identity()


def endpoint():
    at = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    return (at, 80)


def call(event):
    aws_lambda = client("lambda")
    out = aws_lambda.invoke(FunctionName=event["name"], Payload=json.dumps(event.get("payload", {})))
    return json.loads(out["Payload"].read())


def talk(event):
    """What the endpoint answers to bytes that no client would send."""
    with socket.create_connection(endpoint(), timeout=20) as s:
        s.sendall(event["bytes"].encode("latin-1"))
        answer = b""
        while chunk := s.recv(4096):
            answer += chunk
        return answer.decode("latin-1")


def flood(event):
    """Holds more connections than there are, then lets them go."""
    held, refused = [], 0
    for _ in range(event["count"]):
        s = socket.socket()
        s.setblocking(False)
        try:
            s.connect(endpoint())
        except BlockingIOError:
            pass
        except OSError:
            refused += 1
        held.append(s)
    for s in held:
        s.close()
    return {"held": len(held), "refused": refused}


def hang(event):
    """Asks for much on one connection and reads nothing of it."""
    global hung
    hung = socket.create_connection(endpoint(), timeout=20)
    hung.setblocking(False)
    sent = 0
    try:
        while sent < 8 << 20:
            sent += hung.send(b"GET /_hearth/health HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
    except BlockingIOError:
        pass
    return sent


def handler(event, context):
    deeds = {"who": lambda e: who["Arn"], "call": call, "talk": talk, "flood": flood, "hang": hang,
             "env": lambda e: os.environ.get(e["name"]), "now": lambda e: client("sts").get_caller_identity()["Arn"]}
    try:
        return {"answer": deeds[event["do"]](event)}
    except ClientError as e:
        return {"code": e.response["Error"]["Code"], "status": e.response["ResponseMetadata"]["HTTPStatusCode"],
                "message": e.response["Error"]["Message"]}
