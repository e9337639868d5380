"""The journals of a row: a folder for each claim, which begins with a copy of what the claim before recorded.

A stopped process keeps its folder and the locks in it, so it neither blocks its successor nor writes into what that
one uses. The folders stay: a later run resumes from them, also after the row was proven.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from xnatctl.api import JournalError
from xnatctl.api.system import WITHOUT_LOCKS, create_private

#: A database, and the transactions that are not in it yet. Its third file is shared memory, and made anew.
_PARTS: Final = ("", "-wal")
#: Attempts to read a journal that its process still writes.
_READS: Final = 3


def journals_of(directory: Path, row: int, generation: int) -> Path:
    """Make the folder for the journals of a claim, with copies of those of the claim before. Raises JournalError."""
    folder = directory / "work" / f"{row}.{generation}"
    try:
        if not folder.exists():
            _make(folder, _before(folder, row, generation))
    except OSError as error:
        raise JournalError(
            f"Cannot make the journal of row {row} in {folder}: {error.strerror or error}.",
            hint="Check that this machine can write to the campaign folder.",
        ) from error
    return folder


def _make(folder: Path, before: Path | None) -> None:
    """Make a folder, complete from its first moment, so that a later claim copies all of it or an earlier one."""
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    if before is not None:
        for journal in sorted(before.glob("*.sqlite")):
            _copy(journal, draft / journal.name)
    draft.rename(folder)


def _before(folder: Path, row: int, generation: int) -> Path | None:
    """The folder of the latest claim before that has one."""
    for earlier in range(generation - 1, 0, -1):
        before = folder.with_name(f"{row}.{earlier}")
        if before.is_dir():
            return before
    return None


def _copy(journal: Path, copy: Path) -> None:
    """Copy a journal, or nothing if it is damaged: what the server holds shows as well what was delivered."""
    content = _stable(journal)
    if content is None:
        return
    for part, data in zip(_PARTS, content, strict=True):
        if data:
            _write(Path(f"{copy}{part}"), data)
    if not _is_whole(copy):
        for suffix in (*_PARTS, "-shm"):
            Path(f"{copy}{suffix}").unlink(missing_ok=True)


def _stable(journal: Path) -> list[bytes] | None:
    """The content of both files at one instant; None while a process changes them.

    Its process lost its claim or died. If it was stopped and continues, it may write until it notices. A state of one
    instant is what a crash would leave, which SQLite recovers; a mixture of two may be neither.
    """
    before = _read(journal)
    for _ in range(_READS):
        again = _read(journal)
        if again == before:
            return again
        before = again
    return None


def _read(journal: Path) -> list[bytes]:
    return [_bytes(Path(f"{journal}{part}")) for part in _PARTS]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _write(path: Path, data: bytes) -> None:
    with open(create_private(path), "wb") as file:
        file.write(data)


def _is_whole(journal: Path) -> bool:
    """Whether SQLite finds no damage; moves what the second file holds into the database."""
    try:
        address = f"{journal.absolute().as_uri()}?{WITHOUT_LOCKS}"  # no other process uses it
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as db:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")  # needs no shared memory
            return bool(db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.Error:
        return False
