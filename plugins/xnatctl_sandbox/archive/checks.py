"""The checks before a session is archived, in XNAT's order (xnat-import 3.4)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from xnatctl_sandbox.world.records import Experiment, PrearchiveRow, Received, Subject
from xnatctl_sandbox.world.state import State

#: Modality -> data types of session and scan.
_TYPES = {
    "MR": "mr", "CT": "ct", "PT": "pet", "US": "us", "CR": "cr", "DX": "dx", "MG": "mg", "NM": "nm", "XA": "xa",
    "RF": "rf", "SR": "sr", "SEG": "seg", "ECG": "ecg", "RTSTRUCT": "rtImage", "RTDOSE": "rtImage", "RTPLAN": "rtImage",
}  # fmt: skip


class ArchiveRefused(Exception):
    """Archiving was refused; `status` is what the importer SI answers."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Policy:
    """What archiving may change in an existing session."""

    merge: bool
    override: bool
    overwrite_files: bool


@dataclass(frozen=True)
class Destination:
    """Where a row goes. `subject` and `existing` are None when archiving has to create them."""

    project: str
    label: str
    subject_label: str
    subject: Subject | None
    existing: Experiment | None


def clean(label: str) -> str:
    """A label as XNAT cleans it (xnat-import 1.6)."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", label)


def session_type(modalities: Iterable[str]) -> str:
    """The data type of a session: that of its most frequent imaging modality."""
    known = Counter(modality for modality in modalities if modality in _TYPES)
    return f"xnat:{_TYPES[known.most_common(1)[0][0]]}SessionData" if known else "xnat:otherDicomSessionData"


def scan_type(modality: str) -> str:
    """The data type of a scan."""
    return f"xnat:{_TYPES[modality]}ScanData" if modality in _TYPES else "xnat:otherDicomScanData"


def study_of(row: PrearchiveRow, files: Mapping[str, Received]) -> str:
    """The StudyInstanceUID of the stored files, which anonymization may have changed."""
    return next((file.study_instance_uid for file in files.values() if file.study_instance_uid), row.tag)


def destination(state: State, row: PrearchiveRow, subject: str | None, label: str | None) -> Destination:
    """Where the row goes: labels cleaned, the subject matched without case, then by ID. Raises ArchiveRefused (2)."""
    if row.project is None:
        raise ArchiveRefused(400, "unable to identify destination project")
    name, wanted = clean(label or row.name), clean(subject or row.subject) or "unknown"
    found = next((s for s in state.subjects_of(row.project) if s.label.lower() == wanted.lower()), None)
    found = found or state.find_subject(row.project, wanted)
    return Destination(row.project, name, wanted, found, state.find_experiment(row.project, name))


def problems(
    state: State, row: PrearchiveRow, files: dict[str, Received], where: Destination, policy: Policy
) -> Iterator[ArchiveRefused]:
    """All reasons to refuse, in XNAT's order."""
    existing = where.existing
    if not files:  # all of it was rejected or dropped (xnat-import 7)
        yield ArchiveRefused(400, "Session is empty: there is nothing to archive")
    if existing is not None:
        yield from _to_existing(state, row, files, where, existing, policy)
    if not policy.override:
        yield from _to_files(row, files)
    if existing is not None:
        yield from _to_same(existing, files, policy)


def _to_existing(
    state: State, row: PrearchiveRow, files: dict[str, Received], where: Destination, existing: Experiment,
    policy: Policy,
) -> Iterator[ArchiveRefused]:  # fmt: skip
    """Checks 4 to 6."""
    change = "Invalid modification of session {} via archive process."
    if not policy.merge:
        yield ArchiveRefused(409, "Session already exists, retry with overwrite enabled")
    if existing.project != where.project:
        yield ArchiveRefused(409, change.format("project"))
    if where.subject is None or where.subject.id != existing.subject_id:
        yield ArchiveRefused(409, change.format("subject"))
    kind = session_type(file.modality for file in files.values())
    if state.site["preventCrossModalityMerge"] and kind != existing.xsi_type:
        yield ArchiveRefused(409, change.format("modality"))
    if existing.uid and existing.uid != study_of(row, files) and not policy.override:
        reason = f"Invalid modification of session UID via archive process: {existing.uid} Already Exists"
        yield ArchiveRefused(409, reason)


def _to_files(row: PrearchiveRow, files: dict[str, Received]) -> Iterator[ArchiveRefused]:
    """Check 8: every file is catalogued, and no instance twice in one catalog."""
    on_disk = Counter(path.parts[-3] for path in row.directory.glob("SCANS/*/DICOM/*") if path.is_file())
    catalogued = Counter(file.scan for file in files.values())
    for scan, count in sorted(on_disk.items()):
        if count > catalogued[scan]:
            reason = f"Scan {scan} has {count - catalogued[scan]} non-DICOM (or non-parsable DICOM) files"
            yield ArchiveRefused(400, reason)
    seen = Counter((file.scan, file.sop_instance_uid) for file in files.values())
    for scan in sorted({scan for (scan, _), count in seen.items() if count > 1}):
        yield ArchiveRefused(400, f"Scan {scan} has duplicate SOP Instance UIDs")


def _to_same(existing: Experiment, files: dict[str, Received], policy: Policy) -> Iterator[ArchiveRefused]:
    """The second half of check 7, which `delete` alone overrides, and check 9."""
    if not policy.override:
        series = {scan.uid: scan.id for scan in existing.scans.values() if scan.uid}
        moved = {
            file.scan: number
            for file in files.values()
            if (number := series.get(file.series_instance_uid, file.scan)) != file.scan
        }
        for scan, number in sorted(moved.items()):
            yield ArchiveRefused(409, f"Scan {scan} is known as {number} already")
    if policy.override or policy.overwrite_files:
        return
    theirs = {entry.uid for scan in existing.scans.values() for r in scan.resources for entry in r.entries.values()}
    if theirs & {file.sop_instance_uid for file in files.values()}:
        yield ArchiveRefused(409, "Session already exists with the same resources.")
    for path, file in files.items():
        held = existing.scans.get(file.scan)
        if held is not None and held.uid == file.series_instance_uid and (existing.directory / path).exists():
            yield ArchiveRefused(409, "Session already exists with matching files.")
            return
