"""Compares instances on disk with a session on the server: by SOP Instance UID, stored size and, if asked for, MD5.

An archived session shows the UIDs in the DICOM catalogs of its scans, and sizes and sums in one listing of its files
(xnat-api 2.5). Both must agree; otherwise nothing is verified. `judgement` interprets sizes and sums; `counting` counts
files in the prearchive.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from xnatctl.delivery.judgement import (
    ABSENT,
    COUNTED,
    DIFFERENT,
    SAME,
    UNDECIDED,
    UNKNOWN,
    Finding,
    judge,
    least_size,
    places_of,
)
from xnatctl.delivery.session.contents import compare_contents
from xnatctl.delivery.session.stored import Series, Stored, read_listings
from xnatctl.errors import SourceChanged
from xnatctl.inventory.sources import content_hash
from xnatctl.model.plan import UploadItem
from xnatctl.model.report import LEVELS, SIZE_LIMIT, Difference, Level, Verification
from xnatctl.model.words import counted
from xnatctl.xnat.client import XnatClient


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """How to compare.

    `was_there`: the session held other data before, so file counts prove nothing. `exact`: additional files on the
    server are a difference. `checksum`: read the disk again and compare MD5 if the stored size is equal, and read
    stored files where MD5 cannot decide. `final`:
    nothing is sent again, so a suspicious size or sum is accepted as produced by the server. `seen` returns the earlier
    `stored_as` of an item that was sent again; None if it was not. `sum_of` returns the MD5 of a file on disk in hex,
    and raises SourceChanged.
    """

    was_there: bool = False
    exact: bool = False
    checksum: bool = False
    final: bool = False
    seen: Callable[[UploadItem], str | None] = lambda _: None
    sum_of: Callable[[UploadItem], str] = lambda item: content_hash(item, "md5")


@dataclass(kw_only=True)
class Comparison:
    """The result, with a `Finding` for each item; `stored` are the listings of an archived session."""

    items: Sequence[UploadItem]  # what was compared
    findings: bytearray  # one `Finding` per item, by place
    verification: Verification  # the result for the report
    stored: Stored | None = None

    @property
    def suspects(self) -> Sequence[int]:
        """The indexes of the items that are there and that sending again may repair or explain."""
        return array("I", places_of(self.findings, lambda finding: finding.suspicious))

    @property
    def levels(self) -> Iterator[Level]:
        """The level of each item."""
        return (Finding(finding).level for finding in self.findings)

    def stored_as(self, place: int) -> str:
        """Size and sum of the stored file of an item as text, which the journal stores before it is sent again."""
        return self.stored.as_text(place) if self.stored is not None else ""


def verify_archived(
    client: XnatClient, session_id: str, items: Sequence[UploadItem], wanted: Wanted | None = None
) -> Comparison:
    """Compare an archived session with the items. Asks twice for the session and for each scan of a series on disk."""
    wanted = wanted or Wanted()
    stored = read_listings(client, session_id, items, sums=wanted.checksum)
    _count(stored, stored.series, was_there=wanted.was_there)
    sums = _sums(items, stored, wanted.sum_of) if wanted.checksum else b""
    findings = judge(
        items,
        stored.sizes,
        sums=sums,
        again=range(len(items)) if wanted.final else _Resent(items, stored, wanted.seen),
    )
    verification = Verification(extra=stored.extra)
    compared = 0
    if wanted.checksum and not stored.contradictions:
        compared = compare_contents(client, session_id, stored, items, findings)
    if stored.contradictions:
        findings = bytearray(len(items))
        verification.differences = stored.contradictions
    else:
        verification.differences = [*stored.undecided, *differences_of(items, stored.sizes, findings)]
        if not wanted.was_there:
            _name_remapped(verification)
    if wanted.exact:
        verification.differences += verification.extra
    conclude(verification, findings)
    if wanted.checksum:
        verification.limits += [*_of_sums(sums), *_of_contents(compared)]
    return Comparison(items=items, stored=stored, findings=findings, verification=verification)


# what that means


def _count(stored: Stored, series: Sequence[Series], *, was_there: bool) -> None:
    """Count the instances of a series whose catalog shows no UIDs, if it cannot contain other files."""
    for one in series:
        absent = [number for number in one.numbers if stored.sizes[number] == ABSENT]
        if not absent or stored.nameless[one.uid] < len(absent):
            continue
        files = sum(stored.files[scan.id] for scan in stored.scans[one.uid])
        if files == len(one.held) and not was_there:
            for number in absent:
                stored.sizes[number] = COUNTED
            continue
        for number in absent:
            stored.sizes[number] = UNDECIDED
        message = (
            f"{counted(len(one.held), 'instance')} on disk, {counted(files, 'file')} on the server, whose catalog "
            "shows no SOP Instance UIDs, so they cannot be identified"
        )
        stored.undecided.append(
            Difference(kind="count", message=message, series_instance_uid=one.uid, expected=len(one.held), found=files)
        )


class _Resent:
    """The indexes of items that were sent again once and are stored as before."""

    def __init__(self, items: Sequence[UploadItem], stored: Stored, seen: Callable[[UploadItem], str | None]) -> None:
        self._items = items
        self._stored = stored
        self._seen = seen

    def __contains__(self, place: object) -> bool:
        assert isinstance(place, int)
        size, _, sum_ = (self._seen(self._items[place]) or "").partition(" ")
        now = self._stored.sum_of(place)
        return size == str(self._stored.sizes[place]) and (sum_ == now or not sum_ or not now)


def _sums(items: Sequence[UploadItem], stored: Stored, sum_of: Callable[[UploadItem], str]) -> bytearray:
    """Compare the MD5 of the files on disk where the stored size is equal and the server lists a sum."""
    known = bytearray(len(items))
    for place, (item, size) in enumerate(zip(items, stored.sizes, strict=True)):
        if size != item.size or not (sum_ := stored.sum_of(place)):
            continue
        try:
            known[place] = SAME if sum_of(item) == sum_ else DIFFERENT
        except SourceChanged:
            known[place] = UNKNOWN
    return known


def differences_of(items: Sequence[UploadItem], sizes: Sequence[int], findings: Sequence[int]) -> Iterator[Difference]:
    """The differences of all items that are not proven; `sizes` are those of the stored files."""
    wrong = places_of(findings, lambda finding: finding.level is Level.NONE and finding is not Finding.UNDECIDED)
    for place in wrong:
        item, size = items[place], sizes[place]
        kind, message = _words(Finding(findings[place]), item, size)
        yield Difference(
            kind=kind,
            message=message,
            series_instance_uid=item.series_instance_uid,
            sop_instance_uid=item.sop_instance_uid,
            path=item.path,
            expected=item.size if size >= 0 else None,
            found=size if size >= 0 else None,
        )


def _words(finding: Finding, item: UploadItem, size: int) -> tuple[str, str]:
    if finding is Finding.LOST:
        lost = least_size(item) - size
        return "size", f"lost data: {counted(size, 'byte')} on the server, at least {lost} fewer than its content has"
    if finding is Finding.ODD:
        change = "shorter" if size < item.size else "longer"
        by = counted(abs(size - item.size), "byte")
        return "size", f"is {by} {change} on the server than on disk, unlike comparable instances"
    if finding is Finding.OTHER:
        return "checksum", "is of the same size on the server, but its MD5 differs, unlike that of comparable instances"
    if finding is Finding.ALTERED:
        return "checksum", "was read from the server, and its content behind the header is not that of the file on disk"
    if finding is Finding.DOUBTED:
        return "checksum", "may differ on the server, as the content of another instance of its series does"
    return "missing", "not found on the server"


def _name_remapped(verification: Verification) -> None:
    """Explain missing instances if unknown ones are there: anonymisation may have changed the UIDs."""
    if not verification.extra:
        return
    verification.differences = [
        difference
        if difference.kind != "missing"
        else Difference(
            kind="remapped",
            message=f"{difference.message}; the server holds unknown UIDs instead, as after an anonymisation script",
            series_instance_uid=difference.series_instance_uid,
            sop_instance_uid=difference.sop_instance_uid,
            path=difference.path,
        )
        for difference in verification.differences
    ]


def conclude(verification: Verification, findings: Sequence[int]) -> None:
    """Fill in `ok`, `level`, `levels` and `limits`."""
    kinds = {Finding(finding): number for finding, number in Counter(findings).items()}
    levels = Counter[Level]()
    for finding, number in kinds.items():
        levels[finding.level] += number
    reached = [level for level in LEVELS if level is not Level.NONE and levels[level]]
    contradicted = any(difference.kind == "contradiction" for difference in verification.differences)
    verification.ok = not verification.differences
    verification.level = Level.NONE if contradicted else reached[0] if reached else Level.UID
    verification.levels = {str(level): levels[level] for level in LEVELS if levels[level]}
    verification.limits = list(_limits(kinds, levels))


def _limits(numbers: Mapping[Finding, int], levels: Mapping[Level, int]) -> Iterator[str]:
    kinds = Counter(numbers)
    if number := levels[Level.COUNTED]:
        yield f"{counted(number, 'instance')} could only be counted: the server lists no SOP Instance UIDs for them."
    if number := kinds[Finding.UNSIZED]:
        yield f"{counted(number, 'instance')} could not be compared by size: the server lists no size."
    if number := kinds[Finding.MADE]:
        yield (
            f"{counted(number, 'instance')} are stored with a size that differs from the rest of their series, "
            "which sending again does not change: only the SOP Instance UID is proven."
        )
    if number := kinds[Finding.GROWN]:
        yield (
            f"{counted(number, 'instance')} are longer on the server than on disk, as after decompression or "
            "rewritten headers: only the SOP Instance UID is proven."
        )
    if number := kinds[Finding.SHIFTED]:
        yield (
            f"{counted(number, 'instance')} changed their size by the same amount as their series, but it is not "
            "known how much of each must be kept: only the SOP Instance UID is proven."
        )
    if levels[Level.SIZE]:
        yield SIZE_LIMIT


def _of_sums(sums: Sequence[int]) -> Iterator[str]:
    """State how many instances MD5 could decide."""
    decided = sum(1 for sum_ in sums if sum_ != UNKNOWN)
    if decided < len(sums):
        yield (
            f"MD5 could be compared for {decided:,} of {counted(len(sums), 'instance')}; for the others the server "
            "changed the size or lists no MD5."
        )


def _of_contents(compared: int) -> Iterator[str]:
    """State that stored files were read where MD5 could not decide."""
    if compared:
        yield (
            f"{counted(compared, 'stored file')} {'was' if compared == 1 else 'were'} read and compared behind the "
            "header, one for each series whose MD5 cannot decide."
        )
