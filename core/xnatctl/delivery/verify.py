"""Is what was on disk on the server? Compared by UID where the server shows UIDs, else by count, per series.

Levels (DESIGN 5, "Verifying"): `counted` = as many files per series, `uid` = the same set of SOP Instance UIDs.
The UIDs are in the DICOM catalogs (contract xnat-api 2.5); the prearchive shows counts only (xnat-import 6.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xnatctl.model.plan import UploadItem
from xnatctl.model.refs import PrearchiveRef
from xnatctl.model.report import Difference, Level, Verification
from xnatctl.model.sequences import marked, places, select
from xnatctl.xnat import listing, prearchive
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.listing import ScanInfo
from xnatctl.xnat.rows import Catalog


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One series on disk; `numbers` are the places of what it holds among the items that it was made of."""

    uid: str
    number: str
    held: Sequence[UploadItem]
    numbers: Sequence[int]


def by_series(items: Sequence[UploadItem]) -> tuple[Series, ...]:
    """The series of the items, in their order."""
    series = []
    for uid, numbers in places(items, lambda item: item.series_instance_uid).items():
        held = select(items, numbers)
        series.append(Series(uid=uid, number=held[0].series_number, held=held, numbers=numbers))
    return tuple(series)


def verify_archived(
    client: XnatClient, session_id: str, items: Sequence[UploadItem], *, was_there: bool = False
) -> Verification:
    """Compare an archived session with the items.

    `was_there`: the session held other data before, so more than was sent is no difference.
    """
    scans = listing.scans(client, session_id)
    counts = listing.dicom_file_counts(client, session_id)
    by_uid: dict[str, list[ScanInfo]] = {}
    for scan in scans:
        by_uid.setdefault(scan.uid, []).append(scan)
    verification = Verification(level=Level.UID)
    local = by_series(items)
    for series in local:
        own = by_uid.pop(series.uid, [])
        found = Catalog()
        wanted = frozenset(item.sop_instance_uid for item in series.held)
        for scan in own:
            found.add(listing.dicom_catalog(client, session_id, scan.id, wanted))
        counted = sum(counts.get(scan.id, 0) for scan in own)
        level = _compare_series(series, found, counted, verification.differences, was_there=was_there)
        if level is Level.COUNTED:
            verification.level = Level.COUNTED
    if not was_there:
        verification.differences += [_stranger(scan) for others in by_uid.values() for scan in others]
    verification.differences = _name_remapped(verification.differences)
    verification.ok = not verification.differences
    return verification


def _compare_series(
    series: Series, found: Catalog, counted: int, differences: list[Difference], *, was_there: bool
) -> Level:
    """Add what differs in one series; returns how closely it was looked at."""
    if len(found.entries) + found.others < counted:
        # Entries without a UID: the catalog cannot say which instances these are, only how many.
        return _compare_counts(series, counted, differences, was_there=was_there)
    differences += [
        _missing(series, item, "not found on the server")
        for item in series.held
        if item.sop_instance_uid not in found.entries
    ]
    if not was_there:
        differences += [
            Difference(
                kind="extra",
                message="on the server, but not on disk",
                series_instance_uid=series.uid,
                sop_instance_uid=uid,
            )
            for uid in sorted(found.examples)
        ]
        if (more := found.others - len(found.examples)) > 0:
            message = f"{more} more instances are on the server, but not on disk"
            differences.append(Difference(kind="extra", message=message, series_instance_uid=series.uid))
    return Level.UID


def _compare_counts(series: Series, counted: int, differences: list[Difference], *, was_there: bool) -> Level:
    expected = len(series.held)
    if counted < expected or (counted > expected and not was_there):
        differences.append(
            Difference(
                kind="count",
                message=f"{expected} instances on disk, {counted} files on the server",
                series_instance_uid=series.uid,
                expected=expected,
                found=counted,
            )
        )
    return Level.COUNTED


def verify_staged(client: XnatClient, ref: PrearchiveRef, items: Sequence[UploadItem]) -> Verification:
    """Compare a built prearchive session with the items, by count.

    XNAT names a scan by its Series Number, and shows no UIDs here; where numbers do not tell the series apart, only
    the total is compared.
    """
    counts = prearchive.scan_file_counts(client, ref)
    local = by_series(items)
    verification = Verification(level=Level.COUNTED)
    numbers = [series.number for series in local]
    if len(set(numbers)) == len(numbers) and set(numbers) >= set(counts):
        for series in local:
            _compare_counts(series, counts.get(series.number, 0), verification.differences, was_there=False)
    elif (total := sum(counts.values())) != len(items):
        verification.differences.append(
            Difference(
                kind="count",
                message=f"{len(items)} instances on disk, {total} files on the server",
                expected=len(items),
                found=total,
            )
        )
    verification.ok = not verification.differences
    return verification


def short_series(verification: Verification, items: Sequence[UploadItem]) -> Sequence[UploadItem]:
    """The items that may be missing on the server: those of the series that came up short, or all."""
    short = [d for d in verification.differences if (d.found or 0) < (d.expected or 0)]
    if any(not difference.series_instance_uid for difference in short):
        return items
    uids = {difference.series_instance_uid for difference in short}
    return marked(items, (item.series_instance_uid in uids for item in items)) if uids else ()


def _missing(series: Series, item: UploadItem, message: str) -> Difference:
    return Difference(
        kind="missing",
        message=message,
        series_instance_uid=series.uid,
        sop_instance_uid=item.sop_instance_uid,
        path=item.path,
    )


def _stranger(scan: ScanInfo) -> Difference:
    return Difference(
        kind="extra",
        message=f"scan {scan.id} is on the server, but its series is not on disk",
        series_instance_uid=scan.uid,
    )


def _name_remapped(differences: list[Difference]) -> list[Difference]:
    """All missing and as many strangers: anonymisation gave the instances other UIDs; say so instead."""
    missing = [d for d in differences if d.kind == "missing"]
    extra = [d for d in differences if d.kind == "extra"]
    if not missing or not extra:
        return differences
    return [
        Difference(
            kind="remapped" if d.kind == "missing" else d.kind,
            message=f"{d.message}; the server holds unknown UIDs instead, as an anonymisation script would make them"
            if d.kind == "missing"
            else d.message,
            series_instance_uid=d.series_instance_uid,
            sop_instance_uid=d.sop_instance_uid,
            path=d.path,
        )
        for d in differences
    ]
