"""Deflated data sets (DICOM PS3.5 A.5)."""

from __future__ import annotations

import zlib

from xnatctl.inventory.elements import LARGEST_WINDOW, Broken, Cut, Read

#: Limit for an inflated data set (bytes).
MOST_INFLATED = 16 * 2**30


class Inflated:
    """The inflated bytes of a deflated data set that begins at `start`.

    Reading backwards starts from the beginning again.
    """

    def __init__(self, read: Read, start: int, end: int) -> None:
        self.source, self._start, self._end = read, start, end
        self._rewind()

    def _rewind(self) -> None:
        self._inflater = zlib.decompressobj(-15)
        self._packed, self._position, self._kept = self._start, 0, b""

    def _more(self) -> bytes:
        """The next bytes, empty at the end."""
        while not self._inflater.eof:
            data = self._inflater.unconsumed_tail
            if not data:
                data = self.source(min(LARGEST_WINDOW, self._end - self._packed), self._packed)
                self._packed += len(data)
            try:
                piece = self._inflater.decompress(data, LARGEST_WINDOW)
            except zlib.error:
                raise Broken("damaged: its deflated data set is invalid") from None
            if piece or not data:
                return piece
        return b""

    def read(self, count: int, offset: int = 0, /) -> bytes:
        """See `Read`. Raises Broken for data that cannot be inflated."""
        if offset < self._position:
            self._rewind()
        while self._position + len(self._kept) < offset + count:
            passed = min(offset - self._position, len(self._kept))
            self._position, self._kept = self._position + passed, self._kept[passed:]
            if self._position > MOST_INFLATED:
                raise Broken(f"its deflated data set inflates to more than {MOST_INFLATED // 2**30} GiB")
            piece = self._more()
            if not piece:
                break
            self._kept += piece
        begin = offset - self._position
        return self._kept[begin : begin + count]

    @property
    def end(self) -> int:
        """The end of the deflated stream in the source; valid after `extent`."""
        return self._packed - len(self._inflater.unused_data)

    def extent(self) -> int:
        """The inflated size. Raises Cut if the deflated stream is incomplete."""
        while self._kept or not self._inflater.eof:
            self._position += len(self._kept)
            self._kept = self._more()
            if not self._kept:
                break
        if not self._inflater.eof:
            raise Cut(1)
        return self._position
