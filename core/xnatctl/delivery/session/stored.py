"""Reads the listings of an archived session: for each instance, whether it is there, its stored size and MD5.

The UIDs are in the DICOM catalogs of the scans, sizes and sums in one listing of all files (xnat-api 2.5).
The two are joined by scan and path; if they contradict each other, neither is used.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from xnatctl.delivery.judgement import ABSENT, UNSIZED
from xnatctl.model.plan import UploadItem
from xnatctl.model.report import Difference
from xnatctl.model.words import counted
from xnatctl.xnat import listing
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.http.parsers import Catalog
from xnatctl.xnat.http.responses import whole_number
from xnatctl.xnat.listing import ScanInfo
from xnatctl.xnat.prearchive import DICOM_LABELS

#: Entries of `Stored.extra` that name one instance each; more are counted.
_NAMED: Final = 100
#: Bytes of an MD5.
_SUM: Final = 16
_NO_SUM: Final = bytes(_SUM)


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One series on disk; `numbers` are the indexes of its instances among the items."""

    uid: str
    number: str
    held: Sequence[UploadItem]
    numbers: Sequence[int]


def by_series(items: Sequence[UploadItem]) -> tuple[Series, ...]:
    """The series of the items, in their order."""
    found: dict[str, array[int]] = {}
    for number, item in enumerate(items):
        found.setdefault(item.series_instance_uid, array("I")).append(number)
    series = []
    for uid, numbers in found.items():
        held = [items[number] for number in numbers]
        series.append(Series(uid=uid, number=held[0].series_number, held=held, numbers=numbers))
    return tuple(series)


@dataclass(kw_only=True)
class Stored:
    """The listings of an archived session for some items.

    `series` are those of the items. `sizes` are in bytes, or ABSENT, UNSIZED, COUNTED, UNDECIDED. `scans` are those of
    each series on disk, `nameless` counts by series the catalog entries without a UID, `files` the files by scan.
    """

    series: Sequence[Series]
    sizes: array[int]
    sums: bytearray = field(default_factory=bytearray)
    scans: Mapping[str, Sequence[ScanInfo]] = field(default_factory=dict)
    nameless: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    extra: list[Difference] = field(default_factory=list)
    contradictions: list[Difference] = field(default_factory=list)
    undecided: list[Difference] = field(default_factory=list)

    def sum_of(self, place: int) -> str:
        """The MD5 that the server lists, in hex; empty when it lists none."""
        sum_ = self.sums[_SUM * place : _SUM * (place + 1)]
        return sum_.hex() if sum_ not in (b"", _NO_SUM) else ""

    def as_text(self, place: int) -> str:
        """Size and sum as text, for comparison with a later listing."""
        return f"{self.sizes[place]} {self.sum_of(place)}".strip()


def read_listings(client: XnatClient, session_id: str, items: Sequence[UploadItem], *, sums: bool = False) -> Stored:
    """Read the catalogs of the scans that may hold the items, and the listing of all files."""
    by_uid: dict[str, list[ScanInfo]] = {}
    scans = listing.scans(client, session_id)
    names = listing.scan_names(scans)
    for scan in scans:
        by_uid.setdefault(scan.uid, []).append(scan)
    series = by_series(items)
    stored = Stored(
        series=series,
        sizes=array("q", [ABSENT]) * len(items),
        sums=bytearray(_SUM * len(items) if sums else 0),
        scans={one.uid: by_uid.pop(one.uid, []) for one in series},
    )
    files = _Files(stored)
    others = 0
    for one in series:
        wanted = {item.sop_instance_uid: number for number, item in zip(one.numbers, one.held, strict=True)}
        for scan in stored.scans[one.uid]:
            if (name := names[scan.id]) is None:
                files.expect_uncatalogued(scan.id, one.uid)
                continue
            catalog = listing.dicom_catalog(client, session_id, name, wanted)
            files.expect(scan.id, catalog, wanted)
            stored.nameless[one.uid] += catalog.nameless
            others += _add_extra(stored.extra, one.uid, catalog, others)
    if by_uid or any(stored.scans.values()):  # a server answers 500 for the files of a session without scans
        listing.each_file(client, session_id, files.take)
    files.close()
    stored.extra += [_extra_scan(scan) for scans in by_uid.values() for scan in scans]
    return stored


class _Files:
    """Joins the entries of the catalogs with the rows of the listing of files, by scan and path."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        # A hash of scan and path of each entry, and the index of its item; a dictionary would need half the memory of
        # the items.
        self._hashes, self._places = array("q"), array("I")
        self._entries: dict[str, int] = {}
        self._uncatalogued: dict[str, str] = {}
        self._matched = bytearray()
        self._unplaced = 0
        self._resource = self._scan = ""

    def expect(self, scan: str, catalog: Catalog, wanted: Mapping[str, int]) -> None:
        """Add the entries of a scan's catalog; `wanted` gives the index of a UID among the items."""
        self._entries[scan] = self._entries.get(scan, 0) + catalog.total
        stored = self._stored
        for uid, entry in catalog.entries.items():
            place = wanted[uid]
            if stored.sizes[place] != ABSENT:
                message = f"is stored twice, the second time in scan {scan}"
                stored.extra.append(Difference(kind="extra", message=message, sop_instance_uid=uid))
            stored.sizes[place] = UNSIZED
            self._hashes.append(_hash(scan, entry.path))
            self._places.append(place)

    def expect_uncatalogued(self, scan: str, series: str) -> None:
        """Count the files of a scan whose ID cannot be used in a URL, so that its catalog cannot be read."""
        self._uncatalogued[scan] = series

    def take(self) -> Callable[[Mapping[str, str]], None]:
        """Begin the listing, possibly again after it was cut off."""
        stored = self._stored
        stored.files.clear()
        order = sorted(range(len(self._hashes)), key=self._hashes.__getitem__)
        self._hashes = array("q", map(self._hashes.__getitem__, order))
        self._places = array("I", map(self._places.__getitem__, order))
        self._unplaced = 0
        self._matched = bytearray(len(stored.sizes))
        for place in self._places:
            stored.sizes[place] = UNSIZED
        return self._add

    def _add(self, row: Mapping[str, str]) -> None:
        if row.get("collection") not in DICOM_LABELS:
            return
        resource, _, path = row.get("URI", "").partition("/files/")
        if resource != self._resource:  # the files of a resource are consecutive
            self._resource, self._scan = resource, listing.scan_of(resource)
        if not self._scan:
            self._unplaced += 1
        elif self._scan in self._uncatalogued:
            self._stored.files[self._scan] += 1
        elif self._scan in self._entries:
            stored = self._stored
            stored.files[self._scan] += 1
            wanted = _hash(self._scan, path)
            at = bisect_left(self._hashes, wanted)
            if at == len(self._hashes) or self._hashes[at] != wanted:
                return
            place = self._places[at]
            self._matched[place] = 1
            if (size := whole_number(row.get("Size", ""))) is not None:
                stored.sizes[place] = size
            if stored.sums:
                stored.sums[_SUM * place : _SUM * (place + 1)] = _binary(row.get("digest", ""))

    def close(self) -> None:
        """End the listing and find contradictions with the catalogs."""
        if self._unplaced:
            return  # a listing without scans proves nothing
        stored = self._stored
        for scan, series in self._uncatalogued.items():
            stored.nameless[series] += stored.files[scan]
        for scan, entries in self._entries.items():
            if (files := stored.files[scan]) != entries:
                message = f"scan {scan} has {counted(files, 'file')} and {counted(entries, 'catalog entry')}"
                stored.contradictions.append(
                    Difference(kind="contradiction", message=message, expected=entries, found=files)
                )
        lost = sum(1 for place in set(self._places) if not self._matched[place])
        if lost and not stored.contradictions:
            message = f"the listing of files lacks {counted(lost, 'file')} that the catalogs name"
            stored.contradictions.append(Difference(kind="contradiction", message=message, found=lost))


def _hash(scan: str, path: str) -> int:
    """A hash of scan and path of a file; collisions are improbable."""
    return hash(f"{scan}/{unquote(path)}")


def _binary(digest: str) -> bytes:
    try:
        sum_ = bytes.fromhex(digest)
    except ValueError:
        return _NO_SUM
    return sum_ if len(sum_) == _SUM else _NO_SUM


def _add_extra(extra: list[Difference], series: str, catalog: Catalog, before: int) -> int:
    """Add entries of a catalog that are not in the series on disk; returns how many were named."""
    named = list(catalog.examples)[: max(0, _NAMED - before)]
    extra += [
        Difference(
            kind="extra",
            message="on the server, but not on disk",
            series_instance_uid=series,
            sop_instance_uid=uid,
        )
        for uid in sorted(named)
    ]
    if more := catalog.others + catalog.repeated - len(named):
        message = f"{counted(more, 'more instance')} on the server, but not on disk"
        extra.append(Difference(kind="extra", message=message, series_instance_uid=series, found=more))
    return len(named)


def _extra_scan(scan: ScanInfo) -> Difference:
    return Difference(
        kind="extra",
        message=f"scan {scan.id} is on the server, but its series is not on disk",
        series_instance_uid=scan.uid,
    )
