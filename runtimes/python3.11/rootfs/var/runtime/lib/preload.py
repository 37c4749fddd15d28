"""Writes down, when the image is built, what the runtime loads at its start:
one file to read instead of many to look for, and nothing left to compile."""

import marshal
import sys

before = set(sys.modules)

from _frozen_importlib_external import ExtensionFileLoader, SourceFileLoader

START = "/var/runtime/lib/start.py"
PRELOADED = "/var/runtime/preloaded.bin"


def record_patterns():
    """Regular expressions, as what each is compiled to: the arguments of the
    call that makes it."""
    import _sre
    import re._compiler

    patterns = {}
    compile_pattern, make = re._compiler.compile, _sre.compile

    def recording(pattern, flags=0):
        def note(source, flags_in_all, code, *groups):
            code = [int(word) for word in code]  # some are of a subclass
            patterns[pattern, flags] = source, flags_in_all, code, *groups
            return make(source, flags_in_all, code, *groups)

        _sre.compile = note
        try:
            return compile_pattern(pattern, flags)
        finally:
            _sre.compile = make

    re._compiler.compile = recording
    return patterns


def describe(name):
    """A module's file, compiled file, directory if it is a package, and code."""
    spec = sys.modules[name].__spec__
    if spec is None or type(spec.loader) not in (ExtensionFileLoader, SourceFileLoader):
        return None
    code = spec.loader.get_code(name)  # none of an extension
    return spec.origin, spec.cached, spec.submodule_search_locations, code


patterns = record_patterns()
import importlib, json, site
from awslambdaric import bootstrap, lambda_literals, lambda_runtime_client

modules = {name: describe(name) for name in sys.modules if name not in before}
with open(START) as file:
    start = compile(file.read(), START, "exec")
with open(PRELOADED, "wb") as file:
    marshal.dump(
        {
            "start": start,
            "modules": {name: module for name, module in modules.items() if module},
            "patterns": patterns,
        },
        file,
    )
