"""What refusals say about the files that are still to be sent.

A server refuses one file because of its content, or every file because of its own trouble, in the same words
(xnat-import 3.2). And what was too large for a request (413) is too large for the next one as well.
"""

from __future__ import annotations

import threading

from xnatctl.delivery.engine.batches import halve
from xnatctl.model.plan import Batch

#: Refusals in a row, with nothing delivered between them, after which files from elsewhere in the queue are tried,
#: because neighbours are often alike; how many of these are tried; and how many refusals it takes when there are none
#: elsewhere and the server has taken others.
_SUSPECT = 8
_PROBES = 4
_LAST = 64
#: Files refused as too large after which no file is tried when none was accepted.
_HOPELESS = 12
#: A request of so few bytes fits any limit that lets DICOM through.
_SMALL = 64 * 2**10
#: Files refused as too large, each alone, after which larger ones are not tried.
_ENOUGH = 3


class Refusals:
    """Counts refusals in a row, of all `workers`."""

    def __init__(self, workers: int) -> None:
        self._lock = threading.Lock()
        self._row = 0
        self._ever = False
        self._most = _SUSPECT + _PROBES + workers - 1  # the others have neighbours in flight when one is suspicious

    def delivered(self) -> None:
        """The server took something."""
        with self._lock:
            self._row = 0
            self._ever = True

    def refused(self) -> None:
        """The server refused a batch, and will not be asked about it again as it is."""
        with self._lock:
            self._row += 1

    @property
    def probing(self) -> bool:
        """True when the next file should be unlike those that were refused."""
        return self._row >= _SUSPECT

    def hopeless(self, *, others: bool) -> bool:
        """True when it is not the files. `others`: there are files from elsewhere, which are tried first."""
        return self._row >= (max(self._most, _LAST) if self._ever and not others else self._most)


class SizeLimit:
    """Learns from 413 how large a request may be; sizes are those of the files in it, in bytes."""

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
        """A batch was refused; True when no file is worth a request any more. `smallest` is the smallest of all."""
        with self._lock:
            if batch.size <= self._largest:
                return False  # it is not the size
            self._refused = min(batch.size, self._refused or batch.size)
            if len(batch.items) > 1:
                return False
            self._alone.append(batch.size)
            return batch.size <= max(smallest, _SMALL) or (not self._largest and len(self._alone) >= _HOPELESS)

    def known(self, batch: Batch) -> int | None:
        """The size of a file that was refused alone and is no larger than this one, when enough of them were."""
        with self._lock:
            if len(batch.items) > 1 or len(self._alone) < _ENOUGH or batch.size < min(self._alone):
                return None
            return min(self._alone)
