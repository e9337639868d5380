"""The rows of the prearchive: finding, building, moving, deleting (xnat-import 4.4)."""

from __future__ import annotations

import shutil

from xnatctl_sandbox.world.concurrency import Concurrency, session_key
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import AUTO_ARCHIVE_BY_CODE, UNASSIGNED, PrearchiveRow
from xnatctl_sandbox.world.state import State
from xnatctl_sandbox.world.switches import Switches


class Prearchive:
    """Finds and changes rows."""

    def __init__(self, state: State, switches: Switches, concurrency: Concurrency) -> None:
        self._state = state
        self._switches = switches
        self._concurrency = concurrency

    def find(self, project: str, timestamp: str, folder: str) -> PrearchiveRow | None:
        """The row of this project, timestamp and folder; `Unassigned` is the project of rows without one."""
        with self._state.lock:
            wanted = (None if project == UNASSIGNED else project, timestamp, folder)
            return next((r for r in self._state.prearchive if (r.project, r.timestamp, r.folder) == wanted), None)

    def find_uri(self, uri: str) -> PrearchiveRow | None:
        """The row of this URI, with or without `/data`."""
        pieces = uri.removeprefix("/data").removeprefix("/REST").strip("/").split("/")
        return self.find(*pieces[2:5]) if pieces[:2] == ["prearchive", "projects"] and len(pieces) == 5 else None

    @staticmethod
    def is_locked(row: PrearchiveRow) -> bool:
        """True for statuses that begin with `_`: only these lock a row."""
        return row.status.startswith("_")

    def build(self, row: PrearchiveRow) -> bool:
        """Build a session: RECEIVING -> `_BUILDING` -> READY. False when it is locked, or a file came in just before.

        A file that arrives during the build is on disk but in no catalog: the hole of 4.4.
        """
        with self._state.lock:
            if self.is_locked(row) or row not in self._state.prearchive:
                return False
            if row.status == "RECEIVING_INTERRUPT":
                row.status = "RECEIVING"
                return False
            row.status = "BUILDING"
        self._switches.pause("queue_seconds")  # the instant before the lock; a test's switch
        with self._state.lock:
            if row.status == "RECEIVING_INTERRUPT":
                row.status = "RECEIVING"
            if row.status == "RECEIVING" or self.is_locked(row) or row not in self._state.prearchive:
                return False
            row.status = "_BUILDING"
            known = dict(row.files)
        self._switches.pause("build_seconds")  # a real build takes its time; a test's switch
        found = {path: file for path, file in known.items() if (row.directory / path).is_file()}
        with self._state.lock:
            row.built = found
            first = next(iter(found.values()), None)
            if first is not None:
                row.scan_date, row.scan_time = first.study_date, first.study_time
            row.status = "READY"
            self._concurrency.sessions.end(session_key(row))
        return True

    def delete(self, row: PrearchiveRow) -> None:
        """Delete a row and its files, unless it is locked."""
        with self._state.lock:
            if self.is_locked(row) or row not in self._state.prearchive:
                return
            self._state.prearchive.remove(row)
            self._concurrency.sessions.end(session_key(row))
        shutil.rmtree(row.directory, ignore_errors=True)

    def delete_scan(self, row: PrearchiveRow, scan: str) -> None:
        """Delete one scan of a built row, with its files. Raises StatusError 404 for an unknown scan."""
        with self._state.lock:
            if row.built is None or not any(file.scan == scan for file in row.built.values()):
                raise StatusError(404, "Unable to locate prearc resource.")
            row.built = {path: file for path, file in row.built.items() if file.scan != scan}
            row.files = {path: file for path, file in row.files.items() if file.scan != scan}
            row.series = {series: folder for series, folder in row.series.items() if folder != scan}
            shutil.rmtree(row.directory / "SCANS" / scan, ignore_errors=True)

    def move(self, row: PrearchiveRow, project: str) -> None:
        """Move a row to another project's prearchive."""
        with self._state.lock:
            self._concurrency.sessions.end(session_key(row))
            row.project = project
            target = self._state.prearchive_directory(project, row.timestamp, row.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            if row.directory.is_dir():
                row.directory.rename(target)
            row.directory = target
            row.autoarchive = AUTO_ARCHIVE_BY_CODE[self._state.projects[project].prearchive_code]
