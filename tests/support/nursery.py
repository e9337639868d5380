"""A process that has imported what the command needs, and forks one child for each order: `nursery.py SOCKET`.

Starting Python and importing takes ten times as long as what most commands do. A child is a process of its own all the
same, with its own arguments, environment, directory and files, and ends as the interpreter ends. Only the imports
are done already, so what a command imports, and when, is tested with real starts (tests/architecture, tests/cli).
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

#: Plugins are left out: which of them are loaded is what some tests are about.
_FOREIGN = ("click", "httpx", "httpcore", "pluggy", "yaml", "structlog", "rich.console", "rich.table", "platformdirs")


def preload() -> None:
    """Import what commands import; what an environment lacks is left out."""
    import xnatctl

    names = [module.name for module in pkgutil.walk_packages(xnatctl.__path__, "xnatctl.")]
    for name in (*_FOREIGN, *names):
        if not name.startswith(("xnatctl.testing", "xnatctl.__main__")):
            with suppress(ImportError):
                importlib.import_module(name)


def serve(control: socket.socket) -> dict[str, Any]:
    """Fork for each order; returns it in the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C at the terminal is pytest's
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        head, files, _, _ = socket.recv_fds(control, 8, 4)
        if not head:
            os._exit(0)
        order = json.loads(_exactly(control, int.from_bytes(head)))
        if os.fork() == 0:
            control.close()
            _watch(files)
            _become(order, files)
            return order
        for file in files:
            os.close(file)


def _exactly(control: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        data += control.recv(length - len(data)) or os._exit(0)
    return data


def _watch(files: Sequence[int]) -> None:
    """Fork the child, say its number and how it ended; returns in the child."""
    *streams, status = files
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        return
    for stream in streams:
        os.close(stream)
    with suppress(BrokenPipeError):
        os.write(status, b"%d\n" % child)
        _, ended = os.waitpid(child, 0)
        os.write(status, b"%d\n" % os.waitstatus_to_exitcode(ended))
    os._exit(0)


def _become(order: dict[str, Any], files: Sequence[int]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):  # whatever the tests were started by, `nohup` for one
        signal.signal(number, signal.SIG_DFL)
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
    os.closerange(3, 256)
    os.environ.clear()
    os.environ.update(order["environment"])
    _open_streams()
    os.chdir(order["directory"])
    if order["umask"] >= 0:
        os.umask(order["umask"])


def _open_streams() -> None:
    """Text streams as an interpreter makes them at its start: those of the nursery remember other files."""
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        handling = errors or ("backslashreplace" if name == "stderr" else "strict")
        lines = 1 if name == "stderr" else -1
        stream = open(number, mode, lines, encoding=encoding or None, errors=handling, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def main() -> None:
    """Serve; in each child, run what was ordered and end as an interpreter ends."""
    control = socket.socket(fileno=int(sys.argv[1]))
    preload()
    gc.collect()
    gc.freeze()
    control.sendall(b"+")
    program, *arguments = serve(control)["command"]
    added = os.environ.get("PYTHONPATH", "")
    sys.path[1:1] = [place for place in added.split(os.pathsep) if place and place not in sys.path]
    if program == "-m":
        module, *arguments = arguments
        sys.argv = [module, *arguments]
        sys.path[0] = os.getcwd()
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [program, *arguments]
        sys.path[0] = os.path.dirname(program)
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
