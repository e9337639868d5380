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


class Signals:
    """The signals that end a program: how many counted, and one that waits. Deaf until `listen`."""

    def __init__(self) -> None:
        self._last = 0.0
        self._count = 0
        self._holding = False
        self._waiting: int | None = None

    def listen(self) -> None:
        """Take the signals that end a program; one that is ignored (`nohup`, a job in the background) stays so."""
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._interrupt)

    def ignore(self) -> None:
        """The command is over and its exit code is settled: no signal changes that any more."""
        for number in _ENDING:
            if signal.getsignal(number) == self._interrupt:
                signal.signal(number, signal.SIG_IGN)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Write a document whole: a signal that comes meanwhile takes effect at the end.

        Raises KeyboardInterrupt, Signalled.
        """
        if self._holding or threading.current_thread() is not threading.main_thread():
            yield
            return
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
            number, self._waiting = self._waiting, None
            if number is not None:
                self._obey(number)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._count and now - self._last < _TWIN:
            return
        self._last = now
        self._count += 1
        if self._holding and self._waiting is None:
            self._waiting = number
        elif self._holding:
            _end(number)
        else:
            self._obey(number)

    def _obey(self, number: int) -> NoReturn:
        if self._count > 1:
            _end(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Signalled(number)


def _end(number: int) -> NoReturn:
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")  # a progress bar hides the cursor
    os._exit(128 + number)
