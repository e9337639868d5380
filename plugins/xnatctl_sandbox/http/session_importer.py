"""The old importer, `SI`: each request makes a session of its own (xnat-import 1.7, 2, 3.4)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

from xnatctl_sandbox.archive.archiver import Archiver, archive_uri, import_policy
from xnatctl_sandbox.archive.checks import ArchiveRefused
from xnatctl_sandbox.archive.prearchive import Prearchive
from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.receive.archive_reader import Damaged, Readable, files, format_of
from xnatctl_sandbox.receive.import_params import ImportParams
from xnatctl_sandbox.receive.importer import DicomImporter
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import PrearchiveRow
from xnatctl_sandbox.world.state import State


class SessionImporter:
    """`import-handler=SI`."""

    def __init__(self, state: State, importer: DicomImporter, prearchive: Prearchive, archiver: Archiver) -> None:
        self._state = state
        self._importer = importer
        self._prearchive = prearchive
        self._archiver = archiver

    def run(
        self, call: Call, name: str, stream: Readable, params: ImportParams, parameters: dict[str, str]
    ) -> list[str]:
        """Import; returns the URIs of the sessions. Raises StatusError with the archiver's own status and reason."""
        rows = self._rows(params)
        params = replace(params, prevent_auto_commit=True, direct=False, own_rows=rows)
        stored = 0
        for entry, data in _entries(name, stream):
            try:
                stored += self._importer.store(entry, data, params) is not None
            except StatusError:
                continue  # what cannot be parsed is passed over
        if not stored:
            raise StatusError(400, "Upload did not include parsable files for session generation.")
        for row in rows:
            self._prearchive.build(row)
        if "prearchive" in parameters.get("dest", ""):
            return [row.uri for row in rows]
        if len(rows) > 1:
            raise StatusError(400, "Upload included files for multiple imaging sessions.")
        return [self._finish(call, rows[0], parameters)]

    def _rows(self, params: ImportParams) -> list[PrearchiveRow]:
        """Rows to join: the one that `dest` names in full, whatever its study."""
        found = self._prearchive.find(params.project, params.timestamp, params.folder) if params.folder else None
        return [found] if found is not None else []

    def _finish(self, call: Call, row: PrearchiveRow, parameters: dict[str, str]) -> str:
        said = parameters.get("AA", parameters.get("auto-archive", "")).lower()
        if said != "true" and not row.auto_archives:
            return row.uri
        policy = import_policy(parameters.get("overwrite"), files=parameters.get("overwrite_files", ""))
        try:
            experiment = self._archiver.archive(row, policy, login=call.login)
        except ArchiveRefused as refusal:
            raise StatusError(refusal.status, refusal.reason) from None
        return archive_uri(self._state, experiment)


def _entries(name: str, stream: Readable) -> Iterator[tuple[str, Readable]]:
    kind = format_of(name)
    if kind in ("UNKNOWN", "GZ"):
        yield name, stream
        return
    try:
        for entry, data in files(stream, kind):
            # Unpacked before it is looked at: a bad file costs itself alone.
            yield entry, io.BytesIO(b"".join(iter(lambda data=data: data.read(1 << 18), b"")))  # type: ignore[misc]
    except Damaged as error:
        raise StatusError(400, str(error)) from None
