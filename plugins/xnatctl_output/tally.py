"""Counts what is done of a run; each file counts once, however often it is sent."""

from __future__ import annotations

from xnatctl.api import Event, EventKind

#: Final outcomes; after others an attempt follows.
_DELIVERED = "accepted"


class _Batch:
    """One attempt at a batch. In bytes: its size, what was sent of it, what of that has its outcome, what arrived."""

    __slots__ = ("delivered", "done", "sent", "size", "under_way", "unsent")

    def __init__(self, size: int) -> None:
        self.size = self.unsent = size
        self.sent = self.done = self.delivered = self.under_way = 0


class Tally:
    """Counts files and bytes of a run, bytes as they are on disk.

    `moved` is all that was sent, also what is sent again. A transport that does not say what it sends moves by batches;
    `speaks` is True for one that does.
    """

    def __init__(self, files: int = 0, size: int = 0) -> None:
        self.files = files
        self.bytes = size
        self.done_files = self.done_bytes = 0
        self.moved = 0
        self.speaks = False
        self._under_way = self._unsent = 0
        self._batches: dict[tuple[object, object], _Batch] = {}

    @property
    def sent(self) -> int:
        """What was delivered or is on its way, at most `bytes`."""
        return min(self.bytes, self.done_bytes + self._under_way)

    @property
    def sending(self) -> bool:
        """Whether a batch is in flight."""
        return bool(self._batches)

    @property
    def waits(self) -> bool:
        """Whether everything in flight was sent, so that the server is to answer."""
        return bool(self._batches) and self._unsent == 0

    def skip(self, files: int, size: int) -> None:
        """Count files that are already on the server."""
        self.files -= files
        self.bytes -= size

    def take(self, event: Event) -> None:
        """One event about a batch or a file of it."""
        data, kind = event.data, event.kind
        key = (data.get("resource"), data.get("batch"))
        if kind is EventKind.BATCH_STARTED:
            self._end(key)
            batch = self._batches[key] = _Batch(number(event, "bytes"))
            self._unsent += batch.size
        elif kind is EventKind.BATCH_DONE:
            self._end(key)
        elif kind is EventKind.ITEM_DONE:
            size, delivered = number(event, "bytes"), data.get("outcome") == _DELIVERED
            if (item_of := self._batches.get(key)) is not None:
                item_of.done += size
                item_of.delivered += size if delivered else 0
                self._count(item_of)
            if delivered and not data.get("again"):
                self.done_files += 1
                self.done_bytes += size
        else:
            self.speaks = True
            self.moved += number(event, "bytes")
            if (part_of := self._batches.get(key)) is not None:
                part_of.sent += number(event, "bytes")
                self._count(part_of)

    def _count(self, batch: _Batch) -> None:
        under_way = max(0, min(batch.sent, batch.size) - batch.done)
        unsent = max(0, batch.size - max(batch.sent, batch.done))
        self._under_way += under_way - batch.under_way
        self._unsent += unsent - batch.unsent
        batch.under_way, batch.unsent = under_way, unsent

    def _end(self, key: tuple[object, object]) -> None:
        if (batch := self._batches.pop(key, None)) is not None:
            self.moved += max(0, batch.delivered - batch.sent)
            self._under_way -= batch.under_way
            self._unsent -= batch.unsent


def number(event: Event, key: str) -> int:
    """A number of an event; 0 where there is none."""
    value = event.data.get(key, 0)
    return value if isinstance(value, int) else 0
