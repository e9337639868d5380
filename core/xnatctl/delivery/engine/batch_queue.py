"""The queue of batches of one stage."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from xnatctl.delivery.engine.concurrency import ConcurrencyLimiter
from xnatctl.delivery.journal.journal import Journal
from xnatctl.model.outcome import ItemOutcome
from xnatctl.model.plan import Batch, UploadItem


class _Waiting:
    """Waiting batches, taken in order or from far behind the front."""

    def __init__(self, batches: Iterable[Batch] = ()) -> None:
        self._batches: list[Batch | None] = list(batches)
        self._next = 0
        #: Numbers of batches that were taken out of order.
        self._early: set[int] = set()

    def __len__(self) -> int:
        return len(self._batches) - self._next - len(self._early)

    def _far(self) -> int:
        """The number of the batch in the middle of the longest untouched range."""
        taken = sorted({self._next - 1, *self._early, len(self._batches)})
        _, before, after = max((after - before, before, after) for before, after in pairwise(taken))
        return (before + after) // 2

    def take(self, *, far: bool = False) -> Batch | None:
        """Take the next batch, or with `far` one from far behind it."""
        number = self._far() if far else self._next
        self._early.add(number)
        while self._next in self._early:
            self._early.remove(self._next)
            self._next += 1
        batch, self._batches[number] = self._batches[number], None
        return batch


class BatchQueue:
    """Hands batches to workers: one at a time until `anchored` is true, then up to the limit of `limiter`.

    While `probing` is true, batches from far behind the front come first.
    """

    def __init__(
        self,
        journal: Journal,
        anchored: Callable[[], bool],
        limiter: ConcurrencyLimiter,
        probing: Callable[[], bool] = lambda: False,
    ) -> None:
        self._journal = journal
        self._anchored = anchored
        self._probing = probing
        self._limiter = limiter
        self._back: deque[Batch] = deque()
        self._waiting = _Waiting()
        self._in_flight = 0
        self._stopped = False
        self.stopped_by: ItemOutcome | None = None
        self._changed = threading.Condition()

    def __len__(self) -> int:
        with self._changed:
            return len(self._back) + len(self._waiting)

    def fill(self, items: Sequence[UploadItem], batches: Iterable[Batch]) -> bool:
        """Fill the queue; returns False unless the batches hold every item exactly once."""
        waiting: list[Batch] = []
        held = bytearray(self._journal.total)
        for batch in batches:
            if not batch.items:  # there may be no end of them
                return False
            numbers = [self._journal.number(item) for item in batch.items]
            for number in numbers:
                if number is None or held[number]:
                    return False
                held[number] = True
            # Use the planned items, not the copies of a plugin.
            own = tuple(self._journal.item(number) for number in numbers if number is not None)
            waiting.append(replace(batch, items=own))
        with self._changed:
            self._waiting = _Waiting(waiting)
        return sum(held) == len(items) and all(
            (number := self._journal.number(item)) is not None and held[number] for item in items
        )

    def add_first(self, batches: Sequence[Batch]) -> None:
        """Put batches at the front."""
        with self._changed:
            self._back.extendleft(reversed(batches))
            self._changed.notify_all()

    def take(self, rest: Callable[[], None]) -> Batch | None:
        """Take the next batch; None if there is none and no batch in flight can return a half.

        Calls `rest` before it waits.
        """
        rested = False
        while True:
            with self._changed:
                if self._stopped or (not self._any and self._in_flight == 0):
                    self._changed.notify_all()
                    return None
                if self._any and (self._in_flight == 0 or (self._anchored() and self._room > 0)):
                    self._in_flight += 1
                    probing = bool(self._waiting) and self._probing()
                    return self._back.popleft() if self._back and not probing else self._waiting.take(far=probing)
                if rested:
                    self._changed.wait()
                    continue
            rest()
            rested = True

    @property
    def has_others(self) -> bool:
        """Whether batches wait of which no part was handed out before."""
        with self._changed:
            return bool(self._waiting)

    @property
    def _any(self) -> bool:
        return bool(self._back or self._waiting)

    @property
    def _room(self) -> int:
        """How many more batches may be in flight."""
        return self._limiter.limit - self._in_flight

    @property
    def stopped(self) -> bool:
        """True when nothing more will be sent."""
        with self._changed:
            return self._stopped

    def done(self) -> None:
        """Mark a batch as done; its worker takes the next one or ends."""
        with self._changed:
            self._in_flight -= 1
            if self._in_flight == 0 or not self._any:
                self._changed.notify_all()
            else:  # one slot is for the worker itself; wake others only if there are more
                self._changed.notify(max(0, self._room - 1))

    def stop(self, why: ItemOutcome | None) -> None:
        """Stop handing out batches."""
        with self._changed:
            self._stopped = True
            self.stopped_by = self.stopped_by or why
            self._changed.notify_all()
