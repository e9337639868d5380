"""Sessions received straight into the archive (xnat-import 5)."""

from __future__ import annotations

from xnatctl_sandbox.archive.archiver import Archiver
from xnatctl_sandbox.world.background import Background
from xnatctl_sandbox.world.records import DirectRow
from xnatctl_sandbox.world.state import State
from xnatctl_sandbox.world.switches import Switches


class DirectSessions:
    """Finds and finishes the rows of direct archiving."""

    def __init__(self, state: State, switches: Switches, archiver: Archiver, background: Background) -> None:
        self._state = state
        self._switches = switches
        self._archiver = archiver
        self._background = background

    def find(self, project: str, study: str, label: str) -> DirectRow | None:
        """A row by its key."""
        with self._state.lock:
            wanted = (project, study, label)
            return next((row for row in self._state.direct if (row.project, row.tag, row.name) == wanted), None)

    def finish(self, row: DirectRow) -> None:
        """Queue building and archiving, and return."""
        with self._state.lock:
            if row.status != "RECEIVING":
                return
            row.status = "QUEUED_BUILDING"
        self._background.run(lambda: self._finish(row))

    def _finish(self, row: DirectRow) -> None:
        for status, switch in (("BUILDING", "build_seconds"), ("ARCHIVING", "archive_seconds")):
            with self._state.lock:
                row.status = status
            self._switches.pause(switch)  # a real server takes its time; a test's switch
        self._archiver.archive_direct(row, str(self._state.site["receivedFileUser"]))
