"""Journals on disk: one SQLite file per destination in the state directory.

Each write is one transaction and durable by default, so a kill at any instruction leaves the state before or after it.
Workers that write at the same time share a transaction, because the disk is the slow part. A journal holds paths, UIDs,
labels and outcomes; no patient data and no secrets. It is locked while a run has it open, and no memory is shared, so
it may be on a network file system; `reading` reads it nevertheless.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from xnatctl.delivery.journal.reading import connect
from xnatctl.delivery.journal.records import (
    PROVEN,
    JournalEntry,
    Left,
    Statement,
    encode,
    left_of,
    meta_of,
    rows_of,
    text_of,
)
from xnatctl.delivery.journal.schema import BUSY_SECONDS, check_kind, explained, refuse_no_file, upgrade
from xnatctl.errors import JournalError
from xnatctl.model.refs import Destination, ResourceRef
from xnatctl.operating_system.files import WITHOUT_LOCKS
from xnatctl.operating_system.private import create_private

#: Cache of SQLite in KiB; the operating system caches the rest.
_CACHE = 512


def journal_key(
    destination: Destination,
    root: str | None = None,
    resources: Sequence[ResourceRef] = (),
    receiver: Sequence[str] = (),
) -> str:
    """The name of the journal of a destination: sixteen hex digits.

    `root` is used when there is no session label, as with a receiver; `receiver` is its transport and address;
    `resources` are used when only they are written to. The subject is not part of the key if a session is named,
    because a label is unique in its project.
    """
    server = "" if receiver else destination.server
    parts = [server, destination.project.casefold(), destination.session.casefold(), root or "", *receiver]
    if resources:
        parts += [destination.subject if not destination.session else "", *sorted(ref.key for ref in resources)]
    return hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()[:16]


class Store:
    """One journal file, open for writing. Thread-safe; close it at the end.

    `private`: no other process uses the file meanwhile, so no locks are needed. Raises JournalError if the file cannot
    be used or written; then nothing may be sent.
    """

    def __init__(self, path: Path, *, fresh: bool = False, private: bool = False) -> None:
        self.path = path
        self._private = private
        self._pending: list[Statement] = []
        self._flush = False
        self._synchronous = "FULL"
        self._fault: JournalError | None = None
        self._closed = False
        self._queued = self._written = 0
        self._queue_lock = threading.Lock()
        self._write_lock = threading.Lock()
        if fresh:
            remove(path)
        self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        with explained(self.path):
            with suppress(FileExistsError):
                # SQLite would create it with the umask; its side files get the mode of this file.
                os.close(create_private(self.path))
            refuse_no_file(self.path)
            db = self._connect()
            try:
                check_kind(db, self.path)
                db.execute("PRAGMA journal_mode = WAL")
                Path(f"{self.path}-shm").unlink(missing_ok=True)  # left by an earlier version; nothing reads it now
                db.execute("PRAGMA synchronous = FULL")
                db.execute(f"PRAGMA cache_size = -{_CACHE}")
                upgrade(db)
            except BaseException:
                db.close()
                raise
            return db

    def _connect(self) -> sqlite3.Connection:
        if not self._private:
            return connect(self.path, timeout=BUSY_SECONDS)
        return connect(f"{self.path.absolute().as_uri()}?{WITHOUT_LOCKS}", timeout=0, uri=True)

    def close(self) -> None:
        """Write deferred statements and close the file; never raises, and may be called twice."""
        if self._closed:
            return
        self._closed = True
        with suppress(JournalError):
            self.write()
        with suppress(sqlite3.Error):
            self._db.close()

    # reading

    def meta(self) -> dict[str, str]:
        """The facts about the journal."""
        with self._write_lock, explained(self.path):
            return meta_of(self._db)

    def run(self) -> int:
        """The number of the latest run; 0 for a new journal."""
        with self._write_lock, explained(self.path):
            found = self._db.execute("SELECT value FROM meta WHERE key = 'run'").fetchone()
            return int(found[0]) if found is not None else 0

    def places(self) -> tuple[str, ...]:
        """The URIs that the server returned."""
        with self._write_lock, explained(self.path):
            return tuple(text_of(uri) for (uri,) in self._db.execute("SELECT uri FROM places"))

    def find(self, names: Sequence[str]) -> dict[str, JournalEntry]:
        """The entries of earlier runs for some files, by member name."""
        marks = ",".join("?" * len(names))
        with self._write_lock, explained(self.path):
            return dict(rows_of(self._db, f"WHERE name IN ({marks})", list(map(encode, names))))

    def left(self, run: int) -> list[Left]:
        """Items of runs before this one that are not proven to be on the server, in the order of their names."""
        with self._write_lock, explained(self.path):
            return left_of(self._db, run)

    def besides(self, run: int, uri: str) -> int:
        """The number of items of earlier runs that were delivered to a place."""
        with self._write_lock, explained(self.path):
            query = "SELECT count(*) FROM items WHERE run != ? AND uri = ? AND outcome IN ('accepted', 'verified')"
            return int(self._db.execute(query, (run, uri)).fetchone()[0])

    def leaves(self, run: int) -> bool:
        """True if there are such items."""
        with self._write_lock, explained(self.path):
            query = f"SELECT 1 FROM items WHERE run != ? AND NOT {PROVEN} LIMIT 1"  # noqa: S608 - our own text
            return self._db.execute(query, (run,)).fetchone() is not None

    def untouched(self) -> bool:
        """True if nothing was sent and no outcome is recorded."""
        with self._write_lock, explained(self.path):
            known = self._db.execute(
                "SELECT 1 FROM items WHERE attempts > 0 OR outcome != 'planned' LIMIT 1"
            ).fetchone()
        return known is None

    def tried(self) -> bool:
        """True if something was or may have been sent."""
        with self._write_lock, explained(self.path):
            return self._db.execute("SELECT 1 FROM items WHERE attempts > 0 LIMIT 1").fetchone() is not None

    # writing

    def write(self, *statements: Statement, flush: bool = True, later: bool = False) -> None:
        """Execute statements in one transaction, possibly together with those of other workers.

        Returns when they are on disk; without `flush` as soon as the operating system has them, so that they survive
        this process and reach the disk with the next flushed write. `later`: the next write of any worker executes them
        first. Raises JournalError if a write fails, and on every call after that.
        """
        with self._queue_lock:
            self._pending += statements
            self._flush = self._flush or flush
            self._queued += 1
            ticket = self._queued
        if later:
            return
        with self._write_lock:
            if self._fault is not None:
                raise self._fault
            if self._written >= ticket:
                return  # another worker has written ours
            with self._queue_lock:
                batch, self._pending = self._pending, []
                flush, self._flush = self._flush, False
                upto = self._queued
            try:
                with explained(self.path):
                    self._commit(batch, "FULL" if flush else "NORMAL")
            except JournalError as error:
                self._fault = error  # statements of other workers are not written either
                raise
            self._written = upto

    def _commit(self, statements: Sequence[Statement], synchronous: str) -> None:
        """The one place where a journal changes. In WAL mode NORMAL skips the fsync of this transaction."""
        if synchronous != self._synchronous:
            self._db.execute(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for sql, group in groupby(statements, key=itemgetter(0)):
                self._db.executemany(sql, map(itemgetter(1), group))
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise


def remove(path: Path) -> None:
    """Delete a journal that no run uses. Raises JournalError."""
    with explained(path):
        refuse_no_file(path)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
