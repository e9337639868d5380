"""Interrupts: the first signal stops the run cleanly, the second ends the program at once.

While a document is written, a signal takes effect after the document; another one ends the program at once.
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

from xnatctl.cli.exits import leave
from xnatctl.errors import Signalled
from xnatctl.operating_system.signals import ENDING, is_from_keyboard

#: A second signal within this time (seconds) is a duplicate: `timeout` and shells signal a process and its group.
_TWIN = 0.5


class Signals:
    """Handles the signals that end a program; inactive until `listen`."""

    def __init__(self) -> None:
        self._last = 0.0
        self._count = 0
        self._holding = False
        self._waiting: int | None = None
        self._echoed = False

    def listen(self) -> None:
        """Install the handlers; a signal that is ignored (`nohup`, a background job) stays ignored."""
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._interrupt)

    def ignore(self) -> None:
        """Ignore signals from now on, because the exit code is final."""
        for number in ENDING:
            if signal.getsignal(number) == self._interrupt:
                signal.signal(number, signal.SIG_IGN)

    def take_echo(self) -> bool:
        """Whether a key was pressed since the last call that ends a program: a terminal writes ^C then."""
        echoed, self._echoed = self._echoed, False
        return echoed

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold signals back while a document is written; they take effect at the end.

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
        self._echoed = self._echoed or is_from_keyboard(number)
        if self._holding and self._waiting is None:
            self._waiting = number
        elif self._holding:
            _end(number)
        else:
            self._obey(number)

    def _obey(self, number: int) -> NoReturn:
        if self._count > 1:
            _end(number)
        if is_from_keyboard(number):
            raise KeyboardInterrupt
        raise Signalled(number)


def _end(number: int) -> NoReturn:
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")  # show the cursor that a progress bar has hidden
    leave(128 + (signal.SIGINT if is_from_keyboard(number) else number))
