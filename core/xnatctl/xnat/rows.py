"""Long answers read as they come: the rows of a listing, the entries of a catalog. None is held as a whole.

What is wrong with an answer is said at its end, by `finish`: until then it is not known whether it is an answer of ours
or a login page.
"""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Mapping
from typing import Protocol
from xml.parsers import expat


class Feed(Protocol):
    """Takes the body of an answer, piece by piece."""

    def feed(self, data: bytes) -> None:
        """The next piece."""
        ...


_BEGIN = re.compile(r'"Result"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")
_DECODER = json.JSONDecoder()
#: A row longer than this (characters) is none.
_LONGEST_ROW = 1 << 20
#: As much of what was read is kept until the rows begin.
_MARGIN = 64


class Rows:
    """The rows of a table (contract xnat-api 2.1); `take` gets each, every cell as text."""

    def __init__(self, take: Callable[[Mapping[str, str]], None]) -> None:
        self._take = take
        self._decode = getincrementaldecoder("utf-8")("replace").decode
        self._text = ""
        self._begun = self._ended = self._broken = False

    def feed(self, data: bytes) -> None:
        """The next piece of the answer."""
        if self._ended or self._broken:
            return
        self._text += self._decode(data)
        if not self._begun:
            found = _BEGIN.search(self._text)
            self._begun = found is not None
            self._text = self._text[found.end() if found else -_MARGIN :]
        if self._begun:
            self._rows()

    def _rows(self) -> None:
        text, position = self._text, 0
        while True:
            between = _BETWEEN.match(text, position)
            assert between is not None  # it matches nothing, too
            position = between.end()
            if position == len(text):
                break
            if text[position] == "]":
                self._ended = True
                break
            try:
                row, position = _DECODER.raw_decode(text, position)
            except ValueError:
                self._broken = len(text) - position > _LONGEST_ROW or text[position] != "{"
                break  # the rest of it comes with the next piece
            if not isinstance(row, dict):
                self._broken = True
                break
            self._take({key: "" if value is None else str(value) for key, value in row.items()})
        self._text = text[position:]

    def finish(self) -> None:
        """The answer is over. Raises ValueError when it was no table."""
        if not self._ended:
            raise ValueError("not a table")


#: Elements of a catalog that stand for a file; the catalog itself has a UID too, that of the series.
_ENTRIES = frozenset({"entry", "dcmEntry"})


class CatalogUids:
    """The `UID` attributes of the entries of a DICOM catalog (contract xnat-api 2.5).

    A document type is refused, and with it every entity: the document is a stranger's. No tree is built.
    """

    def __init__(self) -> None:
        self.uids: set[str] = set()
        self._problem: str | None = None
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.StartDoctypeDeclHandler = self._refuse

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag.rpartition(":")[2] in _ENTRIES and (uid := attributes.get("UID")):
            self.uids.add(uid)

    def _refuse(self, *_: object) -> None:
        self._problem = "holds a document type, which no catalog does"
        self._parser.StartElementHandler = None

    def feed(self, data: bytes) -> None:
        """The next piece of the answer."""
        self._parse(data, last=False)

    def finish(self) -> None:
        """The answer is over. Raises ValueError, with what is wrong, when it was no catalog."""
        self._parse(b"", last=True)
        # Parser and handlers hold each other, and with them every UID, until somebody collects them.
        self._parser.StartElementHandler = self._parser.StartDoctypeDeclHandler = None
        if self._problem is not None:
            raise ValueError(self._problem)

    def _parse(self, data: bytes, *, last: bool) -> None:
        if self._problem is not None:
            return
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as error:
            self._problem = f"is not XML: {expat.ErrorString(error.code)}"
