"""Journals of rows: each claim begins with a copy of what the claim before recorded, unless that is damaged."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from xnatctl_campaign.row_journals import journals_of

#: Writes 200 lines, of which none is in the database itself yet, and is killed.
WRITER = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
db.execute("PRAGMA synchronous = OFF")
db.execute("PRAGMA wal_autocheckpoint = 0")
db.execute("CREATE TABLE items (name TEXT)")
for number in range(200):
    db.execute("INSERT INTO items VALUES (?)", (str(number) * 100,))
os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # Windows kills by any number
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path


@pytest.fixture
def first(folder: Path) -> Path:
    """The journals of the first claim of row 5, whose process was killed."""
    journals = journals_of(folder, 5, 1)
    subprocess.run([sys.executable, "-c", WRITER, journals / "a.sqlite"], check=False)
    assert (journals / "a.sqlite-wal").stat().st_size > 20000
    return journals


def lines(journal: Path) -> int:
    with closing(sqlite3.connect(journal)) as db:
        return int(db.execute("SELECT count(*) FROM items").fetchone()[0])


def contents(journals: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in journals.iterdir()}


def test_a_claim_continues_from_the_record_of_the_claim_before(folder: Path, first: Path) -> None:
    before = contents(first)
    second = journals_of(folder, 5, 2)
    assert contents(first) == before
    assert lines(second / "a.sqlite") == 200
    assert [path.name for path in (folder / "work").iterdir() if path.name.startswith(".")] == []


def test_a_claim_that_never_had_a_folder_is_passed_over(folder: Path, first: Path) -> None:
    assert lines(journals_of(folder, 5, 4) / "a.sqlite") == 200


def test_a_lock_that_a_stopped_process_holds_does_not_block_others(folder: Path, first: Path) -> None:
    with closing(sqlite3.connect(first / "a.sqlite", isolation_level=None)) as stopped:
        stopped.execute("BEGIN EXCLUSIVE")
        stopped.execute("INSERT INTO items VALUES ('unfinished')")
        assert lines(journals_of(folder, 5, 2) / "a.sqlite") == 200


@pytest.mark.parametrize("damage", ["cut", "zeros", "text"])
def test_a_damaged_record_is_dropped(folder: Path, first: Path, damage: str) -> None:
    journal = first / "a.sqlite"
    with closing(sqlite3.connect(journal)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = journal.stat().st_size
    with open(journal, "r+b") as file:
        if damage == "cut":
            file.truncate(size // 2)
        else:
            file.seek(0 if damage == "text" else size // 2)
            file.write(b"text " * 1000 if damage == "text" else bytes(size // 2))
    assert list(journals_of(folder, 5, 2).iterdir()) == []


def test_transactions_that_were_not_written_to_their_end_do_not_count(folder: Path, first: Path) -> None:
    log = first / "a.sqlite-wal"
    with open(log, "r+b") as file:
        file.truncate(log.stat().st_size - 100)
    assert lines(journals_of(folder, 5, 2) / "a.sqlite") == 199


def test_a_claim_that_was_interrupted_while_it_copied_copies_again(folder: Path, first: Path) -> None:
    draft = folder / "work" / ".5.2.draft"
    shutil.copytree(first, draft)
    (draft / "a.sqlite").write_bytes(b"half")
    assert lines(journals_of(folder, 5, 2) / "a.sqlite") == 200
    assert lines(journals_of(folder, 5, 2) / "a.sqlite") == 200  # the same claim again


def test_other_rows_have_nothing_to_do_with_it(folder: Path, first: Path) -> None:
    assert list(journals_of(folder, 55, 2).iterdir()) == []
