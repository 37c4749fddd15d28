#!/var/lang/bin/python3.11
"""The Python runtime. This file is compiled at every start and therefore short;
what it does is in lib/start.py, compiled when the image was built."""

import gc

# What is made while loading is no garbage: collecting waits for the function.
gc.disable()

import marshal

with open("/var/runtime/preloaded.bin", "rb", buffering=0) as file:
    preloaded = marshal.loads(file.read())
exec(preloaded["start"])
main(preloaded)
