"""The process that holds a claim, described so that another process can tell whether it still runs."""

from __future__ import annotations

import os
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Changes each time the machine starts.
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
#: Names the space of process numbers; containers of one machine have their own.
_NAMESPACE: Final = "/proc/self/ns/pid"
#: States of a process in `/proc/PID/stat` that runs no code any more: zombie and dead.
_ENDED: Final = frozenset("ZXx")


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """A worker and its process. `boot`, `namespace` and `started` are empty where the system does not tell them."""

    worker: str  # name of its ledger
    host: str  # name of the machine, for people
    boot: str  # boot ID of the machine
    namespace: str  # space of process numbers
    pid: int
    started: str  # start time of the process, in clock ticks since the machine started

    @classmethod
    def this_process(cls, worker: str) -> Holder:
        """The process that calls."""
        pid = os.getpid()
        started, _ = _process(pid)
        return cls(
            worker=worker,
            host=socket.gethostname(),
            boot=_boot(),
            namespace=_namespace(),
            pid=pid,
            started=started,
        )

    def is_gone(self) -> bool:
        """True only if the process ran on this machine and has certainly ended, also if another has its number now."""
        if not (self.boot and self.namespace and self.started):
            return False
        if (self.boot, self.namespace) != (_boot(), _namespace()):
            return False  # another machine, or another container: its processes cannot be seen from here
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass  # it belongs to another user
        started, state = _process(self.pid)
        return state in _ENDED or (started not in ("", self.started))


def new_worker() -> str:
    """A name for a worker, unique, and usable as the name of a file."""
    host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname()).strip("-")[:40] or "host"
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"


def _boot() -> str:
    try:
        return _BOOT.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _namespace() -> str:
    try:
        return os.readlink(_NAMESPACE)
    except OSError:
        return ""


def _process(pid: int) -> tuple[str, str]:
    """The start time and the state of a process (proc(5), `/proc/PID/stat`); empty where they cannot be read."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        fields = text[text.rindex(")") + 2 :].split()  # the name of the program may hold spaces and brackets
        return fields[19], fields[0]
    except (OSError, ValueError, IndexError):
        return "", ""
