"""Signals that end a program, and the alarm clock of a process."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final


def _existing(*names: str) -> tuple[signal.Signals, ...]:
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


#: The signals that end a program. Windows has no SIGHUP; it sends SIGBREAK for Ctrl-Break and when the console is
#: closed, after which it ends the process within five seconds.
ENDING: Final = _existing("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
#: The signals whose handlers belong to the program and not to its plugins.
HANDLED: Final = (*ENDING, *_existing("SIGPIPE"))

#: True if the system has an alarm clock.
HAS_ALARM: Final = hasattr(signal, "setitimer")


def is_from_keyboard(number: int) -> bool:
    """True for the signals of Ctrl-C and Ctrl-Break."""
    return number in (signal.SIGINT, getattr(signal, "SIGBREAK", None))


def terminate_main_thread() -> None:
    """Do in the main thread what SIGTERM does, and end its waiting; from another thread."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:
        _thread.interrupt_main(signal.SIGTERM)


@contextmanager
def on_user_signal(function: Callable[[], None]) -> Iterator[None]:
    """Call a function in the main thread when the process gets SIGUSR1. Windows has no such signal."""
    if not hasattr(signal, "SIGUSR1"):
        yield
        return

    def call(number: int, frame: FrameType | None) -> None:
        function()

    before = signal.signal(signal.SIGUSR1, call)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def set_alarm(seconds: float, again: float = 0.0) -> tuple[float, float]:
    """Ring after some seconds and then every `again` seconds; 0 is never. Returns what was set before."""
    return signal.setitimer(signal.ITIMER_REAL, seconds, again)


def handle_alarm(handler: Any) -> Any:
    """Call a function in the main thread when the alarm rings; returns the handler before."""
    return signal.signal(signal.SIGALRM, handler)


def call_after(seconds: float, function: Callable[[], None]) -> None:
    """Call a function once, if the process still runs then: in the main thread where there is an alarm clock."""

    def ring(number: int, frame: FrameType | None) -> None:
        function()

    if HAS_ALARM:
        handle_alarm(ring)
        set_alarm(seconds)
        return
    timer = threading.Timer(seconds, function)
    timer.daemon = True
    timer.start()
