"""Whether compressing pays: only while the compressor is faster than the link.

Overlapped with sending, time per byte is the larger of 1/C and r/B against 1/B (C = compressor's rate on raw bytes,
B = the link's, r = packed to raw), so compressing pays whenever B < C. Workers share both: the link, and the cores.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from xnatctl.api import UploadItem

#: Transfer syntaxes whose data are not compressed yet; encapsulated and deflated ones gain nothing (PS3.5 A.4, A.5).
_NATIVE = frozenset({"", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
#: An upload below this size is over before a choice could pay.
SMALL = 8 * 2**20
#: A batch below this size says nothing of the link.
_TELLING = SMALL // 8
#: How many of the latest batches count.
_LATEST = 9


def compressible(item: UploadItem) -> bool:
    """True when its pixel data are not compressed already."""
    return item.transfer_syntax_uid in _NATIVE


def _median(rates: Sequence[float]) -> float:
    """The middle one; the library's brings fractions and decimals along, and would take longer to load than to use."""
    ordered = sorted(rates)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


class Choice:
    """Shared by the workers of a run: the first batches go plain and measure the link; rates are in bytes a second.

    The compressor is measured on a sample before the first batch is packed. Once both ways have been gone, the faster
    one is known and taken, whatever was expected of them. `share` is the part of the compressor's rate that each worker
    has when all of them pack.
    """

    def __init__(self, wanted: str, share: float = 1.0) -> None:
        self._wanted = wanted
        self._share = share
        self._lock = threading.Lock()
        self._plain: list[float] = []
        self._whole: list[float] = []
        self._packing: float | None = None

    def compress(self, items: Sequence[UploadItem], upload: int | None = None) -> bool:
        """Decide for one batch of an upload of so many bytes (of this batch alone, when nothing is said)."""
        size = sum(item.size for item in items)
        native = sum(item.size for item in items if compressible(item))
        if self._wanted != "auto":
            return self._wanted == "always"
        if (size if upload is None else upload) < SMALL or 2 * native < size:
            return False
        with self._lock:
            if not self._plain:
                return False  # nothing is known of the link yet
            plain = _median(self._plain)
            if self._whole:
                return _median(self._whole) > plain
            return self._packing is None or plain < self._packing * self._share

    @property
    def curious(self) -> bool:
        """True when the next batch could be packed, and nothing is known of the compressor yet."""
        with self._lock:
            return self._wanted == "auto" and bool(self._plain) and self._packing is None

    def sent(self, size: int, seconds: float) -> None:
        """A plain batch took so long to send."""
        if size >= _TELLING and seconds > 0:
            with self._lock:
                self._plain = [*self._plain[1 - _LATEST :], size / seconds]

    def packed(self, size: int, seconds: float, whole: float | None = None) -> None:
        """Compressing so many bytes took so long; `whole` is the time with sending them."""
        if seconds > 0:
            with self._lock:
                rate = size / seconds
                self._packing = rate if self._packing is None else (self._packing + rate) / 2
                if whole is not None and size >= _TELLING:
                    self._whole = [*self._whole[1 - _LATEST :], size / whole]
