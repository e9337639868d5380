"""Decides whether to compress: only if the compressor is faster than the link.

Compression overlaps with sending, so the time per byte is max(1/C, r/B) compared with 1/B (C: rate of the compressor on
raw bytes, B: rate of the link, r: compressed to raw size). So compressing helps if B < C. Workers share the link and
the cores.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from xnatctl.api import UploadItem

#: Transfer syntaxes without compression; compressing others gains nothing (PS3.5 A.4, A.5).
_NATIVE = frozenset({"", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
#: Uploads below this size are too short to benefit (bytes).
SMALL = 8 * 2**20
#: Batches below this size do not measure the link (bytes).
_TELLING = SMALL // 8
#: Number of latest batches that count.
_LATEST = 9


def compressible(item: UploadItem) -> bool:
    """True when its pixel data are not compressed already."""
    return item.transfer_syntax_uid in _NATIVE


def _median(rates: Sequence[float]) -> float:
    """The median; `statistics` would take long to import."""
    ordered = sorted(rates)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


class CompressionChoice:
    """The choice for the workers of a run: the first batches are uncompressed to measure the link (bytes/s).

    The compressor is measured on a sample before the first batch is compressed. Once both ways were used, the faster
    one is chosen. `share` is the part of the compressor's rate that each worker gets when all compress.
    """

    def __init__(self, wanted: str, share: float = 1.0) -> None:
        self._wanted = wanted
        self._share = share
        self._lock = threading.Lock()
        self._plain: list[float] = []
        self._whole: list[float] = []
        self._packing: float | None = None

    def compress(self, items: Sequence[UploadItem], upload: int | None = None) -> bool:
        """Decide for one batch; `upload` is the size of the upload in bytes, by default that of the batch."""
        size = sum(item.size for item in items)
        native = sum(item.size for item in items if compressible(item))
        if self._wanted != "auto":
            return self._wanted == "always"
        if (size if upload is None else upload) < SMALL or 2 * native < size:
            return False
        with self._lock:
            if not self._plain:
                return False  # the link is not measured yet
            plain = _median(self._plain)
            if self._whole:
                return _median(self._whole) > plain
            return self._packing is None or plain < self._packing * self._share

    @property
    def curious(self) -> bool:
        """True if the next batch could be compressed and the compressor is not measured yet."""
        with self._lock:
            return self._wanted == "auto" and bool(self._plain) and self._packing is None

    def sent(self, size: int, seconds: float) -> None:
        """Record the time of sending an uncompressed batch."""
        if size >= _TELLING and seconds > 0:
            with self._lock:
                self._plain = [*self._plain[1 - _LATEST :], size / seconds]

    def packed(self, size: int, seconds: float, whole: float | None = None) -> None:
        """Record the time of compressing a batch; `whole` includes sending."""
        if seconds > 0:
            with self._lock:
                rate = size / seconds
                self._packing = rate if self._packing is None else (self._packing + rate) / 2
                if whole is not None and size >= _TELLING:
                    self._whole = [*self._whole[1 - _LATEST :], size / whole]
