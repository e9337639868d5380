"""The idle jobs: quiet sessions are built and archived without a request (xnat-import 4.4)."""

from __future__ import annotations

import threading

from xnatctl_sandbox.archive.archiver import Archiver
from xnatctl_sandbox.archive.checks import ArchiveRefused, Policy
from xnatctl_sandbox.archive.direct_sessions import DirectSessions
from xnatctl_sandbox.archive.prearchive import Prearchive
from xnatctl_sandbox.receive.importer import DicomImporter
from xnatctl_sandbox.world.persistence import Autosave
from xnatctl_sandbox.world.records import PrearchiveRow
from xnatctl_sandbox.world.state import State


class IdleJobs:
    """Runs the jobs in a thread of its own, by the sandbox's clock; `autosave` runs with them when it is given."""

    def __init__(
        self,
        state: State,
        importer: DicomImporter,
        prearchive: Prearchive,
        archiver: Archiver,
        direct: DirectSessions,
        autosave: Autosave | None,
    ) -> None:
        self._state = state
        self._importer = importer
        self._prearchive = prearchive
        self._archiver = archiver
        self._direct = direct
        self._autosave = autosave
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sandbox-jobs", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for the job in hand."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        # Wakes up every half second of real time; the movable clock says whether the jobs are due.
        due = self._state.clock.now()
        while not self._stop.wait(0.5):
            now = self._state.clock.now()
            if now >= due:
                due = now + float(str(self._state.site["sessionXmlRebuilderRepeat"])) / 1000
                self.tick()
            if self._autosave is not None:
                self._autosave.run()

    def tick(self) -> None:
        """Run the jobs once: build quiet rows and archive those with auto-archiving, finish quiet direct sessions."""
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
                and not self._importer.is_writing(row.directory)
            ]
            for row in rows:
                row.status = "QUEUED_BUILDING"
            direct = [r for r in self._state.direct if r.status == "RECEIVING" and now - r.lastmod >= quiet]
        for row in rows:
            if self._prearchive.build(row) and row.auto_archives:
                self._auto_archive(row)
        for session in direct:
            self._direct.finish(session)

    def _auto_archive(self, row: PrearchiveRow) -> None:
        """Archive and merge; replace equal file names with code 5 only. A refusal stays in the row and its log."""
        user = str(self._state.site["receivedFileUser"])
        try:
            policy = Policy(merge=True, override=False, overwrite_files=row.auto_overwrites)
            self._archiver.archive(row, policy, login=user)
        except ArchiveRefused:
            return  # the row is CONFLICT or ERROR now, and says why
