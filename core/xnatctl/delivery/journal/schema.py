"""The schema of a journal, its upgrades, and the errors of files that are not journals."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from xnatctl.delivery.journal.records import begin_run, meta_of
from xnatctl.errors import JournalError

#: "xnct": identifies our files among other databases.
_APPLICATION = 0x786E6374
SCHEMA_VERSION = 2
#: Columns of numbers that may exceed 63 bits have no type, so that SQLite keeps numbers that are written as text.
_ITEMS = """
CREATE TABLE items (
    name BLOB PRIMARY KEY, path BLOB NOT NULL, size NOT NULL, mtime_ns NOT NULL, ctime_ns, device, inode, digest TEXT,
    run INTEGER NOT NULL, outcome TEXT NOT NULL, reason BLOB, uri TEXT, attempts INTEGER NOT NULL
) WITHOUT ROWID;
"""
_RUNS = "CREATE TABLE runs (run INTEGER PRIMARY KEY, phase TEXT NOT NULL, facts TEXT NOT NULL);\n"
_SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE places (uri TEXT PRIMARY KEY) WITHOUT ROWID;
{_RUNS}{_ITEMS}"""
#: From schema 1, which has no change time, device and inode (so content decides once) and no earlier runs.
_MOVE = """
INSERT INTO items SELECT name, path, size, mtime_ns, NULL, NULL, NULL, digest, run, outcome, reason, uri, attempts
    FROM old_items;
"""
_FROM_1 = f"ALTER TABLE items RENAME TO old_items;{_ITEMS}{_MOVE}DROP TABLE old_items;\n{_RUNS}"
#: Time limit of waiting for another writer.
BUSY_SECONDS = 10.0
#: The longest path that SQLite opens, including its side files, in bytes.
_LONGEST_PATH = 500


class explained:  # noqa: N801 - used as a with statement
    """Turns errors of SQLite and the file system into a JournalError with a hint."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error | OSError):
            raise JournalError(
                f"The journal {self._path} cannot be used: {error}.", hint=_advice(error, self._path)
            ) from error
        if isinstance(error, _DAMAGE):
            raise JournalError(
                f"The journal {self._path} is damaged: {type(error).__name__}: {error}.", hint=_START_OVER
            ) from error


#: Errors from values that no version of xnatctl writes.
_DAMAGE = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
_START_OVER = "Start over with --no-resume: the old journal is deleted and every file is sent again."


def refuse_no_file(path: Path) -> None:
    """Raise JournalError for a path that is not a regular file; SQLite would block on a FIFO."""
    if path.exists() and not path.is_file():
        raise JournalError(
            f"{path} is not a regular file, so it cannot be a journal.",
            hint="Move it away, or set XNATCTL_STATE_DIR to another directory, and run the command again.",
        )


def _advice(error: Exception, path: Path) -> str:
    text = str(error).lower()
    full = "full" in text or "no space" in text or "disk i/o" in text or "file too large" in text
    if full:
        return (
            "Nothing is sent without a record of it. Free space there, or set XNATCTL_STATE_DIR to another "
            "directory, and run the command again."
        )
    if "malformed" in text or "not a database" in text:
        return f"Delete it, and run the command again: {path}" if path.suffix == ".lock" else _START_OVER
    if len(os.fsencode(path)) > _LONGEST_PATH:
        return "Its path is too long for SQLite: set XNATCTL_STATE_DIR to a shorter path, and run the command again."
    return "Check the permissions there, or set XNATCTL_STATE_DIR to another directory, and run the command again."


def check_kind(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is not a journal, and a journal of a later version."""
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == 0 and application == 0 and not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return
    if application != _APPLICATION:
        raise JournalError(f"{path} is a database, but not a journal of xnatctl.", hint="Move it away.")
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"{path} was written by a later version of xnatctl (schema {version}; this one reads {SCHEMA_VERSION}).",
            hint="Use that version to finish the upload, or start over with --no-resume.",
        )


def upgrade(db: sqlite3.Connection) -> None:
    """Create the tables of a new file, or upgrade those of an earlier version in one transaction."""
    db.execute("BEGIN IMMEDIATE")
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version < SCHEMA_VERSION:
            for statement in (_FROM_1 if version else _SCHEMA).split(";\n"):
                if statement.strip():
                    db.execute(statement)
            if version:
                meta = meta_of(db)
                if meta:
                    for sql, values in begin_run(int(meta["run"]), meta.get("phase", ""), meta):
                        db.execute(sql, values)
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
