"""When a run stops early: a dead server is not asked for every row, and a run may have a limit of time."""

from __future__ import annotations

import time
from collections.abc import Callable

from xnatctl.api import RowResult, counted
from xnatctl_campaign.worker_link import WORKER_ENDED

#: The class of each code of an error that other rows are likely to meet as well, and the exit code of a run that it
#: stops. Other codes (`refused`, `changed`, `not-found`, `usage`) are about the row alone and are not counted.
_CLASSES = {
    "unreachable": ("the server cannot be reached", 4),
    "answer-lost": ("the server cannot be reached", 4),
    "server": ("the server fails", 4),
    "throttled": ("the server fails", 4),
    "too-large": ("the server fails", 4),
    "not-xnat": ("another service than XNAT answers", 4),
    "authentication": ("the login is refused", 3),
    "permission": ("access is denied", 3),
    "incomplete": ("files are not accepted", 5),
    "not-archived": ("sessions are not archived", 5),
    "verification": ("what arrived differs from the disk", 5),
    "journal": ("this machine cannot record what it sends", 5),
    "out-of-memory": ("this machine has no memory left", 5),
    "unexpected": ("this machine fails", 5),
    "plugin": ("a plugin is missing or fails", 5),
    WORKER_ENDED: ("worker processes end", 5),
}
#: Once is enough: a password that was refused must not be tried again (xnat-api 1.7).
_AT_ONCE = frozenset({"authentication"})


class Stop:
    """Whether a run stops starting rows, and why. Thread-safe.

    `after` failures of one class in a row stop it; so does the end of `seconds`. A row that is proven starts the count
    anew. `clock` gives seconds. `request` may be called by the handler of a signal, so that no lock is used.
    """

    def __init__(self, after: int, seconds: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._after = after
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds
        self._requested = False
        self._class = ""
        self._count = 0
        #: Why the run stopped, as the end of a sentence; empty while it goes on.
        self.reason = ""
        #: The exit code that the reason demands; 0 if none.
        self.exit_code = 0

    def __call__(self) -> bool:
        """Whether to begin no other row."""
        if not self._requested and self._end is not None and self._clock() >= self._end:
            self.request("the time of --max-duration is over")
        return self._requested

    def request(self, reason: str, exit_code: int = 0) -> None:
        """Begin no other row; the first reason counts."""
        if not self._requested:
            self.reason, self.exit_code = reason, exit_code
            self._requested = True

    def take(self, result: RowResult) -> None:
        """Take the result of a row."""
        if result.state == "proven":
            self._class, self._count = "", 0
        found = _CLASSES.get(result.code) if result.state == "failed" else None
        if found is None:
            return
        name, exit_code = found
        self._count = self._count + 1 if name == self._class else 1
        self._class = name
        if result.code in _AT_ONCE:
            self.request(f"row {result.row} failed: {name}", exit_code)
        elif self._count >= self._after:
            self.request(f"{counted(self._count, 'row')} failed one after the other: {name}", exit_code)
