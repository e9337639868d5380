"""Reads a journal, also while a run writes to it.

A run locks its journal exclusively, because that needs no memory shared between processes, which network file systems
do not have (sqlite.org/wal.html, 8). A reader that finds it locked reads a copy of its own.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from xnatctl.delivery.journal.schema import check_kind, explained, refuse_no_file
from xnatctl.errors import JournalError
from xnatctl.operating_system.files import open_to_read

#: Bytes of the header of a write-ahead log, which changes when the log starts anew (sqlite.org/fileformat2.html, 4).
_HEADER: Final = 32
#: Copies that are made until one is whole. A log starts anew after a thousand pages.
_COPIES: Final = 20


class reading:  # noqa: N801 - used as a with statement
    """Opens a journal for reading. Raises JournalError.

    Not for a journal that this process has open for writing: closing a file ends all locks of the process on it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = explained(path)
        self._stack = ExitStack()

    def __enter__(self) -> sqlite3.Connection:
        with self._stack, self._guard:
            refuse_no_file(self._path)
            try:
                db = self._open(self._path)
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
                db = self._open_copy()
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                raise JournalError(f"{self._path} is empty: its run ended before it began.")
            self._stack = self._stack.pop_all()
        return db

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._stack.close()
        self._guard.__exit__(kind, error, trace)

    def _open(self, path: Path) -> sqlite3.Connection:
        db = connect(path, timeout=0)
        self._stack.callback(db.close)
        check_kind(db, self._path)
        return db

    def _open_copy(self) -> sqlite3.Connection:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="xnatctl-"))
        copy = Path(folder) / "journal.sqlite"
        for _ in range(_COPIES):
            if (content := _content(self._path)) is None:
                continue
            database, log = content
            copy.write_bytes(database)
            Path(f"{copy}-wal").write_bytes(log)
            return self._open(copy)
        raise JournalError(
            f"The journal {self._path} changes too fast to be read.", hint="Run the command again in a moment."
        )


def connect(path: Path | str, *, timeout: float, uri: bool = False) -> sqlite3.Connection:
    """Open a database that this process locks exclusively at its first access, and keeps locked.

    So SQLite keeps the index of the write-ahead log in its own memory.
    """
    db = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False, uri=uri)
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    return db


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection has locked the database."""
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _content(path: Path) -> tuple[bytes, bytes] | None:
    """Database and log as they belong together; None if the log started anew meanwhile.

    Pages that move from the log to the database while that is read are still in the log, which is read afterwards.
    """
    log = Path(f"{path}-wal")
    before = _read(log, _HEADER)
    database, whole = _read(path), _read(log)
    same = before == whole[:_HEADER] == _read(log, _HEADER)
    return (database, whole) if same else None


def _read(path: Path, count: int = -1) -> bytes:
    """The first `count` bytes of a file, or all; empty for one that does not exist."""
    try:
        with os.fdopen(open_to_read(path), "rb") as file:
            return file.read(count)
    except FileNotFoundError:
        return b""
