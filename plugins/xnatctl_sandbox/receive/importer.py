"""Importing one DICOM object: project, label, row, scan folder, file name, lock, write (xnat-import 4.1).

DICOM-zip, gradual-DICOM and the DICOM Receiver use it. It does not store the bytes that were sent: XNAT writes the head
that it parses anew, and copies the rest to the end of the entry, whole or not (xnat-import 4.1a).
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from werkzeug.exceptions import ClientDisconnected

from xnatctl_sandbox.receive import anonymization, decompression, part10_reader, part10_writer, stored_file
from xnatctl_sandbox.receive.archive_reader import Damaged, Readable, Truncated
from xnatctl_sandbox.receive.dicom_elements import Head, Unreadable
from xnatctl_sandbox.receive.import_params import ImportParams
from xnatctl_sandbox.receive.routing import Routing
from xnatctl_sandbox.receive.session_rows import SessionRows
from xnatctl_sandbox.world.concurrency import Concurrency, session_key
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import DirectRow, PrearchiveRow, Received
from xnatctl_sandbox.world.routing_expressions import Header
from xnatctl_sandbox.world.state import State
from xnatctl_sandbox.world.switches import Switches

_BLOCK = 1 << 18


class DicomImporter:
    """Stores objects in sessions; all requests and associations share one."""

    def __init__(self, state: State, switches: Switches, concurrency: Concurrency) -> None:
        self._state = state
        self._switches = switches
        self._concurrency = concurrency
        self._rows = SessionRows(state)
        self._busy: set[Path] = set()
        self._busy_lock = threading.Lock()
        self._incoming = state.directory / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._log = (state.directory / "received.jsonl").open("a", encoding="utf-8")
        self._log_lock = threading.Lock()

    def close(self) -> None:
        """Close the record of what came in."""
        self._log.close()

    def is_writing(self, directory: Path) -> bool:
        """True while a file of this session is being written."""
        with self._busy_lock:
            return any(directory in path.parents for path in self._busy)

    def store(self, name: str, stream: Readable, params: ImportParams) -> str | None:
        """Store one object; returns its session's URI, None when it was dropped in silence. Raises StatusError 400."""
        temporary = self._incoming / f"{self._state.next_number('incoming')}.part"
        fault = params.fault if params.fault is not None and re.search(params.fault.get("members", ""), name) else {}
        if fault.get("action") == "truncate-file":
            stream = Truncated(stream, int(fault.get("bytes", 0)))
        params = replace(params, fault=fault)
        try:
            try:
                with temporary.open("wb") as out:
                    sent = stored_file.measure(stream, out)
            except (ClientDisconnected, Damaged):
                if self._switches.keeps_cut_files:
                    with suppress(StatusError), temporary.open("rb") as came:
                        self._import(name, temporary, params, stored_file.measure(came))
                raise
            if self._switches.disk_full:
                raise _unreadable(name)  # an inner 507, rewrapped (3.2)
            return self._import(name, temporary, params, sent)
        except (Damaged, OSError):  # what cannot be written is told as what cannot be read (3.2)
            raise _unreadable(name) from None
        finally:
            temporary.unlink(missing_ok=True)
            _written(temporary).unlink(missing_ok=True)

    def _import(self, name: str, temporary: Path, params: ImportParams, sent: stored_file.Sums) -> str | None:
        tags = {*stored_file.identifying_tags(), *params.routing.tags(), *self._state.routing.tags()}
        try:
            with part10_reader.opened(temporary) as data:
                head = part10_reader.read(data, max(tags) + 1)
        except Unreadable:
            raise _unreadable(name) from None
        ds = stored_file.header_of(head.data_set, tags)
        routing = Routing(self._state, (params.routing, self._state.routing))
        project = self._project(routing, ds, params)
        if self._filtered(ds.get("SeriesDescription", ""), project):
            return None
        for keyword, words in (("SOPClassUID", "SOP Class UID"), ("SOPInstanceUID", "SOP Instance UID")):
            if not ds.get(keyword):
                raise StatusError(400, f"object {name} contains no {words}")
        key = (project, ds.get("StudyInstanceUID", ""), params.label or routing.session(ds))
        subject, auto = params.subject or routing.subject(ds), routing.auto_archive(ds)
        row = self._rows.find_or_create(key, params, subject=subject, auto=auto)
        self._concurrency.sessions.begin(session_key(row))
        received = stored_file.describe(ds, self._scan(row, ds), sent)
        if not self._write(name, temporary, head, row, received, params):
            return None
        self._record(row, ds["SOPInstanceUID"], sent, params)
        return row.uri

    def _filtered(self, description: str, project: str | None) -> bool:
        """The series filters of site and project: a dropped object is answered like a stored one (xnat-api 5.3)."""
        patterns = (*self._state.series_filter, *(self._state.projects[project].series_filter if project else ()))
        return any(re.fullmatch(pattern, description) for pattern in patterns)

    # where

    def _project(self, routing: Routing, ds: Header, params: ImportParams) -> str | None:
        """The requested project when this user may write there, else that of DICOM routing (xnat-import 0.2)."""
        asked = self._state.find_project(params.project)
        if asked is not None and self._state.may_edit(params.login, asked):
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
        self, name: str, temporary: Path, head: Head, row: PrearchiveRow | DirectRow, received: Received,
        params: ImportParams,
    ) -> bool:  # fmt: skip
        """Store the file; False when the site's script rejects it. The row stays in both cases (4.1)."""
        folder = row.directory / "SCANS" / received.scan / "DICOM"
        target = folder / self._choose(name, row, folder, received, rename=params.rename)
        self._switches.pause("race_seconds")  # the window of 4.3, wide open: a test's switch
        with self._busy_lock:
            if target in self._busy:
                raise StatusError(400, "Concurrent file sends of the same data is not supported.")
            self._busy.add(target)
        try:
            path = target.relative_to(row.directory).as_posix()
            lost = params.fault is not None and params.fault.get("action") == "lose-file"
            if lost or received.sop_instance_uid in self._switches.lost_instances:
                return True
            self._switches.pause("write_seconds")  # a slow disk, the file being locked: a test's switch
            stored = self._prepare(name, temporary, head, replace(received, path=path), row)
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

    def _prepare(
        self, name: str, temporary: Path, head: Head, received: Received, row: PrearchiveRow | DirectRow
    ) -> Received | None:
        """Change the file to what XNAT keeps of it; None when the site's script rejects it (4.1a)."""
        try:
            if self._switches.rewrites_heads and self._rewrite(temporary, head):
                received = stored_file.describe_again(temporary, received)
            if row.prevent_anon or not self._state.site["enableSitewideAnonymizationScript"]:
                return received
            if received.sop_instance_uid in self._switches.rejected_instances:
                return None
            script = dict(self._switches.site_script)
            if self._switches.remap_uids:
                script["SOPInstanceUID"] = anonymization.HASH
            return stored_file.anonymize(temporary, script, received) if script else received
        except Unreadable:  # an inner error, rewrapped (3.2)
            raise _unreadable(name) from None

    def _rewrite(self, temporary: Path, head: Head) -> bool:
        """Write the parsed head anew and copy the rest, or decompress all of it. False when that changes nothing."""
        written, anew = _written(temporary), part10_writer.write(head)
        with part10_reader.opened(temporary) as data:
            if self._switches.decompresses and decompression.can_decode(head.transfer_syntax):
                written.write_bytes(decompression.decompress(data))
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

    def _record(self, row: PrearchiveRow | DirectRow, uid: str, sent: stored_file.Sums, params: ImportParams) -> None:
        """Write a line to the record of everything that came in; its checksum is that of the bytes as sent."""
        line = {
            "sop_instance_uid": uid,
            "sha256": sent.sha256,
            "size": sent.size,
            "session": row.uri,
            "sender": params.sender,
        }
        with self._log_lock:
            if not self._log.closed:
                self._log.write(json.dumps(line) + "\n")
                self._log.flush()


def _file_name(value: str) -> str:
    """A value as a name on disk: no separators, and never the folder above."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", value)
    return name if name.strip(".") else "_" * len(name)


def _written(temporary: Path) -> Path:
    """The path of the file that replaces the temporary one."""
    return temporary.with_suffix(".new")


def _unreadable(name: str) -> StatusError:
    return StatusError(400, f"unable to read DICOM object {name}")
