"""The Python function of the images that tests build: see testimage.Answer."""
import os
import sys

VARIABLES = ("AWS_LAMBDA_FUNCTION_NAME", "LAMBDA_TASK_ROOT", "AWS_REGION", "TESTIMAGE_GREETING")
FILES = ("/etc/testimage/removed", "/etc/testimage/changed", "/usr/local/share/hidden/file")


def writable():
    try:
        with open("/.writable", "x"):
            pass
        os.unlink("/.writable")
        return True
    except OSError:
        return False


def read(paths):
    for path in paths:
        if os.path.exists(path):
            with open(path) as f:
                yield path, f.read()


def handler(event, context):
    return {
        "event": event,
        "language": "python",
        "env": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "args": sys.argv[1:],
        "cwd": os.getcwd(),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "writable": writable(),
        "files": dict(read(FILES)),
    }
