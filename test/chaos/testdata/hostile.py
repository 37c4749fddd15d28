"""A function that tries to get at what it must not have."""
import ctypes
import os
import socket
import sys
import time
import urllib.request

LIBC = ctypes.CDLL(None, use_errno=True)


def attempt(action):
    """Runs one attack; what it returns is loot, an exception is a defence."""
    try:
        loot = action()
    except Exception as e:  # every refusal is a good end
        return {"breach": False, "detail": f"refused: {e!r}"[:300]}
    if loot:
        return {"breach": True, "detail": f"got: {loot!r}"[:300]}
    return {"breach": False, "detail": "nothing there"}


def errno(result, what):
    if result < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
    return what


def read(path):
    with open(path, "rb") as f:
        return f.read(100)


def connect(address):
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=1):
        return f"connected to {address}"


def connect_any(targets):
    got = []
    for target in targets:
        try:
            got.append(connect(target))
        except OSError:
            pass
    return got


def routes():
    """The sandbox knows no network but its own loopback."""
    names = [name for _, name in socket.if_nameindex()]
    return [n for n in names if n != "lo"]


def strangers():
    """Processes of others: of the host, of hearth-init's own memory."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                env = f.read()
            if int(pid) == 1 and env:
                found.append((pid, env[:50]))
        except OSError:
            pass
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                line = f.read()
            if b"hearth up" in line or b"runsc" in line:
                found.append((pid, line[:50]))
        except OSError:
            pass
    return found


def control():
    """The stream to the worker is hearth-init's alone."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(1)
        s.connect("/.hearth/ctl/s")
        return "connected to the control socket"


def late():
    """Where volumes are attached on the host."""
    return [f for f in os.listdir("/.hearth/late") if f not in ("task", "tmp")]


def write(path):
    with open(path, "w") as f:
        f.write("x")
    return f"wrote {path}"


def become_root():
    os.setuid(0)
    return f"uid {os.getuid()}"


def setuid_programs():
    found = []
    for base in ("/bin", "/sbin", "/usr", "/opt", "/var"):
        for path, _, files in os.walk(base):
            for name in files:
                full = os.path.join(path, name)
                try:
                    if os.lstat(full).st_mode & 0o6000:
                        found.append(full)
                except OSError:
                    pass
    return found


def devices():
    """Devices of the host. (/dev/fuse is the sandbox kernel's own.)"""
    found = []
    for name in os.listdir("/dev"):
        if name.startswith(("sd", "vd", "loop", "kvm", "mem", "kmsg", "nvme")):
            found.append(name)
    return found


def handler(event, context):
    if "eat" in event:
        return EAT[event["eat"]]()
    return {
        "host files": attempt(lambda: [read(p) for p in event["files"] if os.path.exists(p)]),
        "shadow": attempt(lambda: read("/etc/shadow")),
        "host ports": attempt(lambda: connect_any(event["targets"])),
        "metadata": attempt(lambda: urllib.request.urlopen("http://169.254.169.254/latest/meta-data/", timeout=1).read(100)),
        "interfaces": attempt(routes),
        "processes": attempt(strangers),
        "control": attempt(control),
        "late": attempt(late),
        "root": attempt(become_root),
        "setuid": attempt(setuid_programs),
        "devices": attempt(devices),
        "mknod": attempt(lambda: os.mknod("/tmp/vda", 0o60600, os.makedev(254, 0)) or "made a block device"),
        "mount": attempt(lambda: errno(LIBC.mount(b"/", b"/tmp", b"none", 4096, None), "mounted / on /tmp")),
        "mount proc": attempt(lambda: errno(LIBC.mount(b"proc", b"/tmp", b"proc", 0, None), "mounted proc")),
        "unshare": attempt(lambda: errno(LIBC.unshare(0x00020000), "own mount namespace")),
        "ptrace init": attempt(lambda: errno(LIBC.ptrace(16, 1, 0, 0), "attached to process 1")),
        "kill init": attempt(lambda: os.kill(1, 9) or "killed process 1"),
        "write root": attempt(lambda: write("/etc/passwd")),
        "write task": attempt(lambda: write("/var/task/app.py")),
        "write runtime": attempt(lambda: write("/var/runtime/bootstrap")),
        "write cgroup": attempt(lambda: write("/sys/fs/cgroup/memory/memory.limit_in_bytes")),
        "init memory": attempt(lambda: read("/proc/1/mem")),
        "raw socket": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) and "raw socket"),
        "chroot": attempt(lambda: os.chroot("/tmp") or "chroot"),
    }


def eat_memory():
    hog = []
    while True:
        hog.append(b"x" * (16 << 20))


def eat_processes():
    children = 0
    try:
        while children < 5000:
            if os.fork() == 0:
                try:
                    while True:
                        os.fork()
                except OSError:
                    pass
                os._exit(0)
            children += 1
    except OSError as e:
        return f"{children} children, then {e}"
    return f"{children} children"


def eat_disk():
    try:
        with open("/tmp/full", "wb") as f:
            block = os.urandom(1 << 20)
            while True:
                f.write(block)
    except OSError as e:
        return str(e)
    finally:
        os.unlink("/tmp/full")


def eat_log():
    line = "x" * 1000
    for _ in range(500):
        print(line)
    sys.stdout.flush()
    return "500 KB of log"


def eat_cpu():
    end = time.monotonic() + 5
    while time.monotonic() < end:
        pass
    return "5 s of CPU"


EAT = {"memory": eat_memory, "fork": eat_processes, "disk": eat_disk, "log": eat_log, "cpu": eat_cpu}
