"""Derives one outcome per item from the result of a request."""

from __future__ import annotations

import time
from collections.abc import Sequence

from xnatctl.delivery.engine.retry import classify, outcome_for
from xnatctl.errors import SourceChanged, Throttled, XnatctlError
from xnatctl.model.events import Emit, Event, EventKind
from xnatctl.model.outcome import FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import UploadItem

#: Seconds between two byte events of one request.
_SAY = 0.1
#: Bodies below this size (bytes) that are sent quickly emit no byte events, because the outcome follows at once.
_SMALL = 1 << 20


class ByteCounter:
    """Counts the sent bytes of a body, and emits how many bytes of its files they represent.

    `length` is the length of the body: a compressed body is shorter than its files. Bytes that are sent twice count
    once. An increment of 0 means that sending pauses.
    """

    def __init__(self, emit: Emit, items: Sequence[UploadItem], length: int) -> None:
        self._emit = emit
        self._size = sum(item.size for item in items)
        self._length = max(1, length)
        self._said = 0
        self._next = time.monotonic() + _SAY
        self.bytes = 0

    def __call__(self, increment: int) -> None:
        self.bytes += increment
        if (now := time.monotonic()) >= self._next or not increment or self.bytes >= self._length > _SMALL:
            self._next = now + _SAY
            self.say()

    def end(self) -> None:
        """Emit the remaining bytes if any were emitted before."""
        if self._said:
            self.say()

    def say(self) -> None:
        """Emit the bytes since the last event."""
        reached = min(self._size, self._size * self.bytes // self._length)
        if reached > self._said:
            self._emit(Event(kind=EventKind.BYTES_SENT, data={"bytes": reached - self._said}))
            self._said = reached


def all_outcomes(
    items: Sequence[UploadItem], outcome: Outcome, failure: FailureClass, reason: str, after: float | None = None
) -> tuple[ItemOutcome, ...]:
    """The same outcome for every item; `after` is the Retry-After of the server in seconds."""
    return tuple(
        ItemOutcome(path=item.path, outcome=outcome, failure=failure, reason=reason, retry_after=after)
        for item in items
    )


def failed_outcomes(
    items: Sequence[UploadItem], error: XnatctlError, failure: FailureClass | None = None
) -> tuple[ItemOutcome, ...]:
    """The outcomes of all items of a request that failed: one of each item, of the class `failure`.

    Without it the class follows from the error. The outcomes of `SourceChanged` are those of `changed_outcome`.
    """
    if isinstance(error, SourceChanged):
        return tuple(changed_outcome(item, error) for item in items)
    failure = failure or classify(error)
    reason = error.message if error.hint is None else f"{error.message} {error.hint}"
    after = error.retry_after if isinstance(error, Throttled) else None
    return all_outcomes(items, outcome_for(failure), failure, reason, after)


def changed_outcome(item: UploadItem, error: SourceChanged) -> ItemOutcome:
    """The item that changed on disk is `changed`; the others of its request are sent again."""
    if error.path is None or error.path == item.path:
        return ItemOutcome(path=item.path, outcome=Outcome.CHANGED, failure=FailureClass.SOURCE, reason=error.message)
    return ItemOutcome(
        path=item.path,
        outcome=Outcome.AMBIGUOUS,
        failure=FailureClass.ANSWER_LOST,
        reason=f"sent together with {error.path}, which changed",
    )
