"""Decides from refusals whether sending the remaining files makes sense.

A server uses the same answers to refuse one file for its content and every file for its own problems (xnat-import 3.2).
A request that was too large (413) is also too large the next time.
"""

from __future__ import annotations

import threading

from xnatctl.model.batches import halve
from xnatctl.model.plan import Batch

#: Consecutive refusals after which files from elsewhere in the queue are tried, because neighbours are often alike; how
#: many of those are tried; and how many refusals it takes if there are none and the server accepted others.
_SUSPECT = 8
_PROBES = 4
_LAST = 64
#: Files refused as too large after which no file is tried when none was accepted.
_HOPELESS = 12
#: A request of this size fits any limit that admits DICOM files (bytes).
_SMALL = 64 * 2**10
#: Files refused as too large, each alone, after which larger ones are not tried.
_ENOUGH = 3


class Refusals:
    """Counts consecutive refusals of all `workers`."""

    def __init__(self, workers: int) -> None:
        self._lock = threading.Lock()
        self._row = 0
        self._ever = False
        self._most = _SUSPECT + _PROBES + workers - 1  # the other workers may have neighbouring files in flight

    def delivered(self) -> None:
        """The server accepted a batch."""
        with self._lock:
            self._row = 0
            self._ever = True

    def refused(self) -> None:
        """The server refused a batch that will not be retried as it is."""
        with self._lock:
            self._row += 1

    @property
    def probing(self) -> bool:
        """True if the next file should differ from the refused ones."""
        return self._row >= _SUSPECT

    def hopeless(self, *, others: bool) -> bool:
        """True if the files are not the cause. `others`: files from elsewhere remain, which are tried first."""
        return self._row >= (max(self._most, _LAST) if self._ever and not others else self._most)


class SizeLimit:
    """Learns the size limit of requests from 413 answers; sizes are sums of file sizes in bytes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refused: int | None = None
        self._alone: list[int] = []
        self._largest = 0

    def accepted(self, size: int) -> None:
        """A request of this size was accepted."""
        with self._lock:
            self._largest = max(self._largest, size)
            if self._refused is not None and size >= self._refused:
                self._refused = None
            self._alone = [refused for refused in self._alone if refused > size]

    def split(self, batch: Batch) -> tuple[Batch, Batch] | None:
        """The halves of a batch that is as large as one that was refused; None for one that may fit."""
        with self._lock:
            too_large = self._refused is not None and batch.size >= self._refused
        return halve(batch) if too_large and len(batch.items) > 1 else None

    def refuse(self, batch: Batch, smallest: int) -> bool:
        """Record a refused batch; True if no file can fit. `smallest` is the smallest size of all."""
        with self._lock:
            if batch.size <= self._largest:
                return False  # the size is not the cause
            self._refused = min(batch.size, self._refused or batch.size)
            if len(batch.items) > 1:
                return False
            self._alone.append(batch.size)
            return batch.size <= max(smallest, _SMALL) or (not self._largest and len(self._alone) >= _HOPELESS)

    def known(self, batch: Batch) -> int | None:
        """The size of a refused single file that is no larger than this one, if enough files were refused."""
        with self._lock:
            if len(batch.items) > 1 or len(self._alone) < _ENOUGH or batch.size < min(self._alone):
                return None
            return min(self._alone)
