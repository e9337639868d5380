"""The DICOM files on the sandbox's disk, for tests and for people."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any

from xnatctl_sandbox.receive import part10_reader
from xnatctl_sandbox.receive.dicom_elements import Unreadable, text_of
from xnatctl_sandbox.world.records import DirectRow, Experiment, PrearchiveRow
from xnatctl_sandbox.world.state import State

_SOP_INSTANCE, _SERIES_INSTANCE = 0x00080018, 0x0020000E


def stored_instances(state: State) -> list[dict[str, Any]]:
    """Every DICOM file on disk: its place, its UIDs, its checksums, and whether a catalog knows it."""
    with state.lock:
        found = [entry for row in state.prearchive for entry in _row_instances(row, "prearchive")]
        arriving = set()  # a direct archive may share the folder of a session that was archived meanwhile
        for direct in state.direct:
            arriving |= {direct.directory / path for path in direct.files}
            found += _row_instances(direct, "direct", set(map(direct.directory.joinpath, direct.files)))
        for experiment in state.experiments.values():
            found += _archived(experiment, arriving)
    return found


def _row_instances(row: PrearchiveRow | DirectRow, place: str, among: set[Path] | None = None) -> list[dict[str, Any]]:
    built = row.built if isinstance(row, PrearchiveRow) else None
    entries = []
    for path in sorted(row.directory.glob("SCANS/*/DICOM/*.*")):
        if among is not None and path not in among:
            continue
        relative = path.relative_to(row.directory).as_posix()
        entries.append(
            _instance(path, place, row.project, row.name, path.parts[-3], catalogued=relative in (built or {}))
        )
    return entries


def _archived(experiment: Experiment, arriving: Collection[Path]) -> list[dict[str, Any]]:
    entries = []
    for path in sorted(experiment.directory.glob("SCANS/*/DICOM/*.*")):
        if path in arriving:
            continue
        scan = experiment.scans.get(path.parts[-3])
        known = {name for resource in scan.resources for name in resource.entries} if scan is not None else set()
        entries.append(
            _instance(
                path, "archive", experiment.project, experiment.label, path.parts[-3], catalogued=path.name in known
            )
        )
    return entries


def _instance(
    path: Path, place: str, project: str | None, label: str, scan: str, *, catalogued: bool
) -> dict[str, Any]:
    data = path.read_bytes()
    try:
        ds = part10_reader.read(data, _SERIES_INSTANCE + 1).data_set
    except Unreadable:  # a test has damaged it
        ds = {}
    return {
        "place": place,
        "project": project,
        "session": label,
        "scan": scan,
        "sop_instance_uid": text_of(ds.get(_SOP_INSTANCE)),
        "series_instance_uid": text_of(ds.get(_SERIES_INSTANCE)),
        "sha256": hashlib.sha256(data).hexdigest(),
        "dataset_sha256": hashlib.sha256(data[_dataset_offset(data) :]).hexdigest(),
        "path": str(path),
        "catalogued": catalogued,
    }


def _dataset_offset(data: bytes) -> int:
    """Where the data set of a DICOM file begins: after the file meta information, when there is one (PS3.10, 7.1).

    0 for a file without it, and for one whose file meta information does not begin with its length.
    """
    if data[128:132] != b"DICM" or len(data) < 144:
        return 0
    tag, value = struct.unpack_from("<HH4xI", data, 132)[:2], struct.unpack_from("<I", data, 140)[0]
    return int(144 + value) if tag == (2, 0) else 0
