"""Compares a receipt with files on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from xnatctl.api import SourceChanged, UploadItem, content_hash
from xnatctl.api.commands import scan_files, scan_paths
from xnatctl_receipt.chain import Receipt
from xnatctl_receipt.problems import Problem

_NO_DIGEST: Final = "the receipt has no digest to compare it with: the file could not be read when it was written"


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskResult:
    """How many files of the receipt are on disk as they were sent, how many it lists, and what is on disk besides."""

    equal: int
    listed: int
    extra: Sequence[str]  # paths
    none_there: bool  # none of the listed files is there, unchanged or changed
    problems: Sequence[Problem]


def compare_disk(receipt: Receipt, paths: Sequence[str], *, follow_symlinks: bool, large_archive: bool) -> DiskResult:
    """Read every listed file below some paths, and compare its SHA-256. Raises the errors of the inventory."""
    complete = receipt.header["status"] == "complete"  # an interrupted upload reads nothing for its receipt
    listed = [entry for entry in receipt.entries if entry["sent"] != "no" and (complete or entry["sha256"])]
    instances = {str(entry["sop_instance_uid"]): entry for entry in listed if entry["kind"] == "instance"}
    files = [entry for entry in listed if entry["kind"] == "file"]
    inventory = scan_paths(paths, follow_symlinks=follow_symlinks, large_archive=large_archive)
    found = {item.sop_instance_uid: item for item in inventory.items}
    problems = [problem for uid, entry in instances.items() for problem in _instance(uid, entry, found.get(uid))]
    extra = [item.path for uid, item in found.items() if uid not in instances]
    others: Sequence[UploadItem] = ()
    none_there = not found.keys() & instances.keys()
    if files:
        alone = not instances
        own = (item for path in paths for item in scan_files(path, follow_symlinks=follow_symlinks, hidden=True).items)
        others = tuple(own) if alone else inventory.others
        missing, rest = _files(files, others)
        problems += missing
        none_there = none_there and len(missing) == len(files)
        extra += rest if alone else []
    equal = len(listed) - len(problems)
    unusable = [*inventory.invalid, *inventory.unreadable] if instances else []
    if any(uid not in found for uid in instances):  # one of these may be what is missing
        problems += [Problem(where="disk", message=entry.reason, path=entry.path) for entry in unusable]
    else:
        extra += [entry.path for entry in unusable]
    return DiskResult(
        equal=equal, listed=len(listed), extra=extra, none_there=none_there and bool(listed), problems=problems
    )


def _instance(uid: str, entry: Mapping[str, Any], item: UploadItem | None) -> Iterator[Problem]:
    if item is None:
        yield Problem(
            where="disk", message="the instance is not there", sop_instance_uid=uid, path=entry.get("path", "")
        )
    elif not entry["sha256"]:
        yield Problem(where="disk", message=_NO_DIGEST, sop_instance_uid=uid, path=item.path)
    elif item.size != entry["bytes"] or _digest(item) != entry["sha256"]:
        yield Problem(where="disk", message="its content is not what was sent", sop_instance_uid=uid, path=item.path)


def _files(entries: Sequence[Mapping[str, Any]], items: Sequence[UploadItem]) -> tuple[list[Problem], list[str]]:
    """Files that are not DICOM have no UID: each listed content must be there, under any name."""
    problems = [
        Problem(where="disk", message=f"entry {entry['n']}: {_NO_DIGEST}", path=entry.get("path", ""))
        for entry in entries
        if not entry["sha256"]
    ]
    entries = [entry for entry in entries if entry["sha256"]]
    sizes = {entry["bytes"] for entry in entries}
    wanted = Counter(str(entry["sha256"]) for entry in entries)
    rest = []
    for item in items:
        digest = _digest(item) if item.size in sizes else None
        if digest is not None and wanted[digest] > 0:
            wanted[digest] -= 1
        else:
            rest.append(item.path)
    for entry in entries:
        digest = str(entry["sha256"])
        if wanted[digest] > 0:
            wanted[digest] -= 1
            name = entry.get("path") or f"entry {entry['n']}"
            message = f"no file has the content of {name} of resource {entry.get('resource', '')}"
            problems.append(Problem(where="disk", message=message, path=entry.get("path", "")))
    return problems, rest


def _digest(item: UploadItem) -> str | None:
    """SHA-256 of a file; None if it cannot be read."""
    try:
        return content_hash(item)
    except SourceChanged:
        return None
