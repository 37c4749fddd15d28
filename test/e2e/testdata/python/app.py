"""The function of the tests: it does what its event asks for."""

import ctypes
import errno
import os
import signal
import sys
import time
import uuid

count = 0
instance = uuid.uuid4().hex


class Boom(Exception):
    pass


def at_init(how):
    if how == "raise":
        raise Boom("no init today")
    if how == "exit":
        os._exit(7)
    if how == "sleep":
        time.sleep(60)
    if how == "print":
        print("said at init")


at_init(os.environ.get("AT_INIT"))


def echo(event, context):
    return event.get("value")


def nothing(event, context):
    pass


def fail(event, context):
    raise Boom("it went wrong: ü")


def leave(event, context):
    os._exit(event["status"])


def kill(event, context):
    os.kill(os.getpid(), signal.SIGKILL)


def big(event, context):
    return "x" * event["size"]


def measure(event, context):
    return len(event["blob"])


def sleep(event, context):
    print(event.get("say", "sleeping"), flush=True)
    time.sleep(event["seconds"])
    print("slept well", flush=True)
    return {"instance": instance}


def hog(event, context):
    hoard = []
    while True:
        hoard.append(b"x" * (1 << 20))


def take(event, context):
    return len(os.urandom(event["mb"] << 20))


def state(event, context):
    global count
    count += 1
    return {"count": count, "pid": os.getpid(), "instance": instance}


def environment(event, context):
    return dict(os.environ)


def describe(event, context):
    client = context.client_context
    return {
        "name": context.function_name,
        "version": context.function_version,
        "arn": context.invoked_function_arn,
        "memory": int(context.memory_limit_in_mb),
        "id": context.aws_request_id,
        "group": context.log_group_name,
        "stream": context.log_stream_name,
        "remaining": context.get_remaining_time_in_millis(),
        "custom": client.custom if client else None,
    }


def say(event, context):
    for i in range(event.get("times", 1)):
        sys.stdout.write(event["text"] + "\n")
    sys.stdout.flush()


def keep(event, context):
    """Writes a file of some MB below /tmp, until it is done or refused."""
    block = b"\xa5" * (1 << 20)
    written = 0
    try:
        with open("/tmp/" + event["name"], "wb") as f:
            for _ in range(event["mb"]):
                f.write(block)
                f.flush()
                written += 1
    except OSError as e:
        return {"mb": written, "error": errno.errorcode[e.errno]}
    return {"mb": written, "error": None}


def files(event, context):
    return {name: os.stat("/tmp/" + name).st_size for name in os.listdir("/tmp") if name != "lost+found"}


def remove(event, context):
    os.remove("/tmp/" + event["name"])


def fork(event, context):
    """Makes children until it is refused, and tells how many it got."""
    children, refused = [], None
    while refused is None and len(children) < event["most"]:
        try:
            pid = os.fork()
        except OSError as e:
            refused = errno.errorcode[e.errno]
            break
        if pid == 0:
            signal.pause()
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return {"children": len(children), "refused": refused}


def bomb(event, context):
    """Forks for ever, and so does every child."""
    libc = ctypes.CDLL(None)
    while True:
        libc.fork()


def write(event, context):
    """Tries to write where a function must not."""
    answers = {}
    for path in event["paths"]:
        try:
            with open(path, "w") as f:
                f.write("x")
            answers[path] = None
        except OSError as e:
            answers[path] = errno.errorcode[e.errno]
    return answers


def version(event, context):
    with open(os.path.join(os.path.dirname(__file__), "version")) as f:
        return f.read()


def identity(event, context):
    return {"uid": os.getuid(), "gid": os.getgid(), "task": os.getcwd(), "user": os.path.expanduser("~")}


def handler(event, context):
    return globals()[event["do"]](event, context)


def whole(event, context):
    return event
