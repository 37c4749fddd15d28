#!/var/lang/bin/python3.11
"""The Python runtime: AWS's runtime interface client behind a start-up that
can be done in two steps.

Run plainly, it serves the function that the environment variables name. Run
under the name "prewarm", it first loads everything that does not depend on a
function, says so, and waits to be told which function it is to serve.

Run as "bootstrap.py preload", when the image is built, it writes down what it
loads: see _Preloaded.
"""

import gc

# What is made while loading is no garbage: collecting waits for the function.
gc.disable()

import marshal
import os
import sys
import time

# What importlib.util has, without what that loads.
from _frozen_importlib_external import SourceFileLoader, spec_from_file_location

MAIN = "/var/runtime/bootstrap.py"
PRELOADED = "/var/runtime/preloaded.bin"
ASSIGNMENT_FD = 3
READY_FD = 4


class _Preloaded:
    """Finds the modules that the client consists of and needs in one file.

    Each from a file of its own costs a dozen system calls, and those are what
    is dear in a sandbox. A module is otherwise as if it came from its file.
    """

    def __init__(self, modules):
        self._modules = modules  # name: (file, is a package, code)

    @classmethod
    def read(cls):
        with open(PRELOADED, "rb", buffering=0) as file:
            return cls(marshal.loads(file.read()))

    @staticmethod
    def write(names):
        modules = {}
        for name in names:
            spec = sys.modules[name].__spec__
            if spec is not None and type(spec.loader) is SourceFileLoader:
                package = spec.submodule_search_locations is not None
                modules[name] = (spec.origin, package, spec.loader.get_code(name))
        with open(PRELOADED, "wb") as file:
            marshal.dump(modules, file)

    def find_spec(self, name, path=None, target=None):
        if name not in self._modules:
            return None
        file, package, _ = self._modules[name]
        return spec_from_file_location(
            name,
            file,
            loader=_PreloadedLoader(name, file, self._modules),
            submodule_search_locations=[os.path.dirname(file)] if package else None,
        )

    def forget(self):
        """Ends with the function's directories on the path."""
        sys.meta_path.remove(self)
        self._modules.clear()


class _PreloadedLoader(SourceFileLoader):
    def __init__(self, name, file, modules):
        super().__init__(name, file)
        self._modules = modules

    def get_code(self, name):
        if name in self._modules:
            return self._modules[name][2]
        return super().get_code(name)


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
    import json

    sys.argv[:] = [MAIN]
    sys.modules["__main__"].__file__ = MAIN
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
    # If there is a generator it was seeded before the assignment: a copy of
    # this process (a snapshot) would draw the same numbers.
    if "random" in sys.modules:
        sys.modules["random"].seed()


def _extend_path():
    """The order of AWS: the function's code, layers, the runtime's own."""
    import importlib
    import site

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
    preloaded = _Preloaded.read()
    sys.meta_path.insert(0, preloaded)
    # Imported before the function's directories are on the path, so that no
    # module of the function can take the place of the client's.
    import importlib
    from awslambdaric import bootstrap as client, lambda_runtime_client

    if os.path.basename(sys.argv[0]) == "prewarm":
        _await_assignment()
        # It reads the log format and level when it is loaded.
        importlib.reload(client)
    preloaded.forget()
    _extend_path()
    gc.enable()
    client.run(
        os.environ.get("_HANDLER", ""),
        lambda_runtime_client.LambdaRuntimeClient(os.environ["AWS_LAMBDA_RUNTIME_API"]),
    )


def preload():
    before = set(sys.modules)
    import importlib, json, site
    from awslambdaric import bootstrap, lambda_runtime_client

    _Preloaded.write(name for name in sys.modules if name not in before)


if __name__ == "__main__":
    if sys.argv[1:] == ["preload"]:
        preload()
    else:
        main()
