"""Sessions received straight into the archive (xnat-import 5)."""

from __future__ import annotations

from xnatctl_sandbox.archive.archiver import Archiver
from xnatctl_sandbox.world.background import Background
from xnatctl_sandbox.world.concurrency import Concurrency, session_key
from xnatctl_sandbox.world.records import DirectRow
from xnatctl_sandbox.world.state import State
from xnatctl_sandbox.world.switches import Switches


class DirectSessions:
    """Finds and finishes the rows of direct archiving."""

    def __init__(
        self, state: State, switches: Switches, concurrency: Concurrency, archiver: Archiver, background: Background
    ) -> None:
        self._state = state
        self._switches = switches
        self._concurrency = concurrency
        self._archiver = archiver
        self._background = background

    def find(self, project: str, study: str, label: str) -> DirectRow | None:
        """A row by its key."""
        with self._state.lock:
            wanted = (project, study, label)
            return next((row for row in self._state.direct if (row.project, row.tag, row.name) == wanted), None)

    def remove(self, row: DirectRow) -> None:
        """Remove a row, not its files."""
        with self._state.lock:
            self._state.direct.remove(row)
            self._concurrency.sessions.end(session_key(row))

    def finish(self, row: DirectRow) -> None:
        """Queue building and archiving, and return."""
        with self._state.lock:
            if row.status != "RECEIVING":
                return
            row.status = "QUEUED_BUILDING"
        self._background.run(lambda: self._finish(row))

    def _finish(self, row: DirectRow) -> None:
        self._enter(row, "BUILDING", "build_seconds")
        with self._concurrency.archives(row):
            self._enter(row, "ARCHIVING", "archive_seconds")
            self._archiver.archive_direct(row, str(self._state.site["receivedFileUser"]))

    def _enter(self, row: DirectRow, status: str, switch: str) -> None:
        """Set a status, and stay there: a real server takes its time; a test's switch."""
        with self._state.lock:
            row.status = status
        self._switches.pause(switch)
