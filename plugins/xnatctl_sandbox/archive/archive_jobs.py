"""Archiving for a request: with a time-out, or followed by a listener (xnat-import 6.4, 8)."""

from __future__ import annotations

import threading

from xnatctl_sandbox.archive.archiver import Archiver, archive_uri
from xnatctl_sandbox.archive.checks import ArchiveRefused, Policy
from xnatctl_sandbox.world.background import Background
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import Experiment, PrearchiveRow
from xnatctl_sandbox.world.state import State
from xnatctl_sandbox.world.tracking import Listener


class ArchiveJobs:
    """Runs the archiver in the background."""

    def __init__(self, state: State, archiver: Archiver, background: Background) -> None:
        self._state = state
        self._archiver = archiver
        self._background = background

    def wait(
        self,
        row: PrearchiveRow,
        policy: Policy,
        login: str | None,
        *,
        subject: str | None = None,
        label: str | None = None,
    ) -> Experiment:
        """Archive and wait for the end. Raises ArchiveRefused.

        Raises StatusError 500 after `sessionArchiveTimeoutInterval`; the job goes on.
        """
        done: list[Experiment | ArchiveRefused] = []
        ready = threading.Event()

        def work() -> None:
            try:
                done.append(self._archiver.archive(row, policy, login=login, subject=subject, label=label))
            except ArchiveRefused as refusal:
                done.append(refusal)
            ready.set()

        self._background.run(work)
        if not ready.wait(float(str(self._state.site["sessionArchiveTimeoutInterval"]))):
            raise StatusError(500, "The archive operation did not complete within the configured timeout interval.")
        if isinstance(done[0], ArchiveRefused):
            raise done[0]
        return done[0]

    def start(
        self,
        row: PrearchiveRow,
        policy: Policy,
        login: str | None,
        listener: Listener,
        *,
        subject: str | None = None,
        label: str | None = None,
    ) -> None:
        """Archive in the background and tell the listener how it ended."""

        def work() -> None:
            try:
                experiment = self._archiver.archive(row, policy, login=login, subject=subject, label=label)
            except ArchiveRefused as refusal:
                listener.end(refusal.reason, succeeded=False)
                return
            listener.end(archive_uri(self._state, experiment).removeprefix("/data"), succeeded=True)

        self._background.run(work)
