"""Imports modules of a plugin in a process of its own, and says what that did to the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

#: What the process prints when it came to its end.
_END = "IMPORTED "
_CODE = """
import os, signal, sys, importlib, json, threading
def state():
    mask = os.umask(0o077); os.umask(mask)
    names = [n for n in ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE", "SIGCHLD") if hasattr(signal, n)]
    def is_open(n):
        try: os.fstat(n)
        except OSError: return False
        return True
    return {"the working directory": os.getcwd(), "the file mode mask (umask)": mask,
            "a signal handler": [str(signal.getsignal(getattr(signal, n))) for n in names],
            "sys.stdout": id(sys.stdout), "sys.stderr": id(sys.stderr),
            "file descriptors 0 to 2": [is_open(n) for n in range(3)]}
import xnatctl.api, click
before = state()
write, dumps = os.write, json.dumps
out = os.dup(1)
for name in sys.argv[1:]:
    importlib.import_module(name)
after = state()
changed = [name for name in before if before[name] != after[name]]
left = [t.name for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
write(out, ("\\n%s" + dumps([changed, left]) + "\\n").replace("%s", "IMPORTED ").encode())
"""


def import_mistake(modules: Sequence[str], seconds: float = 60.0) -> str:
    """What is wrong with importing some modules, in one sentence without a full stop; empty when nothing is.

    The limit is in seconds. The modules are not imported into this process.
    """
    path = os.pathsep.join(entry for entry in sys.path if entry)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CODE, *modules],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
            env={**os.environ, "PYTHONPATH": path},
        )
    except subprocess.TimeoutExpired:
        return f"importing it takes longer than {seconds:g} s; look for a loop, or for waiting, at import or at exit"
    return _judge(done)


def _judge(done: subprocess.CompletedProcess[bytes]) -> str:
    """What an import that ended did, in the words of `import_mistake`."""
    output, errors = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    lines = [line for line in output.splitlines() if line]
    ends = [line for line in lines if line.startswith(_END)]
    if not ends:
        said = errors.strip().splitlines()
        raised = done.returncode == 1 and said
        return (
            f"importing it fails: {said[-1]}"
            if raised
            else f"it ends the process at import, with exit code {done.returncode}"
        )
    if printed := [line for line in lines if line not in ends]:
        return f"it writes to standard output at import or at exit: {printed[0]!r}; use stderr or a log"
    changed, left = json.loads(ends[0].removeprefix(_END))
    if changed:
        return f"importing it changes {changed[0]}, which belongs to the whole process"
    if left:
        return f"importing it starts the thread {left[0]}, which keeps the process from ending"
    return "" if done.returncode == 0 else f"it changes the exit code to {done.returncode} after the import"
