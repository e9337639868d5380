"""The prearchive's rows: building, the idle job, what happens to files that come late (xnat-import 4.4)."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

from xnatctl_sandbox.archive.checks import ArchiveRefused, Policy
from xnatctl_sandbox.http.responses import StatusError
from xnatctl_sandbox.world.state import PrearchiveRow

if TYPE_CHECKING:
    from xnatctl_sandbox.server import Sandbox

#: Statuses that a row can be set to from outside (6.3): those in process begin with `_`.
AUTO = ("AutoArchive", "AutoArchiveOverwrite")


class Prearchive:
    """What can be done to rows."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._state = sandbox.state

    def find(self, project: str, timestamp: str, folder: str) -> PrearchiveRow | None:
        """A row by its triple; `Unassigned` is the project of rows without one."""
        with self._state.lock:
            wanted = (None if project == "Unassigned" else project, timestamp, folder)
            return next((r for r in self._state.prearchive if (r.project, r.timestamp, r.folder) == wanted), None)

    def find_uri(self, uri: str) -> PrearchiveRow | None:
        """A row by its URI, with or without `/data`."""
        pieces = uri.removeprefix("/data").removeprefix("/REST").strip("/").split("/")
        return self.find(*pieces[2:5]) if pieces[:2] == ["prearchive", "projects"] and len(pieces) == 5 else None

    @staticmethod
    def is_locked(row: PrearchiveRow) -> bool:
        """Only the forms with `_` count as locked."""
        return row.status.startswith("_")

    def build(self, row: PrearchiveRow) -> bool:
        """RECEIVING -> `_BUILDING` -> READY. False when it is locked, or a file came in the instant before.

        A file that arrives during the build is on disk but in no catalog: the hole of 4.4.
        """
        with self._state.lock:
            if self.is_locked(row) or row not in self._state.prearchive:
                return False
            if row.status == "RECEIVING_INTERRUPT":
                row.status = "RECEIVING"
                return False
            row.status = "BUILDING"
        self._sandbox.switches.pause("queue_seconds")  # the instant before the lock; a test's switch
        with self._state.lock:
            if row.status == "RECEIVING_INTERRUPT":
                row.status = "RECEIVING"
            if row.status == "RECEIVING" or self.is_locked(row) or row not in self._state.prearchive:
                return False
            row.status = "_BUILDING"
            known = dict(row.files)
        self._sandbox.switches.pause("build_seconds")  # a real build takes its time; a test's switch
        found = {path: file for path, file in known.items() if (row.directory / path).is_file()}
        with self._state.lock:
            row.built = found
            first = next(iter(found.values()), None)
            if first is not None:
                row.scan_date, row.scan_time = first.study_date, first.study_time
            row.status = "READY"
        return True

    def delete(self, row: PrearchiveRow) -> None:
        """The row and its files, unless it is locked."""
        with self._state.lock:
            if self.is_locked(row) or row not in self._state.prearchive:
                return
            self._state.prearchive.remove(row)
        shutil.rmtree(row.directory, ignore_errors=True)

    def delete_scan(self, row: PrearchiveRow, scan: str) -> None:
        """One scan of a built row, its files too. Raises StatusError 404 when there is none of that name."""
        with self._state.lock:
            if row.built is None or not any(file.scan == scan for file in row.built.values()):
                raise StatusError(404, "Unable to locate prearc resource.")
            row.built = {path: file for path, file in row.built.items() if file.scan != scan}
            row.files = {path: file for path, file in row.files.items() if file.scan != scan}
            row.series = {series: folder for series, folder in row.series.items() if folder != scan}
            shutil.rmtree(row.directory / "SCANS" / scan, ignore_errors=True)

    def move(self, row: PrearchiveRow, project: str) -> None:
        """To another project's prearchive."""
        with self._state.lock:
            row.project = project
            target = self._state.prearchive_directory(project, row.timestamp, row.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            if row.directory.is_dir():
                row.directory.rename(target)
            row.directory = target
            row.autoarchive = {0: "Manual", 4: "AutoArchive", 5: "AutoArchiveOverwrite"}[
                self._state.projects[project].prearchive_code
            ]

    def tick(self) -> None:
        """The idle jobs, once: quiet rows are built and perhaps archived; quiet direct sessions are archived."""
        quiet = float(str(self._state.site["sessionXmlRebuilderInterval"])) * 60
        now = self._state.clock.now()
        with self._state.lock:
            rows = [
                row
                for row in self._state.prearchive
                if row.status == "RECEIVING"
                and not row.prevent_auto_commit
                and row.source != "uploader"
                and now - row.lastmod >= quiet
                and not self._sandbox.receiver.locked(row.directory)
            ]
            for row in rows:
                row.status = "QUEUED_BUILDING"
            direct = [r for r in self._state.direct if r.status == "RECEIVING" and now - r.lastmod >= quiet]
        for row in rows:
            if self.build(row) and row.autoarchive in AUTO:
                self._auto_archive(row)
        for session in direct:
            self._sandbox.direct.finish(session)

    def _auto_archive(self, row: PrearchiveRow) -> None:
        """Merges; replaces equal files with code 5 only. A refusal is left in the row and its log."""
        user = str(self._state.site["receivedFileUser"])
        try:
            policy = Policy(merge=True, override=False, overwrite_files=row.autoarchive == AUTO[1])
            self._sandbox.archiver.archive(row, policy, login=user)
        except ArchiveRefused:
            return  # the row is CONFLICT or ERROR now, and says why


class Jobs:
    """The clock-driven work, in a thread of its own."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sandbox-jobs", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the job in hand."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        # Looked at every second of real time, due by the movable clock.
        due = self._sandbox.state.clock.now()
        while not self._stop.wait(0.5):
            now = self._sandbox.state.clock.now()
            if now >= due:
                due = now + float(str(self._sandbox.state.site["sessionXmlRebuilderRepeat"])) / 1000
                self._sandbox.prearchive.tick()
            self._sandbox.keep()
