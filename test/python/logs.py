"""Reads the log of a function with boto3, and writes one of its own.

Usage: logs.py FUNCTION GROUP, a function that prints the text of its event
{"say": TEXT}, and the group that it logs to. The environment says where Hearth
is.
"""

import json
import sys
import threading
import time

import boto3
from botocore.config import Config

FUNCTION, GROUP = sys.argv[1:]
OWN = "/tests/own/" + FUNCTION
# botocore puts "stream-" before the endpoint's host for StartLiveTail, also
# before one that somebody has set, unless it is told not to.
config = Config(retries={"total_max_attempts": 1}, inject_host_prefix=False)
logs = boto3.client("logs", config=config)
functions = boto3.client("lambda", config=config)


def check(got, want, what):
    if got != want:
        sys.exit(f"{what}: got {got!r}, want {want!r}")


# Both formats have it: REPORT, and platform.report.
REPORT = "%REPORT|platform\\.report%"


def quoted(text):
    return f'"{text}"'


def say(text):
    answer = functions.invoke(FunctionName=FUNCTION, Payload=json.dumps({"say": text}))
    if "FunctionError" in answer:
        sys.exit(f"invoke: {answer['Payload'].read()}")
    return answer["ResponseMetadata"]["RequestId"]


def said(**more):
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=GROUP, **more)
    return [event for page in pages for event in page["events"]]


def eventually(what, holds):
    for _ in range(600):
        if found := holds():
            return found
        time.sleep(0.1)
    sys.exit(f"not after a minute: {what}")


def read():
    first, second = say("one fish"), say("two fish")
    eventually("the report of the second invoke", lambda: said(filterPattern=f"{REPORT} {quoted(second)}"))
    group = logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"][0]
    check(group["logGroupName"], GROUP, "group")
    check(group["arn"], group["logGroupArn"] + ":*", "arn of the group")
    streams = logs.describe_log_streams(logGroupName=GROUP, orderBy="LastEventTime", descending=True)["logStreams"]
    stream = streams[0]["logStreamName"]
    check("uploadSequenceToken" in streams[0], False, "upload sequence token")
    everything = said()
    check(len({e["eventId"] for e in everything}), len(everything), "event ids")
    check([e["timestamp"] for e in everything], sorted(e["timestamp"] for e in everything), "order")
    check(said(PaginationConfig={"PageSize": 3}), everything, "pages of three")
    fish = said(filterPattern="fish -two")
    check(len(fish), 1, "lines with fish but not two")
    check("one fish" in fish[0]["message"], True, "the line")
    check(any(first in e["message"] for e in everything), True, "the request id in the log")
    forward = logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True)
    of_stream = [e["message"] for e in everything if e["logStreamName"] == stream]
    check([e["message"] for e in forward["events"]], of_stream, "events of the stream")
    end = logs.get_log_events(logGroupName=GROUP, logStreamName=stream, nextToken=forward["nextForwardToken"])
    check((end["events"], end["nextForwardToken"]), ([], forward["nextForwardToken"]), "the end of the stream")


def tail():
    arn = logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"][0]["logGroupArn"]
    stream = logs.start_live_tail(logGroupIdentifiers=[arn], logEventFilterPattern="whale")["responseStream"]
    caller = threading.Thread(target=say, args=("a whale",))
    for event in stream:
        if "sessionStart" in event:
            check(event["sessionStart"]["logGroupIdentifiers"], [arn], "groups of the session")
            caller.start()
        elif results := event["sessionUpdate"]["sessionResults"]:
            check("a whale" in results[0]["message"], True, f"the line in {results}")
            check(event["sessionUpdate"]["sessionMetadata"]["sampled"], False, "sampled")
            break
    caller.join()
    stream.close()


def write():
    logs.create_log_group(logGroupName=OWN, tags={"team": "fire"})
    try:
        logs.create_log_group(logGroupName=OWN)
        sys.exit("a group was made twice")
    except logs.exceptions.ResourceAlreadyExistsException as e:
        check(e.response["ResponseMetadata"]["HTTPStatusCode"], 400, "status")
    logs.create_log_stream(logGroupName=OWN, logStreamName="s")
    now = int(time.time() * 1000)
    logs.put_log_events(logGroupName=OWN, logStreamName="s", logEvents=[{"timestamp": now, "message": '{"level": "warn", "n": 3}'}])
    found = logs.filter_log_events(logGroupName=OWN, filterPattern='{ $.level = "w*" && $.n > 2 }')["events"]
    check([e["timestamp"] for e in found], [now], "events that were put")
    logs.put_retention_policy(logGroupName=OWN, retentionInDays=30)
    check(logs.describe_log_groups(logGroupNamePattern=OWN)["logGroups"][0]["retentionInDays"], 30, "retention")
    logs.delete_retention_policy(logGroupName=OWN)
    arn = logs.describe_log_groups(logGroupNamePrefix=OWN)["logGroups"][0]["logGroupArn"]
    check(logs.list_tags_for_resource(resourceArn=arn)["tags"], {"team": "fire"}, "tags")
    logs.delete_log_stream(logGroupName=OWN, logStreamName="s")
    logs.delete_log_group(logGroupName=OWN)
    try:
        logs.get_log_events(logGroupName=OWN, logStreamName="s")
        sys.exit("a deleted group was read")
    except logs.exceptions.ResourceNotFoundException as e:
        check(e.response["Error"]["Message"], "The specified log group does not exist.", "words")
    try:
        logs.filter_log_events(logGroupName=GROUP, filterPattern="{ $.a")
        sys.exit("a bad pattern was taken")
    except logs.exceptions.InvalidParameterException:
        pass


read()
tail()
write()
print("boto3", boto3.__version__, "ok")
