"""Stops a run from another thread, and decides before each write whether the run may still change the server."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xnatctl.errors import Interrupted, XnatctlError, signal_of
from xnatctl.operating_system.waiting import wait_for


class StopToken:
    """Stops a run, ends its waits, and fences its writes. One per run, shared by all workers.

    `before_write` is called before each request that may change the server and before each batch of a transport, by the
    thread that sends it. It must be quick, and raises XnatctlError when this process may not write any more, for
    example because another process took the work over. That stops the run.

    A run that is stopped sends no further request, cuts those in flight, and ends with Interrupted. Its journal knows
    what was sent, so that another run can finish it.
    """

    def __init__(self, before_write: Callable[[], None] | None = None) -> None:
        self._before_write = before_write
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._cuts: list[Callable[[], None]] = []
        self._signal = int(signal.SIGTERM)
        #: Why the run was stopped, one sentence; empty after a signal.
        self.reason = ""

    def stop(self, reason: str = "", *, signal_number: int = signal.SIGTERM) -> None:
        """Stop the run, from any thread; returns at once. The first call decides.

        `reason` is one sentence for the message. The exit code is 128 + `signal_number`.
        """
        with self._lock:
            first = not self._event.is_set()
            if first:
                self.reason, self._signal = reason, int(signal_number)
                self._event.set()
            cuts = tuple(self._cuts)
        for cut in cuts:
            cut()

    @property
    def requested(self) -> bool:
        """True after `stop`."""
        return self._event.is_set()

    def check(self, *, writes: bool = False) -> None:
        """Raise Interrupted if the run was stopped; with `writes` also if it may not change the server."""
        if not self._event.is_set() and writes and self._before_write is not None:
            try:
                self._before_write()
            except XnatctlError as error:
                number = signal_of(error) if isinstance(error, Interrupted) else signal.SIGTERM
                self.stop(error.message, signal_number=number)
        if self._event.is_set():
            raise self.error()

    def error(self) -> Interrupted:
        """The error of the run after `stop`."""
        return Interrupted(self.reason or "Interrupted.", signal_number=self._signal)

    @contextmanager
    def cutting(self, cut: Callable[[], None]) -> Iterator[None]:
        """Inside, `stop` calls `cut`, which ends requests in flight."""
        with self._lock:
            self._cuts.append(cut)
        try:
            yield
        finally:
            with self._lock:
                self._cuts.remove(cut)

    def wait(self, seconds: float) -> bool:
        """Wait; returns False if the run is being stopped."""
        return not wait_for(self._event, seconds)

    @staticmethod
    def now() -> float:
        """Monotonic seconds."""
        return time.monotonic()
