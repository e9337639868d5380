"""Archiving as requests see it: queued, with a time-out, or followed by a listener (xnat-import 6.4, 8)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from xnatctl_sandbox.archive import archiver
from xnatctl_sandbox.archive.checks import ArchiveRefused, Policy
from xnatctl_sandbox.http.responses import Call, StatusError
from xnatctl_sandbox.world.state import Experiment, PrearchiveRow

if TYPE_CHECKING:
    from xnatctl_sandbox.server import Sandbox


class Archiving:
    """Runs the archiver for requests."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._state = sandbox.state

    def timed(
        self,
        row: PrearchiveRow,
        policy: Policy,
        login: str | None,
        *,
        subject: str | None = None,
        label: str | None = None,
    ) -> Experiment:
        """Wait for it; after `sessionArchiveTimeoutInterval` the answer is 500 and the job goes on."""
        done: list[Experiment | ArchiveRefused] = []
        ready = threading.Event()

        def work() -> None:
            try:
                done.append(self._sandbox.archiver.archive(row, policy, login=login, subject=subject, label=label))
            except ArchiveRefused as refusal:
                done.append(refusal)
            ready.set()

        self._sandbox.background(work)
        if not ready.wait(float(str(self._state.site["sessionArchiveTimeoutInterval"]))):
            raise StatusError(500, "The archive operation did not complete within the configured timeout interval.")
        if isinstance(done[0], ArchiveRefused):
            raise done[0]
        return done[0]

    def follow(
        self,
        call: Call,
        key: str,
        row: PrearchiveRow,
        policy: Policy,
        *,
        subject: str | None = None,
        label: str | None = None,
    ) -> None:
        """Do it in the background, told to the listener `key`."""
        self._sandbox.tracking.begin(call, key)

        def work() -> None:
            try:
                experiment = self._sandbox.archiver.archive(row, policy, login=call.login, subject=subject, label=label)
            except ArchiveRefused as refusal:
                self._sandbox.tracking.end(call, key, refusal.reason, succeeded=False)
                return
            uri = archiver.archive_uri(self._state, experiment).removeprefix("/data")
            self._sandbox.tracking.end(call, key, uri, succeeded=True)

        self._sandbox.background(work)
