"""AWS's runtime interface client behind a start-up that can be done in two
steps. bootstrap.py runs this in its own name space.

Run plainly, it serves the function that the environment variables name. Run
under the name "prewarm", it first loads everything that does not depend on a
function, says so, and waits to be told which function it is to serve.
"""

import gc
import os
import sys
import time

import _frozen_importlib
from _frozen_importlib import BuiltinImporter, ModuleSpec, _load_unlocked

# What importlib.util has, without what that loads.
from _frozen_importlib_external import ExtensionFileLoader, SourceFileLoader

MAIN = "/var/runtime/bootstrap.py"
CLIENT = "awslambdaric.bootstrap"
ASSIGNMENT_FD = 3
READY_FD = 4


class _Preloaded:
    """Loads the modules that the client consists of and needs from what
    preload.py has written down of them, in place of the import system.

    That one looks for each module in a dozen system calls, and takes a dozen
    locks, each of which is a system call while a sandbox is young. A module is
    in the end as if the import system had loaded it from its file.
    """

    def __init__(self, preloaded):
        self.modules = preloaded["modules"]
        self._patterns = preloaded["patterns"]
        self._compile = None  # the regular expressions' own
        self._find_and_load = _frozen_importlib._find_and_load
        # Import statements call it for whatever is not there yet.
        _frozen_importlib._find_and_load = self._load

    def forget(self):
        """Ends with the function's directories on the path."""
        _frozen_importlib._find_and_load = self._find_and_load
        sys.modules["re._compiler"].compile = self._compile

    def _load(self, name, import_):
        if name in sys.modules:
            return sys.modules[name]
        if name in sys.builtin_module_names:
            return _load_unlocked(BuiltinImporter.find_spec(name))
        if name not in self.modules:
            return self._find_and_load(name, import_)
        parent, _, child = name.rpartition(".")
        if parent:
            import_(parent)
            if name in sys.modules:  # the parent has imported it
                return sys.modules[name]
        file, cached, path, code = self.modules[name]
        if code is None:
            spec = ModuleSpec(name, ExtensionFileLoader(name, file), origin=file)
            spec._set_fileattr = True
            module = _load_unlocked(spec)
        else:
            module = self._load_source(name, file, cached, path, code)
        if parent:
            setattr(sys.modules[parent], child, module)
        return module

    def _load_source(self, name, file, cached, path, code):
        spec = ModuleSpec(name, SourceFileLoader(name, file), origin=file)
        spec._set_fileattr = True
        spec._initializing = False
        spec.cached = cached
        spec.submodule_search_locations = path
        module = type(sys)(name)
        module.__loader__ = spec.loader
        module.__package__ = spec.parent
        module.__spec__ = spec
        if path is not None:
            module.__path__ = path
        module.__file__ = file
        module.__cached__ = cached
        sys.modules[name] = module
        exec(code, module.__dict__)
        if name == "re._compiler":
            self._compile, module.compile = module.compile, self._compile_pattern
        return module

    def _compile_pattern(self, pattern, flags=0):
        """Compiling what the client and the library need takes 4 ms."""
        compiled = self._patterns.get((pattern, flags))
        if compiled is None:
            return self._compile(pattern, flags)
        return sys.modules["_sre"].compile(*compiled)


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


def _enable_collection():
    # What has been loaded goes to the oldest generation, where it would be
    # after as many collections as collecting meanwhile would have made.
    gc.freeze()
    gc.unfreeze()
    gc.enable()


def main(preloaded):
    # Imported before the function's directories are on the path, so that no
    # module of the function can take the place of the client's.
    loader = _Preloaded(preloaded)
    if os.path.basename(sys.argv[0]) == "prewarm":
        for name in loader.modules:
            if name != CLIENT:  # it reads the log format and level when it is loaded
                __import__(name)
        _await_assignment()
    from awslambdaric import bootstrap as client, lambda_runtime_client

    loader.forget()
    _extend_path()
    _enable_collection()
    client.run(
        os.environ.get("_HANDLER", ""),
        lambda_runtime_client.LambdaRuntimeClient(os.environ["AWS_LAMBDA_RUNTIME_API"]),
    )
