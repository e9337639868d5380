"""Whether compressing pays: only while the compressor is faster than the link.

Overlapped with sending, time per byte is the larger of 1/C and r/B against 1/B (C = compressor's rate on raw bytes,
B = the link's, r = packed to raw), so compressing pays whenever B < C.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from xnatctl.api import UploadItem

#: Transfer syntaxes whose data are not compressed yet; encapsulated and deflated ones gain nothing (PS3.5 A.4, A.5).
_NATIVE = frozenset({"", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
#: An upload below this size is over before a choice could pay.
SMALL = 8 * 2**20


def compressible(item: UploadItem) -> bool:
    """True when its pixel data are not compressed already."""
    return item.transfer_syntax_uid in _NATIVE


class Choice:
    """Shared by the workers of a run: the first batches go plain and measure the link, then one is packed."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self._lock = threading.Lock()
        self._link: list[float] = []
        self._packing: float | None = None
        self._workers = 0

    def compress(self, items: Sequence[UploadItem]) -> bool:
        """Decide for one batch."""
        size = sum(item.size for item in items)
        native = sum(item.size for item in items if compressible(item))
        if self._wanted != "auto":
            return self._wanted == "always"
        if size < SMALL or 2 * native < size:
            return False
        with self._lock:
            if not self._link:
                return False  # nothing is known of the link yet
            link = sorted(self._link)[len(self._link) // 2]
            return self._packing is None or link < self._packing

    def sent(self, size: int, seconds: float) -> None:
        """A plain batch took so long to send."""
        if size >= SMALL // 8 and seconds > 0:
            with self._lock:
                self._link = [*self._link[-8:], size / seconds]

    def packed(self, size: int, seconds: float) -> None:
        """Compressing a batch took so long."""
        if seconds > 0:
            with self._lock:
                rate = size / seconds
                self._packing = rate if self._packing is None else (self._packing + rate) / 2
