"""One DICOM object on its way in: project, label, row, scan folder, file name, lock, write (contract xnat-import 4.1).

Used for every entry of DICOM-zip and for gradual-DICOM.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from .answers import StatusError
from .routing import COMMENTS, Header, Routing
from .rows import Rows
from .state import DirectRow, PrearchiveRow, Received, State
from .streams import Damaged, Readable, dataset_offset
from .switches import Switches
from .wishes import Wish

_BLOCK = 1 << 18
_LAST_HEADER_GROUP = 0x0032
_TAGS = (
    "SOPClassUID", "SOPInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "Modality", "StudyDescription",
    "SeriesDescription", "PatientName", "PatientID", "StudyInstanceUID",
    "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "NumberOfFrames", *COMMENTS,
)  # fmt: skip


class Receiver:
    """Files objects; shared by all requests."""

    def __init__(self, state: State, switches: Switches) -> None:
        self._state = state
        self._switches = switches
        self._rows = Rows(state)
        self._busy: set[Path] = set()
        self._busy_lock = threading.Lock()
        self._incoming = state.directory / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._log = (state.directory / "received.jsonl").open("a", encoding="utf-8")
        self._log_lock = threading.Lock()

    def close(self) -> None:
        """Close the record of what came in."""
        self._log.close()

    def locked(self, directory: Path) -> bool:
        """True while a file of this session is being written."""
        with self._busy_lock:
            return any(directory in path.parents for path in self._busy)

    def file(self, name: str, stream: Readable, wish: Wish) -> str | None:
        """File one object; returns its session's URI, None when it was dropped in silence. Raises StatusError 400."""
        temporary = self._incoming / f"{self._state.next_number('incoming')}.part"
        try:
            size, md5, sha256 = _spool(stream, temporary)
            if self._switches.disk_full:
                raise _unreadable(name)  # an inner 507, rewrapped (3.2)
            ds = _read(temporary, name, [*wish.rules.tags(), *self._state.routing.tags()])
            return self._file(name, temporary, ds, wish, (size, md5, sha256))
        except Damaged:
            raise _unreadable(name) from None
        finally:
            temporary.unlink(missing_ok=True)

    def _file(self, name: str, temporary: Path, ds: Header, wish: Wish, sums: tuple[int, str, str]) -> str | None:
        routing = Routing(self._state, (wish.rules, self._state.routing))
        project = self._project(routing, ds, wish)
        if self._filtered(ds.get("SeriesDescription", ""), project):
            return None
        for keyword, words in (("SOPClassUID", "SOP Class UID"), ("SOPInstanceUID", "SOP Instance UID")):
            if not ds.get(keyword):
                raise StatusError(400, f"object {name} contains no {words}")
        anonymised = not wish.prevent_anon
        if anonymised and ds["SOPInstanceUID"] in self._switches.rejected_instances:
            return None
        key = (project, ds.get("StudyInstanceUID", ""), wish.label or routing.session(ds))
        subject, auto = wish.subject or routing.subject(ds), routing.auto_archive(ds)
        row = self._rows.find(key, wish, subject=subject, auto=auto)
        received = self._describe(ds, row, sums)
        if anonymised and self._switches.remap_uids:
            received = replace(received, sop_instance_uid=f"2.25.{int(sums[1], 16)}")
        stored = self._write(name, temporary, row, received, wish)
        self._record(row, stored, wish)
        return _uri(row)

    def _filtered(self, description: str, project: str | None) -> bool:
        """The site's series filter, then the project's: what they drop is answered like what is stored (5.3)."""
        patterns = (*self._state.series_filter, *(self._state.projects[project].series_filter if project else ()))
        return any(re.fullmatch(pattern, description) for pattern in patterns)

    # where

    def _project(self, routing: Routing, ds: Header, wish: Wish) -> str | None:
        """The parameter when this user may write there, else DICOM routing, else none (contract xnat-import 0.2)."""
        asked = self._state.find_project(wish.project)
        if asked is not None and self._state.may_edit(wish.login, asked):
            return asked.id
        return routing.project(ds)

    # what

    def _describe(self, ds: Header, row: PrearchiveRow | DirectRow, sums: tuple[int, str, str]) -> Received:
        series, number = ds.get("SeriesInstanceUID", ""), ds.get("SeriesNumber", "")
        modality = ds.get("Modality", "")
        size, md5, sha256 = sums
        frames = ds.get("NumberOfFrames", "")
        return Received(
            path="",
            sop_instance_uid=ds["SOPInstanceUID"],
            sop_class_uid=ds["SOPClassUID"],
            series_instance_uid=series,
            study_instance_uid=ds.get("StudyInstanceUID", ""),
            scan=self._scan(row, series, number, modality),
            modality=modality,
            series_description=ds.get("SeriesDescription", ""),
            instance_number=ds.get("InstanceNumber", ""),
            study_date=ds.get("StudyDate", ""),
            study_time=ds.get("StudyTime", ""),
            frames=int(frames) if frames.isdecimal() else 1,
            size=size,
            md5=md5,
            sha256=sha256,
            series_number=number,
        )

    def _scan(self, row: PrearchiveRow | DirectRow, series: str, number: str, modality: str) -> str:
        """Series Number, else Series UID; a second series of one number gets a name of its own (3.4, check 7)."""
        with self._state.lock:
            if series in row.series:
                return row.series[series]
            base = re.sub(r"[^A-Za-z0-9_.-]", "_", number.lstrip("+")) or series or "unknown"
            folder, count = base, 0
            while folder in row.series.values():
                count += 1
                folder = f"{base}-{modality or 'OT'}{count}"
            row.series[series] = folder
            return folder

    # how

    def _write(
        self, name: str, temporary: Path, row: PrearchiveRow | DirectRow, received: Received, wish: Wish
    ) -> Received:
        folder = row.directory / "SCANS" / received.scan / "DICOM"
        target = folder / self._choose(name, row, folder, received, rename=wish.rename)
        self._switches.pause("race_seconds")  # the window of 4.3, wide open: a test's switch
        with self._busy_lock:
            if target in self._busy:
                raise StatusError(400, "Concurrent file sends of the same data is not supported.")
            self._busy.add(target)
        try:
            stored = replace(received, path=target.relative_to(row.directory).as_posix())
            if received.sop_instance_uid not in self._switches.lost_instances:
                self._switches.pause("write_seconds")  # a slow disk, the file being locked: a test's switch
                folder.mkdir(parents=True, exist_ok=True)
                temporary.replace(target)
                with self._state.lock:
                    row.files[stored.path] = stored
            return stored
        finally:
            with self._busy_lock:
                self._busy.discard(target)

    def _choose(
        self, name: str, row: PrearchiveRow | DirectRow, folder: Path, received: Received, *, rename: bool
    ) -> str:
        """The file's name, chosen before it is locked (4.3)."""
        digest = hashlib.sha1(
            f"{received.sop_class_uid}{received.sop_instance_uid}".encode(), usedforsecurity=False
        ).hexdigest()[:8]
        template = f"{received.study_instance_uid}-{received.series_number}-{received.instance_number}-{digest}.dcm"
        base = re.sub(r"[^A-Za-z0-9_.-]", "_", name.rpartition("/")[2])
        if rename or not base:
            return template
        relative = (folder / base).relative_to(row.directory).as_posix()
        with self._state.lock:
            known = row.files.get(relative)
        if known is not None and known.sop_instance_uid != received.sop_instance_uid:
            return template
        return base

    def _record(self, row: PrearchiveRow | DirectRow, received: Received, wish: Wish) -> None:
        """The independent record of everything that came in."""
        line = {
            "sop_instance_uid": received.sop_instance_uid,
            "sha256": received.sha256,
            "size": received.size,
            "session": _uri(row),
            "sender": wish.sender,
        }
        with self._log_lock:
            if not self._log.closed:
                self._log.write(json.dumps(line) + "\n")
                self._log.flush()


def _spool(stream: Readable, path: Path) -> tuple[int, str, str]:
    """Write a stream to disk: (size, MD5, SHA-256)."""
    size, md5, sha256 = 0, hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with path.open("wb") as out:
        while data := stream.read(_BLOCK):
            out.write(data)
            md5.update(data)
            sha256.update(data)
            size += len(data)
    return size, md5.hexdigest(), sha256.hexdigest()


def _read(path: Path, name: str, more: list[int]) -> Header:
    """The header, as far as it is needed. Raises StatusError 400 for what does not parse."""
    import pydicom

    tags: list[Any] = [*_TAGS, *more]
    header: Header = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=tags)
            for element in ds:
                value = "" if element.value is None else _text(element.value)
                header[element.keyword] = header[element.tag.group, element.tag.element] = value
    except Exception:  # noqa: BLE001 - the server's catch-all: every trouble is "unable to read" (3.2)
        raise _unreadable(name) from None
    if not header and not (len(ds.file_meta) and _begins_like_dicom(path, ds)):
        raise _unreadable(name)
    return header


def _text(value: Any) -> str:
    """As it was written: several values with a backslash between them."""
    return "\\".join(map(str, value)) if isinstance(value, (list, tuple)) or hasattr(value, "sort") else str(value)


def _begins_like_dicom(path: Path, ds: Any) -> bool:
    """True when the first tag of what holds nothing that we look for is of a low group, as a DICOMDIR's is."""
    with path.open("rb") as stream:
        stream.seek(dataset_offset(stream.read(1024)))
        group = stream.read(2)
    return int.from_bytes(group, "little" if ds.is_little_endian else "big") <= _LAST_HEADER_GROUP


def _unreadable(name: str) -> StatusError:
    return StatusError(400, f"unable to read DICOM object {name}")


def _uri(row: PrearchiveRow | DirectRow) -> str:
    if isinstance(row, DirectRow):
        return f"/xapi/direct-archive/{row.project}/{row.tag}/{row.name}"
    return f"/data/prearchive/projects/{row.project or 'Unassigned'}/{row.timestamp}/{row.folder}"
