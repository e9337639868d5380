"""Interrupts: the first one ends the work in good order, another one ends the program at once.

While a document is written, either waits until the document is whole; one more ends the program all the same.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from xnatctl.errors import Signalled

#: Seconds in which a second signal is the first one's twin: `timeout` and shells send one to a process and one to its
#: group.
_TWIN = 0.5
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _State:
    """What has come: the time of the last signal that counted, how many counted, and one that waits."""

    last = 0.0
    count = 0
    holding = False
    waiting: int | None = None


def listen() -> None:
    """Take the signals that end a program; one that is ignored (`nohup`, a job in the background) stays so."""
    _State.count, _State.holding, _State.waiting = 0, False, None
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def ignore() -> None:
    """The command is over and its exit code is settled: no signal changes that any more."""
    for number in _ENDING:
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def held() -> Iterator[None]:
    """Write a document whole: a signal that comes meanwhile takes effect at the end.

    Raises KeyboardInterrupt, Signalled.
    """
    if _State.holding or threading.current_thread() is not threading.main_thread():
        yield
        return
    _State.holding = True
    try:
        yield
    finally:
        _State.holding = False
        number, _State.waiting = _State.waiting, None
        if number is not None:
            _obey(number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _State.count and now - _State.last < _TWIN:
        return
    _State.last = now
    _State.count += 1
    if _State.holding and _State.waiting is None:
        _State.waiting = number
    elif _State.holding:
        _end(number)
    else:
        _obey(number)


def _obey(number: int) -> NoReturn:
    if _State.count > 1:
        _end(number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Signalled(number)


def _end(number: int) -> NoReturn:
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")  # a progress bar hides the cursor
    os._exit(128 + number)
