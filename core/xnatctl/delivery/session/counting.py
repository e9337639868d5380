"""Counts the files of a prearchive session, which lists sizes but no UIDs (xnat-import 6.2)."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from xnatctl.delivery.judgement import Finding, least_size
from xnatctl.delivery.session.stored import by_series
from xnatctl.delivery.session.verify import Comparison
from xnatctl.model.plan import UploadItem
from xnatctl.model.refs import PrearchiveRef
from xnatctl.model.report import LEVELS, Difference, Level, Verification
from xnatctl.model.words import counted
from xnatctl.xnat import prearchive
from xnatctl.xnat.client import XnatClient

_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


def verify_staged(
    client: XnatClient,
    ref: PrearchiveRef,
    items: Sequence[UploadItem],
    *,
    before: Mapping[str, int] | None = _NOTHING,
    exact: bool = False,
    besides: int = 0,
) -> Comparison:
    """Count the files of a built prearchive session.

    `besides` is the number of other files that this upload delivered there before, in any series; then only the total
    is compared.

    XNAT names a scan by its Series Number and shows no UIDs here; if series share a number, only the total is compared.
    `before` is the number of files per scan before the upload, None if not known: if the number did not grow by that of
    the items, it proves nothing, and `ok` is None. Fewer files than items are a difference; additional files belong to
    others.
    """
    verification = Verification()
    sizes = prearchive.scan_file_sizes(client, ref)
    if sizes is None:
        verification.limits = [UNLISTED]
        return Comparison(items=items, findings=bytearray([Finding.UNDECIDED]) * len(items), verification=verification)
    local = by_series(items)
    numbers = [series.number for series in local]
    groups: list[_Staged] = []
    known = set(numbers) <= set(sizes) or set(numbers) >= set(sizes)
    # Another series shares a number: XNAT named one of the two scans like 2-MR1.
    known = known and not any(scan not in numbers and scan.partition("-")[0] in numbers for scan in sizes)
    if not besides and known and len(set(numbers)) == len(numbers):
        for one in local:
            was = None if before is None else before.get(one.number, 0)
            found = sizes.pop(one.number, ())
            groups.append(_Staged(items=one.held, numbers=one.numbers, sizes=found, was=was, uid=one.uid))
        verification.extra = [
            Difference(kind="extra", message=f"scan {scan} is on the server, but its series is not on disk")
            for scan in sizes
        ]
    else:
        every = array("q", (size for some in sizes.values() for size in some))
        was = None if before is None else sum(before.values())
        groups.append(_Staged(items=items, numbers=range(len(items)), sizes=every, was=was, besides=besides))
    findings = bytearray([Finding.UNDECIDED]) * len(items)
    undecided = False
    for group in groups:
        difference = group.difference()
        verification.differences += difference
        verification.extra += group.others()
        if not difference and group.proves:
            for number in group.numbers:
                findings[number] = Finding.COUNTED
        undecided |= not difference and not group.proves
    if exact:
        verification.differences += verification.extra
    verification.ok = False if verification.differences else None if undecided else True
    comparison = Comparison(items=items, findings=findings, verification=verification)
    verification.levels = _by_level(comparison.levels)
    verification.level = Level.NONE if undecided else Level.COUNTED
    verification.limits = [JOINED] if undecided else [_STAGED]
    return comparison


_STAGED: Final = "The prearchive lists no SOP Instance UIDs, so files could only be counted."
UNLISTED: Final = "The prearchive holds a scan whose ID cannot be used in a URL, so its files cannot be listed."
JOINED: Final = (
    "The prearchive lists no SOP Instance UIDs, and this session may hold files of other uploads, so their number "
    "proves nothing."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Staged:
    """Items and the sizes of the files that should include them.

    `was` files were there before the upload; `besides` were delivered by it and are not among the items.
    """

    items: Sequence[UploadItem]
    numbers: Sequence[int]
    sizes: Sequence[int]
    was: int | None
    uid: str = ""
    besides: int = 0

    @property
    def proves(self) -> bool:
        """True if there are as many new files as items."""
        return self.was is not None and len(self.sizes) - self.was == len(self.items) + self.besides

    def difference(self) -> list[Difference]:
        """The difference that shows missing or damaged files; None if there is none."""
        expected, found = len(self.items) + self.besides, len(self.sizes)
        if found < expected:
            others = (
                f" and {self.besides} that were sent before and are not part of this upload" if self.besides else ""
            )
            message = f"{counted(len(self.items), 'instance')} on disk{others}, {counted(found, 'file')} on the server"
        elif self.was == 0 and self.proves and (short := _too_short(self.items, self.sizes, self.besides)):
            message = f"at least {counted(short, 'file')} on the server lost data: fewer bytes than their content"
            found = expected - short
        else:
            return []
        kind = "count" if found == len(self.sizes) else "size"
        return [Difference(kind=kind, message=message, series_instance_uid=self.uid, expected=expected, found=found)]

    def others(self) -> list[Difference]:
        """The additional files, by their number."""
        if (more := len(self.sizes) - len(self.items) - self.besides) <= 0:
            return []
        message = f"{counted(more, 'more file')} on the server than on disk"
        return [Difference(kind="extra", message=message, series_instance_uid=self.uid, found=more)]


def _too_short(items: Sequence[UploadItem], sizes: Sequence[int], besides: int) -> int:
    """The least number of files that must have lost data; `besides` may have any size."""
    if any(size < 0 for size in sizes):
        return 0
    least = sorted([*map(least_size, items), *[0] * besides])
    return sum(1 for size, bound in zip(sorted(sizes), least, strict=True) if size < bound)


def _by_level(levels: Iterable[Level]) -> dict[str, int]:
    numbers = Counter(levels)
    return {str(level): numbers[level] for level in LEVELS if numbers[level]}


def short_series(verification: Verification, items: Sequence[UploadItem]) -> Sequence[UploadItem]:
    """The items that may be missing or damaged on the server: those of incomplete series, or all."""
    short = [d for d in verification.differences if (d.found or 0) < (d.expected or 0)]
    if any(not difference.series_instance_uid for difference in short):
        return items
    uids = {difference.series_instance_uid for difference in short}
    return [item for item in items if item.series_instance_uid in uids]
