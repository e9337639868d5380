"""The current activity of a command, from its events."""

from __future__ import annotations

from collections.abc import Callable

from xnatctl.api import Event, EventKind, printable
from xnatctl_output.rate import Rate
from xnatctl_output.tally import Tally, number

_BATCHES = frozenset({EventKind.BATCH_STARTED, EventKind.BYTES_SENT, EventKind.ITEM_DONE, EventKind.BATCH_DONE})
_WORK = frozenset({EventKind.PREPARING, EventKind.SETTLING, EventKind.VERIFYING})
#: Seconds without a sent byte after which that is shown.
_STILL = 3.0
#: Seconds after which the average of a transport that does not say what it sends means something.
_AVERAGE = 10.0


class State:
    """Sending, or other work that `work` names; `since` is when that began. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.tally = Tally()
        self.rate = Rate()
        self.sending = False
        self.work = ""
        self.looked_at = 0
        self.since = clock()

    @property
    def busy(self) -> bool:
        """Whether there is something to show."""
        return self.sending or bool(self.work)

    @property
    def seconds(self) -> float:
        """Seconds since the activity began."""
        return self._clock() - self.since

    @property
    def still(self) -> float:
        """Seconds for which no byte has moved, where that is long; else 0."""
        if not (self.tally.speaks and self.tally.sending):
            return 0.0
        still = self._clock() - (self.since if self.rate.moved_at is None else self.rate.moved_at)
        return still if still >= _STILL else 0.0

    def take(self, event: Event) -> None:
        """One event."""
        if event.kind in _BATCHES:
            self._batch(event)
        elif event.kind is EventKind.RUN_STARTED:
            self.tally = Tally(number(event, "files"), number(event, "bytes"))
            self._rest()
        elif event.kind is EventKind.STAGE_STARTED:
            self.tally.skip(number(event, "skipped"), number(event, "skipped_bytes"))
        elif event.kind in _WORK:
            self._begin(one_line(event.message or str(event.data.get("state") or "")))
            self.looked_at = number(event, "files")
        elif event.kind is EventKind.RUN_DONE:
            self.tally = Tally()
            self._rest()

    def tick(self) -> None:
        """Let time pass."""
        if self.sending:
            self.rate.sample(self._clock(), self.tally.moved)

    def speed(self) -> float | None:
        """Bytes per second; None when that cannot be said."""
        if self.tally.speaks:
            return self.rate.per_second()
        return self.tally.moved / self.seconds if self.seconds >= _AVERAGE else None

    def left(self) -> float | None:
        """Seconds until everything is sent; None when that cannot be said."""
        size = self.tally.bytes - self.tally.sent
        if self.tally.speaks:
            return self.rate.left(size)
        return size / speed if (speed := self.speed()) else None

    def _batch(self, event: Event) -> None:
        self.tally.take(event)
        if event.kind is EventKind.BATCH_STARTED and not self.sending:
            self.sending, self.work, self.since, self.rate = True, "", self._clock(), Rate(self.tally.moved)
        elif event.kind is EventKind.BATCH_DONE and self.work and not self.tally.sending:
            self.sending, self.since = False, self._clock()

    def _begin(self, work: str) -> None:
        """Begin another activity; while batches are in flight it is sending: resources run in parallel."""
        if work != self.work and not self.tally.sending:
            self.since = self._clock()
        self.work, self.sending = work, self.tally.sending

    def _rest(self) -> None:
        self.sending, self.work, self.looked_at, self.since = False, "", 0, self._clock()


def one_line(text: str) -> str:
    """Text on one line; a line break in a name cannot start a line."""
    return printable(text).replace("\n", "\\x0a")
