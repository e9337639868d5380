"""What a worker tells its run about the row in work: a phase, and how much was sent."""

from __future__ import annotations

import time
from collections.abc import Callable

from xnatctl.api import Event, EventKind
from xnatctl_campaign.protocol import Sender

#: Shortest time between two messages that differ in their numbers only (seconds).
_EVERY = 0.2
_PHASES = frozenset({EventKind.PREPARING, EventKind.SETTLING, EventKind.VERIFYING})


class Relay:
    """Makes few `progress` messages from the many events of one row."""

    def __init__(self, sender: Sender, row: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._sender = sender
        self._row = row
        self._clock = clock
        self._phase = ""
        self._files = self._bytes = 0
        self._said = -_EVERY

    def take(self, event: Event) -> None:
        """Take one event of the run of the row."""
        data = event.data
        if event.kind is EventKind.BATCH_STARTED:
            self.phase("sending")
        elif event.kind is EventKind.ITEM_DONE:
            if data.get("outcome") == "accepted" and not data.get("again"):
                self._files += 1
        elif event.kind is EventKind.BYTES_SENT:
            sent = data.get("bytes")
            self._bytes += sent if isinstance(sent, int) else 0
        elif event.kind in _PHASES:
            self.phase(event.message or str(data.get("state") or ""))
        else:
            return
        if self._clock() >= self._said + _EVERY:
            self._say()

    def phase(self, text: str) -> None:
        """The row is in another phase, such as `sending`."""
        if text != self._phase:
            self._phase = text
            self._say()

    def _say(self) -> None:
        self._said = self._clock()
        self._sender.send(
            **{"is": "progress", "row": self._row, "phase": self._phase, "files": self._files, "bytes": self._bytes}
        )
