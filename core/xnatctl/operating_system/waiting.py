"""Waiting for a thread in a way that Ctrl-C ends, and a clock that goes on while the machine sleeps."""

from __future__ import annotations

import sys
import threading
import time
from typing import Final

#: Longest wait of one call where signals do not end it (seconds).
_SLICE: Final = 0.1
#: Of Linux; that of macOS has the other name.
_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", 0))


def wait_for(event: threading.Event, seconds: float) -> bool:
    """`event.wait(seconds)`, in short waits on Windows, where a signal is handled only between them."""
    if sys.platform != "win32":
        return event.wait(seconds)
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > _SLICE:
        if event.wait(_SLICE):
            return True
    return event.wait(max(0.0, left))


def time_with_sleep() -> float:
    """Seconds of a monotonic clock that goes on while the machine sleeps."""
    if sys.platform == "win32":
        return time.monotonic()  # does so there
    return time.clock_gettime(_CLOCK)
