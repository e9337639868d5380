"""Incremental parsers for long responses: the rows of a table, the entries of a catalog.

They keep only what the caller requests. `finish` reports errors, because only at the end is it known whether the
response comes from XNAT or is a login page. Memory is bounded for every response: by what the caller keeps, by one row
or tag, and by the limits below.
"""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from xml.parsers import expat


class Feed(Protocol):
    """Takes the body of a response piece by piece."""

    def feed(self, data: bytes) -> None:
        """The next piece."""
        ...


class TooLong(ValueError):
    """A response is longer than this program reads. The text names the limit."""


_BEGIN = re.compile(r'"Result"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")
_DECODER = json.JSONDecoder()
#: Limit for a row, in characters.
_LONGEST_ROW = 1 << 18
#: Characters that are kept until the rows begin.
_MARGIN = 64
#: Limit for the names of columns that are kept once for all rows.
_MOST_COLUMNS = 256


class Rows:
    """The rows of a table (xnat-api 2.1); `take` gets each of them, every cell as text."""

    def __init__(self, take: Callable[[Mapping[str, str]], None]) -> None:
        self._take = take
        self._decode = getincrementaldecoder("utf-8")("replace").decode
        self._text = ""
        self._begun = self._ended = self._broken = False
        self._too_long: TooLong | None = None
        self._columns: dict[str, str] = {}
        self._keys: tuple[str, ...] = ()
        self._names: Sequence[str] = ()

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        if self._ended or self._broken:
            return
        self._text += self._decode(data)
        if not self._begun:
            found = _BEGIN.search(self._text)
            self._begun = found is not None
            self._text = self._text[found.end() if found else -_MARGIN :]
        if self._begun:
            try:
                self._rows()
            except TooLong as error:
                self._broken, self._too_long = True, error
        if self._ended or self._broken:
            self._text = ""

    def _rows(self) -> None:
        text, position = self._text, 0
        while True:
            between = _BETWEEN.match(text, position)
            assert between is not None  # the pattern also matches nothing
            position = between.end()
            if position == len(text):
                break
            if text[position] == "]":
                self._ended = True
                break
            try:
                row, position = _DECODER.raw_decode(text, position)
            except RecursionError:
                self._broken = True
                break
            except ValueError:
                self._broken = len(text) - position > _LONGEST_ROW or text[position] != "{"
                break  # the rest of the row comes with the next piece
            if not isinstance(row, dict):
                self._broken = True
                break
            if (keys := tuple(row)) != self._keys:  # all rows of a table have the same columns
                self._keys, self._names = keys, list(map(self._column, keys))
            self._take(
                {
                    name: value if value.__class__ is str else "" if value is None else str(value)
                    for name, value in zip(self._names, row.values(), strict=True)
                }
            )
        self._text = text[position:]

    def _column(self, key: str) -> str:
        """The name of a column, the same object for all rows."""
        known = self._columns.get(key)
        if known is None and len(self._columns) < _MOST_COLUMNS:
            known = self._columns[key] = key
        return known or key

    def finish(self) -> None:
        """The response is complete. Raises TooLong when `take` raised it, else ValueError when this was no table."""
        if self._too_long is not None:
            raise self._too_long
        if not self._ended:
            raise ValueError("not a table")


#: Memory of one row, and of one cell beside its text (bytes).
_ROW_SIZE, _CELL_SIZE = 360, 50


class KeptRows:
    """The rows of a table that are to be kept, up to `most` bytes of memory; `keep` None keeps all."""

    def __init__(self, keep: Callable[[Mapping[str, str]], bool] | None, most: int) -> None:
        self.rows: list[Mapping[str, str]] = []
        self._keep = keep
        self._most = self._left = most

    def begin(self) -> Callable[[Mapping[str, str]], None]:
        """Start over, and return the function that takes the rows."""
        self.rows.clear()
        self._left = self._most
        return self._take

    def _take(self, row: Mapping[str, str]) -> None:
        """Raises TooLong."""
        if self._keep is not None and not self._keep(row):
            return
        self._left -= _ROW_SIZE + sum(_CELL_SIZE + len(value) for value in row.values())
        if self._left < 0:
            raise TooLong(f"more than {self._most // 2**20} MiB of rows")
        self.rows.append(row)


#: Elements of a catalog that stand for a file; the catalog itself has a UID too, that of the series.
_ENTRIES = frozenset({"entry", "dcmEntry"})
#: Limits of a catalog that no real one comes near: bytes of one tag, nesting, different names of elements and
#: attributes. The parser keeps each of these in memory.
_LONGEST_TAG = 1 << 18
_DEEPEST = 32
_MOST_NAMES = 256
#: UIDs of other instances that are kept as examples; a UID has at most 64 characters (PS3.5 9.1).
_EXAMPLES = 10
_LONGEST_UID = 64
#: A longer path (characters) is not kept: no file system has one.
_LONGEST_PATH = 4096
_MD5 = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogEntry:
    """One instance in a DICOM catalog. `path` is relative to the resource, `digest` MD5 in hex or empty."""

    uid: str
    path: str
    digest: str = ""


class Catalog:
    """The entries of DICOM catalogs (xnat-api 2.5): those whose UID is `wanted`, and the number of others.

    `wanted` None takes all. `repeated` counts further entries of a UID that was there before, `nameless` entries
    without a UID. A document type is refused, and with it every entity. No tree is built.
    """

    def __init__(self, wanted: Container[str] | None = None) -> None:
        self.entries: dict[str, CatalogEntry] = {}
        self.others = self.nameless = self.repeated = 0
        self.examples: list[str] = []
        self._wanted = wanted
        self._problem: str | None = None
        self._names: set[str] = set()
        self._depth = 0
        self._fed = 0
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.StartDoctypeDeclHandler = self._refuse

    @property
    def uids(self) -> frozenset[str]:
        """The UIDs of the entries that were taken."""
        return frozenset(self.entries)

    @property
    def total(self) -> int:
        """The number of all entries."""
        return len(self.entries) + self.others + self.nameless + self.repeated

    def add(self, other: Catalog) -> None:
        """Add the entries of another catalog of the same scan."""
        self.repeated += sum(uid in self.entries for uid in other.entries) + other.repeated
        self.entries = {**other.entries, **self.entries}
        self.others += other.others
        self.nameless += other.nameless
        self.examples = [*self.examples, *other.examples][:_EXAMPLES]

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._names.add(tag)
        self._names.update(attributes)
        if self._depth > _DEEPEST or len(self._names) > _MOST_NAMES:
            self._give_up("holds elements that no catalog has")
        elif tag.rpartition(":")[2] in _ENTRIES:
            self._entry(attributes)

    def _entry(self, attributes: dict[str, str]) -> None:
        uid = attributes.get("UID")
        if not uid:
            self.nameless += 1
        elif uid in self.entries:
            self.repeated += 1
        elif self._wanted is None or uid in self._wanted:
            path, digest = attributes.get("URI", ""), attributes.get("digest", "").lower()
            path = path if len(path) <= _LONGEST_PATH else ""
            digest = digest if _MD5.fullmatch(digest) else ""
            self.entries[uid] = CatalogEntry(uid=uid, path=path, digest=digest)
        else:
            self.others += 1
            if len(self.examples) < _EXAMPLES:
                self.examples.append(uid[:_LONGEST_UID])

    def _end(self, _: str) -> None:
        self._depth -= 1

    def _refuse(self, *_: object) -> None:
        self._give_up("holds a document type, which no catalog does")

    def _give_up(self, problem: str) -> None:
        self._problem = problem
        self._parser.StartElementHandler = self._parser.EndElementHandler = None

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        self._fed += len(data)
        self._parse(data, last=False)

    def finish(self) -> None:
        """The response is complete. Raises ValueError, with the reason, when it was no catalog."""
        self._parse(b"", last=True)
        # Parser and handlers hold each other, and with them every entry, until a garbage collection.
        self._parser.StartElementHandler = self._parser.EndElementHandler = self._parser.StartDoctypeDeclHandler = None
        if self._problem is not None:
            raise ValueError(self._problem)

    def _parse(self, data: bytes, *, last: bool) -> None:
        if self._problem is not None:
            return
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as error:
            self._problem = f"is not XML: {expat.ErrorString(error.code)}"
        else:
            if self._fed - self._parser.CurrentByteIndex > _LONGEST_TAG + len(data):
                self._give_up("holds an element that is longer than any of a catalog")
