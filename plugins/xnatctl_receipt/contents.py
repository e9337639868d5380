"""What a receipt says: a header about the upload, and an entry for each file.

Paths, names of files and texts that may hold them are left out unless the user asked for them. Labels that the user
gave are shown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import xnatctl
from xnatctl.api import (
    Difference,
    Exclusion,
    FinishedUpload,
    Outcome,
    Series,
    UploadItem,
    UploadRequest,
    Verification,
)

#: What follows in a reason may name a file: "duplicate of PATH", "damaged: ...", "symbolic link to PATH".
_MORE: Final = re.compile(r"[:;,(\[]| (?:of|to|with|in|below|beside|from) ")
#: Outcomes of files that are on the server, as far as is known.
DELIVERED = frozenset({Outcome.ACCEPTED, Outcome.VERIFIED})


def header_of(
    upload: FinishedUpload,
    request: UploadRequest,
    *,
    paths: bool,
    entries: int,
    earlier: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The header. `earlier` describes the receipts of earlier runs that this one replaces."""
    report = upload.report
    error = report.error
    return {
        "command": report.command,
        "status": str(report.status),
        "exit_code": upload.code,
        "asked": asked_of(request),
        "destination": {**asdict(report.destination), "state": str(report.state), "uri": report.uri},
        "user": upload.user,
        "transport": report.transport,
        "started": _instant(upload.started),
        "ended": _instant(upload.ended),
        "seconds": round(report.seconds, 3),
        "xnatctl": xnatctl.__version__,
        "plugins": [dict(zip(("name", "distribution", "version"), plugin, strict=True)) for plugin in upload.plugins],
        "counts": asdict(report.counts),
        "not_readable": _not_readable(upload),
        "bytes": report.bytes,
        "verification": _verification(report.verification, paths=paths),
        "series": series_of(upload),
        "resources": [
            {
                "title": resource.title,
                "uri": resource.uri,
                "verification": _verification(resource.verification, paths=paths),
            }
            for resource in report.resources
        ],
        "studies": [
            {
                "study_instance_uid": study.study_instance_uid,
                "state": str(study.state),
                "subject": study.subject,
                "session": study.session,
                "uri": study.uri,
                "status": str(study.status) if study.status is not None else None,
            }
            for study in report.studies
        ],
        "skipped": _skipped(report.excluded),
        "warnings": list(report.warnings) if paths else len(report.warnings),
        "error": (error if paths else {"code": error["code"]}) if error is not None else None,
        "paths": paths,
        "sources": (list(report.sources) or [request.path]) if paths else [],
        "earlier": list(earlier),
        "entries": entries,
    }


def asked_of(request: UploadRequest) -> dict[str, str]:
    """The destination as the user named it, by which receipts of the same upload are recognised."""
    where = request.destination
    resource = request.resource.title if request.resource is not None else ""
    return {
        "command": request.command,
        "server": where.server,
        "project": where.project,
        "subject": where.subject,
        "session": where.session,
        "resource": resource,
    }


def entries_of(upload: FinishedUpload, *, paths: bool) -> Iterator[dict[str, Any]]:
    """An entry for each file: instances, files of resources, and files that cannot be sent."""
    report = upload.report
    items = {item.path: item for plan in upload.plans for item in plan.items}
    numbers = {key: number for number, key in enumerate(_series(upload))}
    for number, line in enumerate(report.items, 1):
        item = items.get(line.path)
        delivered = line.outcome in DELIVERED
        entry: dict[str, Any] = {"n": number, "kind": "instance" if line.sop_instance_uid else "file"}
        if line.sop_instance_uid:
            entry["sop_instance_uid"] = line.sop_instance_uid
            entry["series"] = numbers.get(_key(item)) if item is not None else None
        elif line.resource:
            entry["resource"] = line.resource
            if paths and item is not None:
                entry["name"] = item.name
        entry |= {
            "bytes": line.bytes,
            "sha256": upload.digest_of(item) if item is not None and delivered else None,
            "outcome": str(line.outcome),
            "level": str(line.level),
            "sent": ("this run" if line.attempts else "earlier") if delivered else "no",
        }
        if item is not None and item.tail:
            entry["tail"] = item.tail
        if line.reason:
            entry["reason"] = line.reason if paths else public_reason(line.reason, line.path)
        if paths:
            entry["path"] = line.path
        yield entry


def series_of(upload: FinishedUpload) -> list[dict[str, Any]]:
    """The series on disk, each with how many instances are expected, and how many were found on the server.

    Instances of one series that differ in SOP class or transfer syntax have a row for each combination. `found` counts
    those that the receiver accepted where nothing was compared.
    """
    report = upload.report
    rows = _series(upload)
    expected: Counter[Series] = Counter()
    size: Counter[Series] = Counter()
    place: dict[str, Series] = {}
    for plan in upload.plans:
        for item in plan.items:
            if item.sop_instance_uid:
                expected[_key(item)] += 1
                size[_key(item)] += item.size
                place[item.path] = _key(item)
    good = DELIVERED if report.verification.ok is None else frozenset({Outcome.VERIFIED})
    found = Counter(place[line.path] for line in report.items if line.path in place and line.outcome in good)
    return [
        {
            "study_instance_uid": key.study_instance_uid,
            "series_instance_uid": key.series_instance_uid,
            "series_number": key.series_number,
            "modality": key.modality,
            "sop_class_uid": key.sop_class_uid,
            "transfer_syntax_uid": key.transfer_syntax_uid,
            "expected": expected[key],
            "found": found[key],
            "bytes": size[key],
        }
        for key in rows
    ]


def _not_readable(upload: FinishedUpload) -> int:
    """How many files on disk are damaged or cannot be read: the report names them, and no plan sends them."""
    sendable = {item.path for plan in upload.plans for item in plan.items}
    return sum(not line.sop_instance_uid and line.path not in sendable for line in upload.report.items)


def _series(upload: FinishedUpload) -> list[Series]:
    """The series of all plans, in their order."""
    keys = (_key(item) for plan in upload.plans for item in plan.items if item.sop_instance_uid)
    return list(dict.fromkeys(keys))


def _key(item: UploadItem) -> Series:
    return item.series


def _verification(verification: Verification, *, paths: bool) -> dict[str, Any]:
    return {
        "ok": verification.ok,
        "level": str(verification.level),
        "levels": dict(verification.levels),
        "differences": [_difference(entry, paths=paths) for entry in verification.differences],
        "extra": [_difference(entry, paths=paths) for entry in verification.extra],
        "limits": list(verification.limits),
    }


def _difference(entry: Difference, *, paths: bool) -> dict[str, Any]:
    """A difference, without what is empty; its message and path only where paths are wanted."""
    hidden = () if paths else ("message", "path")
    return {name: value for name, value in asdict(entry).items() if name not in hidden and value not in ("", None)}


def _skipped(excluded: Iterable[Exclusion]) -> list[dict[str, Any]]:
    counts = Counter(public_reason(entry.reason, entry.path) for entry in excluded)
    return [{"reason": reason, "files": files} for reason, files in sorted(counts.items())]


def public_reason(reason: str, path: str) -> str:
    """The beginning of a reason, as far as it can hold no name of a file: "duplicate", "damaged", "not DICOM"."""
    first = _MORE.split(reason, maxsplit=1)[0].strip()
    name = path.rpartition("/")[2]
    return "other" if not first or "/" in first or (name and name in first) else first


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
