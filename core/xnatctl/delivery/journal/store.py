"""Journals on disk: one SQLite file per destination in the state directory.

Each write is one transaction, durable unless its writer says that it need not be, so that a kill at any instruction
leaves either the state before it or the state after it. Workers that write at the same time share a transaction,
because the disk, not SQLite, is what takes the time. A journal holds paths, UIDs, labels and outcomes; no patient data
and no secret.
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
from xnatctl.delivery.journal.schema import BUSY_SECONDS, bring_up, check_kind, explained, refuse_no_file
from xnatctl.errors import JournalError
from xnatctl.model.refs import Destination, ResourceRef

#: KiB of a journal that SQLite keeps in memory; the rest is in the cache of the operating system.
_CACHE = 512


def journal_key(
    destination: Destination,
    root: str | None = None,
    resources: Sequence[ResourceRef] = (),
    receiver: Sequence[str] = (),
) -> str:
    """Sixteen hex digits that name the journal of a destination.

    `root` where a receiver names no session, and `receiver` is the transport that hands over to it, and its address;
    `resources` where they alone are written to. The subject is no part of it where a session is named: a label is
    unique in its project, whatever subject it is filed under.
    """
    server = "" if receiver else destination.server
    parts = [server, destination.project.casefold(), destination.session.casefold(), root or "", *receiver]
    if resources:
        parts += [destination.subject if not destination.session else "", *sorted(ref.key for ref in resources)]
    return hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()[:16]


class Store:
    """One journal file, open for writing. Every method may be called from any worker; close it at the end.

    Raises JournalError when the file cannot be used or written; nothing may be sent then.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
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
                # SQLite would make it with the umask; its side files take the mode of this one.
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            refuse_no_file(self.path)
            db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                check_kind(db, self.path)
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                db.execute(f"PRAGMA cache_size = -{_CACHE}")
                bring_up(db)
            except BaseException:
                db.close()
                raise
            return db

    def close(self) -> None:
        """Write what was to be written later and close the file; never raises, and does nothing the second time."""
        if self._closed:
            return
        self._closed = True
        with suppress(JournalError):
            self.write()
        with suppress(sqlite3.Error):
            self._db.close()

    # reading

    def meta(self) -> dict[str, str]:
        """Everything known of the journal as a whole."""
        with self._write_lock, explained(self.path):
            return meta_of(self._db)

    def run(self) -> int:
        """The number of the latest run; 0 for a new journal."""
        with self._write_lock, explained(self.path):
            found = self._db.execute("SELECT value FROM meta WHERE key = 'run'").fetchone()
            return int(found[0]) if found is not None else 0

    def places(self) -> tuple[str, ...]:
        """The URIs where the server said that it put something."""
        with self._write_lock, explained(self.path):
            return tuple(text_of(uri) for (uri,) in self._db.execute("SELECT uri FROM places"))

    def find(self, names: Sequence[str]) -> dict[str, JournalEntry]:
        """What earlier runs recorded of some files, by member name."""
        marks = ",".join("?" * len(names))
        with self._write_lock, explained(self.path):
            return dict(rows_of(self._db, f"WHERE name IN ({marks})", list(map(encode, names))))

    def left(self, run: int) -> list[Left]:
        """Items of runs before this one that are not proven to be on the server, in the order of their names."""
        with self._write_lock, explained(self.path):
            return left_of(self._db, run)

    def besides(self, run: int, uri: str) -> int:
        """How many items of runs before this one were delivered to a place."""
        with self._write_lock, explained(self.path):
            query = "SELECT count(*) FROM items WHERE run != ? AND uri = ? AND outcome IN ('accepted', 'verified')"
            return int(self._db.execute(query, (run, uri)).fetchone()[0])

    def leaves(self, run: int) -> bool:
        """True when there are such items."""
        with self._write_lock, explained(self.path):
            query = f"SELECT 1 FROM items WHERE run != ? AND NOT {PROVEN} LIMIT 1"  # noqa: S608 - our own text
            return self._db.execute(query, (run,)).fetchone() is not None

    def untouched(self) -> bool:
        """True when nothing was sent, and nothing is known of any file."""
        with self._write_lock, explained(self.path):
            known = self._db.execute(
                "SELECT 1 FROM items WHERE attempts > 0 OR outcome != 'planned' LIMIT 1"
            ).fetchone()
        return known is None

    def tried(self) -> bool:
        """True when something was sent, or may have been."""
        with self._write_lock, explained(self.path):
            return self._db.execute("SELECT 1 FROM items WHERE attempts > 0 LIMIT 1").fetchone() is not None

    # writing

    def write(self, *statements: Statement, flush: bool = True, later: bool = False) -> None:
        """Carry out statements in one transaction, perhaps together with those of other workers.

        Returns when they are on the disk; without `flush` as soon as the operating system has them, so that they
        outlive this process, and the next flushed write takes them to the disk. `later`: the next write of anybody
        carries them out as well, before its own. Raises JournalError when they are not written, from then on always.
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
                return  # another worker took ours along
            with self._queue_lock:
                batch, self._pending = self._pending, []
                flush, self._flush = self._flush, False
                upto = self._queued
            try:
                with explained(self.path):
                    self._commit(batch, "FULL" if flush else "NORMAL")
            except JournalError as error:
                self._fault = error  # what others asked for is not written either
                raise
            self._written = upto

    def _commit(self, statements: Sequence[Statement], synchronous: str) -> None:
        """The one place where a journal changes. In WAL mode NORMAL leaves out the fsync of this transaction."""
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
    """Delete a journal that no run is using. Raises JournalError."""
    with explained(path):
        refuse_no_file(path)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
