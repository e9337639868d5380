"""Interrupts: the first one ends the work in good order, another one ends the program at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType

from xnatctl.errors import Signalled

#: Seconds in which a second signal is the first one's twin: `timeout` and shells send one to a process and one to its
#: group.
_TWIN = 0.5

_first: list[float] = []


def listen() -> None:
    """Take the signals that end a program; one that is ignored (`nohup`, a job in the background) stays so."""
    _first.clear()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if not _first:
        _first.append(now)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Signalled(number)
    if now - _first[0] >= _TWIN:
        if sys.stderr.isatty():
            os.write(2, b"\x1b[?25h\n")  # a bar hides the cursor
        os._exit(128 + number)
