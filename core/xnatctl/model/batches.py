"""Divides items into batches: by series, then by size."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

from xnatctl.model.plan import Batch, UploadItem

#: A batch is the unit of failure, so it is limited to a size that can be sent again.
MAX_BATCH_BYTES = 256 * 2**20
MAX_BATCH_FILES = 1000
#: A batch may exceed its even share by this factor to end where its series ends.
_SLACK = 1.25
#: A valid Series Number; the standard allows twelve characters (PS3.5 6.2, IS).
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


def cut_batches(
    items: Sequence[UploadItem],
    workers: int,
    *,
    max_bytes: int = MAX_BATCH_BYTES,
    max_files: int = MAX_BATCH_FILES,
) -> list[Batch]:
    """Divide items into batches: by series, then by size (bytes) and number of files.

    The first batch is the smallest item alone, because its answer determines the session for all others. There are
    at least as many further batches as workers, if there are enough files. Equal input gives equal batches. An item
    larger than `max_bytes` gets its own batch.
    """
    if not items:
        return []
    first = min(items, key=lambda item: (item.size, item.path))
    series = _by_series(item for item in items if item is not first)
    groups = [[first]]
    if left := len(items) - 1:
        total = sum(item.size for item in items) - first.size
        target_bytes = max(1, min(max_bytes, math.ceil(_SLACK * total / workers)))
        target_files = max(1, min(max_files, math.ceil(_SLACK * left / workers)))
        groups += _split_to(list(_fill(series, target_bytes, target_files)), min(workers, left))
    return [Batch(id=_batch_id(number, group), items=tuple(group)) for number, group in enumerate(groups)]


def _by_series(items: Iterable[UploadItem]) -> list[list[UploadItem]]:
    """The series in order, the items of each by path."""
    found: dict[tuple[str, int, str], list[UploadItem]] = {}
    for item in items:
        found.setdefault(_series_order(item), []).append(item)
    return [sorted(found[key], key=attrgetter("path")) for key in sorted(found)]


def _series_order(item: UploadItem) -> tuple[str, int, str]:
    number = int(item.series_number) if _NUMBER.fullmatch(item.series_number) else 0
    return (item.study_instance_uid, number, item.series_instance_uid)


def _fill(series: Iterable[list[UploadItem]], target_bytes: int, target_files: int) -> Iterator[list[UploadItem]]:
    """Groups up to the targets; a new series begins a new group if the current one is at least half full."""
    group: list[UploadItem] = []
    size = 0
    for one in series:
        if 2 * size >= target_bytes or 2 * len(group) >= target_files:
            yield group
            group, size = [], 0
        for item in one:
            if group and (size + item.size > target_bytes or len(group) >= target_files):
                yield group
                group, size = [], 0
            group.append(item)
            size += item.size
    if group:
        yield group


def _split_to(groups: list[list[UploadItem]], wanted: int) -> list[list[UploadItem]]:
    """Halve the longest group until there is one for each worker."""
    while len(groups) < wanted:
        place = max(range(len(groups)), key=lambda number: len(groups[number]))
        middle = len(groups[place]) // 2
        groups[place : place + 1] = [groups[place][:middle], groups[place][middle:]]
    return groups


def _batch_id(number: int, group: Sequence[UploadItem]) -> str:
    if len(group) == 1 and group[0].sop_instance_uid:
        return group[0].sop_instance_uid  # the file name can be long; the UID identifies the batch too
    digest = hashlib.sha256("\n".join(item.name for item in group).encode("utf-8", "surrogateescape"))
    return f"{number:05d}-{digest.hexdigest()[:12]}"


def halve(batch: Batch) -> tuple[Batch, Batch]:
    """The two halves of a batch that was too large; their IDs extend that of the batch."""
    middle = len(batch.items) // 2
    return (
        Batch(id=f"{batch.id}a", items=batch.items[:middle]),
        Batch(id=f"{batch.id}b", items=batch.items[middle:]),
    )
