"""One DICOM object on its way in: project, label, row, scan folder, file name, lock, write (xnat-import 4.1).

Used for every entry of DICOM-zip and for gradual-DICOM. What is stored is not what was sent, see 4.1a there: the part
that XNAT parses is written anew, the rest is copied to the end of the entry, whole or not.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import BinaryIO

from werkzeug.exceptions import ClientDisconnected

from xnatctl_sandbox.http.responses import StatusError
from xnatctl_sandbox.receive import anonymization, decompression, part10
from xnatctl_sandbox.receive.archive_reader import Damaged, Readable, Shortened
from xnatctl_sandbox.receive.import_params import Wish
from xnatctl_sandbox.receive.routing import COMMENTS, Header, Routing
from xnatctl_sandbox.receive.session_rows import Rows
from xnatctl_sandbox.world.state import DirectRow, PrearchiveRow, Received, State
from xnatctl_sandbox.world.switches import Switches

_BLOCK = 1 << 18
#: What is looked at in a header. The source names no list of XNAT's identifier tags: the highest of those that decide
#: where an object goes is StudyComments (0032,4000) (xnat-api 5.4), so a header ends before (0032,4001).
_TAGS = (
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "Modality",
    "StudyDescription", "SeriesDescription", "PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID",
    "SeriesNumber", "InstanceNumber", *COMMENTS,
)  # fmt: skip


@dataclass(frozen=True)
class _Sums:
    """Of a file."""

    size: int
    md5: str
    sha256: str


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
        fault = wish.fault if wish.fault is not None and re.search(wish.fault.get("members", ""), name) else {}
        if fault.get("action") == "truncate-file":
            stream = Shortened(stream, int(fault.get("bytes", 0)))
        wish = replace(wish, fault=fault)
        try:
            try:
                sent = _spool(stream, temporary)
            except (ClientDisconnected, Damaged):
                if self._switches.keeps_cut_files:
                    with suppress(StatusError), temporary.open("rb") as came:
                        self._file(name, temporary, wish, _sums(came))
                raise
            if self._switches.disk_full:
                raise _unreadable(name)  # an inner 507, rewrapped (3.2)
            return self._file(name, temporary, wish, sent)
        except (Damaged, OSError):  # what cannot be written is told as what cannot be read (3.2)
            raise _unreadable(name) from None
        finally:
            temporary.unlink(missing_ok=True)
            _written(temporary).unlink(missing_ok=True)

    def _file(self, name: str, temporary: Path, wish: Wish, sent: _Sums) -> str | None:
        tags = {*_tags(), *wish.rules.tags(), *self._state.routing.tags()}
        try:
            with part10.opened(temporary) as data:
                head = part10.read(data, max(tags) + 1)
        except part10.Unreadable:
            raise _unreadable(name) from None
        ds = _texts(head.data_set, tags)
        routing = Routing(self._state, (wish.rules, self._state.routing))
        project = self._project(routing, ds, wish)
        if self._filtered(ds.get("SeriesDescription", ""), project):
            return None
        for keyword, words in (("SOPClassUID", "SOP Class UID"), ("SOPInstanceUID", "SOP Instance UID")):
            if not ds.get(keyword):
                raise StatusError(400, f"object {name} contains no {words}")
        key = (project, ds.get("StudyInstanceUID", ""), wish.label or routing.session(ds))
        subject, auto = wish.subject or routing.subject(ds), routing.auto_archive(ds)
        row = self._rows.find(key, wish, subject=subject, auto=auto)
        received = _describe(ds, self._scan(row, ds), sent)
        if not self._write(name, temporary, head, row, received, wish):
            return None
        self._record(row, ds["SOPInstanceUID"], sent, wish)
        return _uri(row)

    def _filtered(self, description: str, project: str | None) -> bool:
        """The site's series filter, then the project's: what they drop is answered like what is stored (5.3)."""
        patterns = (*self._state.series_filter, *(self._state.projects[project].series_filter if project else ()))
        return any(re.fullmatch(pattern, description) for pattern in patterns)

    # where

    def _project(self, routing: Routing, ds: Header, wish: Wish) -> str | None:
        """The parameter when this user may write there, else DICOM routing, else none (xnat-import 0.2)."""
        asked = self._state.find_project(wish.project)
        if asked is not None and self._state.may_edit(wish.login, asked):
            return asked.id
        return routing.project(ds)

    def _scan(self, row: PrearchiveRow | DirectRow, ds: Header) -> str:
        """Series Number, else Series UID; a second series of one number gets a name of its own (3.4, check 7)."""
        series, number = ds.get("SeriesInstanceUID", ""), ds.get("SeriesNumber", "")
        with self._state.lock:
            if series in row.series:
                return row.series[series]
            base = _file_name(number) or _file_name(series) or "unknown"
            folder, count = base, 0
            while folder in row.series.values():
                count += 1
                folder = f"{base}-{ds.get('Modality') or 'OT'}{count}"
            row.series[series] = folder
            return folder

    # how

    def _write(
        self, name: str, temporary: Path, head: part10.Head, row: PrearchiveRow | DirectRow, received: Received,
        wish: Wish,
    ) -> bool:  # fmt: skip
        """Store it; False when the site's script rejects it. The row stays all the same (4.1)."""
        folder = row.directory / "SCANS" / received.scan / "DICOM"
        target = folder / self._choose(name, row, folder, received, rename=wish.rename)
        self._switches.pause("race_seconds")  # the window of 4.3, wide open: a test's switch
        with self._busy_lock:
            if target in self._busy:
                raise StatusError(400, "Concurrent file sends of the same data is not supported.")
            self._busy.add(target)
        try:
            path = target.relative_to(row.directory).as_posix()
            lost = wish.fault is not None and wish.fault.get("action") == "lose-file"
            if lost or received.sop_instance_uid in self._switches.lost_instances:
                return True
            self._switches.pause("write_seconds")  # a slow disk, the file being locked: a test's switch
            stored = self._store(name, temporary, head, replace(received, path=path), row)
            with self._state.lock:
                if stored is None:
                    target.unlink(missing_ok=True)
                    row.files.pop(path, None)
                    return False
                folder.mkdir(parents=True, exist_ok=True)
                temporary.replace(target)
                row.files[path] = stored
            return True
        finally:
            with self._busy_lock:
                self._busy.discard(target)

    def _store(
        self, name: str, temporary: Path, head: part10.Head, received: Received, row: PrearchiveRow | DirectRow
    ) -> Received | None:
        """Make of the file what XNAT keeps of it, in its place; None = the site's script rejects it (4.1a)."""
        try:
            if self._switches.rewrites_heads and self._rewrite(temporary, head):
                received = _again(temporary, received)
            if row.prevent_anon or not self._state.site["enableSitewideAnonymizationScript"]:
                return received
            if received.sop_instance_uid in self._switches.rejected_instances:
                return None
            script = dict(self._switches.site_script)
            if self._switches.remap_uids:
                script["SOPInstanceUID"] = anonymization.HASH
            return anonymise(temporary, script, received) if script else received
        except part10.Unreadable:  # an inner error, rewrapped (3.2)
            raise _unreadable(name) from None

    def _rewrite(self, temporary: Path, head: part10.Head) -> bool:
        """Write the parsed head anew and copy the rest, or decompress all of it. False when that changes nothing."""
        written, anew = _written(temporary), part10.write(head)
        with part10.opened(temporary) as data:
            if self._switches.decompresses and decompression.known(head.transfer_syntax):
                written.write_bytes(decompression.decompressed(data))
            elif data[: head.rest] == anew:
                return False
            else:
                with temporary.open("rb") as rest, written.open("wb") as out:
                    out.write(anew)
                    rest.seek(head.rest)
                    shutil.copyfileobj(rest, out, _BLOCK)
        written.replace(temporary)
        return True

    def _choose(
        self, name: str, row: PrearchiveRow | DirectRow, folder: Path, received: Received, *, rename: bool
    ) -> str:
        """The file's name, chosen before it is locked (4.3)."""
        digest = hashlib.sha1(
            f"{received.sop_class_uid}{received.sop_instance_uid}".encode(), usedforsecurity=False
        ).hexdigest()[:8]
        template = _file_name(
            f"{received.study_instance_uid}-{received.series_number}-{received.instance_number}-{digest}.dcm"
        )
        base = _file_name(name.rpartition("/")[2])
        if rename or not base:
            return template
        relative = (folder / base).relative_to(row.directory).as_posix()
        with self._state.lock:
            known = row.files.get(relative)
        if known is not None and known.sop_instance_uid != received.sop_instance_uid:
            return template
        return base

    def _record(self, row: PrearchiveRow | DirectRow, uid: str, sent: _Sums, wish: Wish) -> None:
        """The independent record of everything that came in, as it came."""
        line = {
            "sop_instance_uid": uid,
            "sha256": sent.sha256,
            "size": sent.size,
            "session": _uri(row),
            "sender": wish.sender,
        }
        with self._log_lock:
            if not self._log.closed:
                self._log.write(json.dumps(line) + "\n")
                self._log.flush()


def anonymise(path: Path, script: anonymization.Script, received: Received) -> Received:
    """Run a script on a stored file; what is known of it afterwards. Raises Unreadable."""
    with part10.opened(path) as data:
        content = anonymization.anonymised(data, script)
    path.write_bytes(content)
    return _again(path, received, changed=True)


def _again(path: Path, received: Received, *, changed: bool = False) -> Received:
    """What is known of a file that was written anew; its values too when they may have `changed`."""
    with path.open("rb") as stream:
        sums = _sums(stream)
    if not changed:
        return replace(received, size=sums.size, md5=sums.md5, sha256=sums.sha256)
    with part10.opened(path) as data:
        ds = _texts(part10.read(data, max(_tags()) + 1).data_set, _tags())
    return replace(_describe(ds, received.scan, sums), path=received.path)


def _describe(ds: Header, scan: str, sums: _Sums) -> Received:
    return Received(
        path="",
        sop_instance_uid=ds.get("SOPInstanceUID", ""),
        sop_class_uid=ds.get("SOPClassUID", ""),
        series_instance_uid=ds.get("SeriesInstanceUID", ""),
        study_instance_uid=ds.get("StudyInstanceUID", ""),
        scan=scan,
        modality=ds.get("Modality", ""),
        series_description=ds.get("SeriesDescription", ""),
        instance_number=ds.get("InstanceNumber", ""),
        study_date=ds.get("StudyDate", ""),
        study_time=ds.get("StudyTime", ""),
        size=sums.size,
        md5=sums.md5,
        sha256=sums.sha256,
        series_number=ds.get("SeriesNumber", ""),
    )


def _spool(stream: Readable, path: Path) -> _Sums:
    """Write a stream to disk."""
    with path.open("wb") as out:
        return _sums(stream, out)


def _sums(stream: Readable, out: BinaryIO | None = None) -> _Sums:
    size, md5, sha256 = 0, hashlib.md5(usedforsecurity=False), hashlib.sha256()
    while data := stream.read(_BLOCK):
        if out is not None:
            out.write(data)
        md5.update(data)
        sha256.update(data)
        size += len(data)
    return _Sums(size, md5.hexdigest(), sha256.hexdigest())


@cache
def _tags() -> tuple[int, ...]:
    from pydicom.datadict import tag_for_keyword

    return tuple(tag for keyword in _TAGS if (tag := tag_for_keyword(keyword)) is not None)


def _texts(data_set: part10.DataSet, tags: Iterable[int]) -> Header:
    """The values that are looked at, by keyword and by tag."""
    from pydicom.datadict import keyword_for_tag

    charset = part10.text_of(data_set.get(0x00080005))
    header: Header = {}
    for tag in tags:
        if (element := data_set.get(tag)) is not None:
            value = part10.text_of(element, charset)
            header[keyword_for_tag(tag)] = header[tag >> 16, tag & 0xFFFF] = value
    return header


def _file_name(value: str) -> str:
    """What a value becomes as a name on disk: no separators, and never a folder above."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", value)
    return name if name.strip(".") else "_" * len(name)


def _written(temporary: Path) -> Path:
    """Where a file is written anew."""
    return temporary.with_suffix(".new")


def _unreadable(name: str) -> StatusError:
    return StatusError(400, f"unable to read DICOM object {name}")


def _uri(row: PrearchiveRow | DirectRow) -> str:
    if isinstance(row, DirectRow):
        return f"/xapi/direct-archive/{row.project}/{row.tag}/{row.name}"
    return f"/data/prearchive/projects/{row.project or 'Unassigned'}/{row.timestamp}/{row.folder}"
