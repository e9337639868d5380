"""How much of a run is done: files count once, however often they are sent, and never more than there are."""

from __future__ import annotations

from xnatctl.api import Event, EventKind

#: Outcomes that end an item's way; the others are followed by another attempt.
_DELIVERED = "accepted"


class _Batch:
    """One attempt at a batch: its size, what was sent of it, and what of that has its outcome. In bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.sent = 0
        self.done = 0
        self.delivered = 0

    @property
    def under_way(self) -> int:
        return max(0, min(self.sent, self.size) - self.done)

    @property
    def unsent(self) -> int:
        return max(0, self.size - max(self.sent, self.done))


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
        """Some of what was to be sent is there already."""
        self.files -= files
        self.bytes -= size

    def take(self, event: Event) -> None:
        """One event about a batch or a file of it."""
        key = (event.data.get("resource"), event.data.get("batch"))
        batch = self._batches.get(key)
        if event.kind is EventKind.BATCH_STARTED:
            self._replace(key, _Batch(number(event, "bytes")))
        elif event.kind is EventKind.BYTES_SENT:
            self.speaks = True
            self.moved += number(event, "bytes")
            self._add(batch, sent=number(event, "bytes"))
        elif event.kind is EventKind.ITEM_DONE:
            self._item(event, batch)
        elif event.kind is EventKind.BATCH_DONE and batch is not None:
            self.moved += max(0, batch.delivered - batch.sent)
            self._replace(key, None)

    def _item(self, event: Event, batch: _Batch | None) -> None:
        size, delivered = number(event, "bytes"), event.data.get("outcome") == _DELIVERED
        self._add(batch, done=size, delivered=size if delivered else 0)
        if delivered and not event.data.get("again"):
            self.done_files += 1
            self.done_bytes += size

    def _add(self, batch: _Batch | None, *, sent: int = 0, done: int = 0, delivered: int = 0) -> None:
        if batch is None:
            return
        under_way, unsent = batch.under_way, batch.unsent
        batch.sent += sent
        batch.done += done
        batch.delivered += delivered
        self._under_way += batch.under_way - under_way
        self._unsent += batch.unsent - unsent

    def _replace(self, key: tuple[object, object], batch: _Batch | None) -> None:
        old = self._batches.pop(key, None)
        if old is not None:
            self._under_way -= old.under_way
            self._unsent -= old.unsent
        if batch is not None:
            self._batches[key] = batch
            self._unsent += batch.unsent


def number(event: Event, key: str) -> int:
    """A number of an event; 0 where there is none."""
    value = event.data.get(key, 0)
    return value if isinstance(value, int) else 0
