"""The Python runtime: AWS's runtime interface client behind a start-up that
can be done in two steps.

Run plainly, it serves the function that the environment variables name. Run
as "bootstrap.py prewarm", it first loads everything that does not depend on a
function, says so, and waits to be told which function it is to serve.
"""

import importlib
import json
import os
import random
import site
import sys
import time

ASSIGNMENT_FD = 3
READY_FD = 4


def _read_line(fd):
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(fd, 65536)
        if not piece:
            return None
        line += piece
    return line


def _await_assignment():
    """Blocks until the function is known, then becomes its process."""
    del sys.argv[1:]
    os.write(READY_FD, b"\n")
    line = _read_line(ASSIGNMENT_FD)
    if line is None:
        sys.exit(0)  # the sandbox ends unused
    assignment = json.loads(line)
    os.close(ASSIGNMENT_FD)
    os.close(READY_FD)

    # Whoever prewarms starts a process afresh for a function whose variables
    # differ in those that are read only once, by the loader or the interpreter.
    os.environ.clear()
    os.environ.update(assignment["env"])
    os.environ["PWD"] = assignment["cwd"]  # as the shell of a fresh start sets it
    os.chdir(assignment["cwd"])
    time.tzset()
    # The generator was seeded before the assignment; a copy of this process
    # (a snapshot) would draw the same numbers.
    random.seed()


def _extend_path():
    """The order of AWS: the function's code, layers, the runtime's own."""
    layers = [
        "/opt/python/lib/python%d.%d/site-packages" % sys.version_info[:2],
        "/opt/python",
    ]
    task = os.environ["LAMBDA_TASK_ROOT"]
    own_path = "PYTHONPATH" in os.environ
    if not own_path:
        sys.path[:0] = layers
        # For the processes that the function starts.
        os.environ["PYTHONPATH"] = os.environ["LAMBDA_RUNTIME_DIR"]
    sys.path.insert(0, task)
    # Honours the .pth files in them.
    site.addsitedir(task)
    if not own_path:
        for directory in layers:
            site.addsitedir(directory)
    importlib.invalidate_caches()


def main():
    prewarmed = sys.argv[1:] == ["prewarm"]
    # Imported before the function's directories are on the path, so that no
    # module of the function can take the place of the client's.
    from awslambdaric import bootstrap as client, lambda_runtime_client

    if prewarmed:
        _await_assignment()
        # It reads the log format and level when it is loaded.
        importlib.reload(client)
    _extend_path()
    client.run(
        os.environ.get("_HANDLER", ""),
        lambda_runtime_client.LambdaRuntimeClient(os.environ["AWS_LAMBDA_RUNTIME_API"]),
    )


if __name__ == "__main__":
    main()
