"""The part of the Dask executor that runs on a Dask worker: delivers the rows whose numbers it is given."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin, get_worker

import xnatctl
from xnatctl.api import RowResult, RowWork, RowWorker, XnatctlError

#: Seconds after which an unused worker process is ended, so that a run that was killed leaves none behind for long.
_IDLE = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedFolder:
    """The campaign folder as the run sees it. `digest` tells it from another folder of the same path."""

    path: str
    digest: str

    @classmethod
    def of(cls, path: str) -> SharedFolder:
        """The folder at a path."""
        return cls(path=path, digest=_digest(path))

    def problem(self) -> str:
        """Why this machine cannot work in the folder; empty if it can."""
        if not os.path.isdir(self.path):
            return f"it has no folder {self.path}"
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            return f"it cannot write to {self.path}"
        if _digest(self.path) != self.digest:
            return f"{self.path} is another folder there"
        return ""


def _digest(path: str) -> str:
    """The digest of what describes the campaign; empty without it."""
    try:
        return hashlib.sha256(Path(path, "campaign.json").read_bytes()).hexdigest()
    except OSError:
        return ""


class RowPlugin(WorkerPlugin):  # type: ignore[misc]  # distributed is not followed
    """Holds the worker processes of one Dask worker: as many as rows are delivered at once, at most one per thread.

    Each is opened when it is first needed, and serves one row after the other.
    """

    def __init__(self, work: RowWork, folder: SharedFolder) -> None:
        self._work = work
        self._folder = folder
        self._version = xnatctl.__version__

    def setup(self, worker: Any) -> None:
        """Prepare; nothing is opened yet."""
        self._lock = threading.Lock()
        self._idle: list[tuple[RowWorker, float]] = []  # and since when
        self._busy: set[RowWorker] = set()
        self._closed = False
        self._loop = worker.loop
        self._loop.call_later(_IDLE, self._expire)

    async def teardown(self, worker: Any) -> None:
        """Interrupt the rows in work: this Dask worker ends, or the run."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for rows in busy:
            rows.interrupt()  # the thread that it works for closes it
        for rows, _ in idle:
            await self._loop.run_in_executor(None, _close, rows)

    def problem(self) -> str:
        """Why no row can be delivered here; empty if rows can."""
        if self._version != xnatctl.__version__:
            return f"it has xnatctl {xnatctl.__version__}, and the run {self._version}"
        return self._folder.problem()

    def run(self, row: int) -> RowResult:
        """Deliver a row."""
        rows = self._take()
        usable = False
        try:
            result = rows.run(row)
            usable = result.state != "interrupted"
        finally:
            self._give_back(rows, usable=usable)
        return result

    def _take(self) -> RowWorker:
        with self._lock:
            if self._idle:
                rows, _ = self._idle.pop()
                self._busy.add(rows)
                return rows
        rows = self._work.open()
        rows.__enter__()
        with self._lock:
            self._busy.add(rows)
            closed = self._closed
        if closed:
            rows.interrupt()
        return rows

    def _give_back(self, rows: RowWorker, *, usable: bool) -> None:
        with self._lock:
            self._busy.discard(rows)
            kept = usable and not self._closed
            if kept:
                self._idle.append((rows, time.monotonic()))
        if not kept:
            _close(rows)

    def _expire(self) -> None:
        """Close the worker processes that were not needed for long."""
        limit = time.monotonic() - _IDLE
        with self._lock:
            old = [rows for rows, since in self._idle if since <= limit]
            self._idle = [(rows, since) for rows, since in self._idle if since > limit]
            closed = self._closed
        for rows in old:
            self._loop.run_in_executor(None, _close, rows)
        if not closed:
            self._loop.call_later(_IDLE, self._expire)


def _close(rows: RowWorker) -> None:
    with suppress(XnatctlError):
        rows.__exit__(None, None, None)


def check_worker(name: str) -> str:
    """The task that asks a Dask worker for `RowPlugin.problem`."""
    return _plugin(name).problem()


def deliver_row(name: str, row: int) -> dict[str, Any]:
    """The task that delivers a row; returns its `RowResult` as a document. Raises XnatctlError if no row can be."""
    return _plugin(name).run(row).as_document()


def _plugin(name: str) -> RowPlugin:
    plugin = get_worker().plugins[name]
    assert isinstance(plugin, RowPlugin)
    return plugin
