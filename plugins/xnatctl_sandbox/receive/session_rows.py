"""Finding or making the row of the session that an object belongs to (xnat-import 4.2, 5)."""

from __future__ import annotations

from collections.abc import Iterable

from xnatctl_sandbox.receive.import_params import ImportParams
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import AUTO_ARCHIVE_BY_CODE, DirectRow, PrearchiveRow
from xnatctl_sandbox.world.state import State

_STRICT_SINCE = (1, 8, 10)
Key = tuple[str | None, str, str]  # project, StudyInstanceUID, label


class SessionRows:
    """The rows that can still take objects."""

    def __init__(self, state: State) -> None:
        self._state = state

    def find_or_create(
        self, key: Key, params: ImportParams, *, subject: str, auto: bool | None
    ) -> PrearchiveRow | DirectRow:
        """The row, with the status RECEIVING: an object interrupts whatever the row was doing (4.4)."""
        project, _, _ = key
        with self._state.lock:
            if params.direct and project is not None and self._state.version_tuple >= (1, 8, 3):
                direct = self._direct_row(project, key, params, subject)
                if direct is not None:
                    direct.lastmod = self._state.clock.now()
                    return direct
            row = self._prearchive_row(key, params, subject=subject, auto=auto)
            now = self._state.clock.now()
            if now - row.lastmod >= 15:  # refreshed at most once per 15 s (4.4)
                row.lastmod = now
            if row.folder != row.name:
                return row  # the update looks the row up by its label: it finds nothing, and says nothing (4.4)
            if row.status == "BUILDING":
                row.status = "RECEIVING_INTERRUPT"
            elif not row.status.startswith("RECEIVING"):
                row.status = "RECEIVING"
            return row

    def _direct_row(self, project: str, key: Key, params: ImportParams, subject: str) -> DirectRow | None:
        """The row of a direct archive; None sends the object to the prearchive in silence (5)."""
        state = self._state
        _, study, label = key
        directory = state.session_directory(project, label)
        for row in state.direct:
            if (row.project, row.tag, row.name) == key and row.status != "ERROR":
                return row if row.status == "RECEIVING" else None
            if row.directory == directory and row.status != "ERROR":
                return None
        if directory.exists() or state.find_experiment(project, label) is not None:
            return None
        row = DirectRow(
            id=state.next_number("direct"), project=project, tag=study, name=label, directory=directory,
            subject=subject, lastmod=state.clock.now(), uploaded=state.clock.now(), source=params.source,
            prevent_anon=params.prevent_anon,
        )  # fmt: skip
        state.direct.append(row)
        return row

    def _prearchive_row(self, key: Key, params: ImportParams, *, subject: str, auto: bool | None) -> PrearchiveRow:
        """The row of this project, study and label; subject and timestamp are not in the key (4.2)."""
        if params.own_rows and params.folder:
            return params.own_rows[0]
        found = _among(self._state.prearchive if params.own_rows is None else params.own_rows, key)
        if found is not None:
            return found
        row = self._new_row(key, params, subject=subject, auto=auto)
        self._state.prearchive.append(row)
        if params.own_rows is not None:
            params.own_rows.append(row)
        return row

    def _new_row(self, key: Key, params: ImportParams, *, subject: str, auto: bool | None) -> PrearchiveRow:
        state = self._state
        project, study, label = key
        timestamp = params.timestamp or state.clock.folder_timestamp()
        folder = self._free_folder(project, timestamp, params.folder or label, strict=bool(params.folder))
        owner = state.projects.get(project or "")
        code = owner.prearchive_code if owner is not None else None
        if auto is not None:
            code = 4 if auto else 0  # `AA:` in a comment overrides the project's setting (xnat-api 5.4)
        return PrearchiveRow(
            project=project, timestamp=timestamp, folder=folder, name=label, tag=study, subject=subject,
            directory=state.prearchive_directory(project, timestamp, folder),
            lastmod=state.clock.now(), uploaded=state.clock.now(),
            autoarchive="" if code is None else AUTO_ARCHIVE_BY_CODE[code],
            prevent_anon=params.prevent_anon, prevent_auto_commit=params.prevent_auto_commit, source=params.source,
            visit=params.visit, protocol=params.subtype,
        )  # fmt: skip

    def _free_folder(self, project: str | None, timestamp: str, folder: str, *, strict: bool) -> str:
        """A folder name, with a number when it is taken; one that the request names is never shared (1.5)."""
        taken = {(row.project, row.timestamp, row.folder) for row in self._state.prearchive}
        if strict and (project, timestamp, folder) in taken and self._state.version_tuple >= _STRICT_SINCE:
            raise StatusError(400, f"The prearchive session {timestamp}/{folder} holds another study.")
        name, suffix = folder, 0
        while (project, timestamp, name) in taken:
            suffix += 1
            name = f"{folder}_{suffix}"
        return name


def _among(rows: Iterable[PrearchiveRow], key: Key) -> PrearchiveRow | None:
    return next((row for row in rows if (row.project, row.tag, row.name) == key), None)
