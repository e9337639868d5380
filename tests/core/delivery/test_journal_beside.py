"""A journal shares no memory with other processes, and can be read while a run writes to it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from xnatctl.delivery.journal.reading import reading
from xnatctl.delivery.journal.store import Store
from xnatctl.errors import JournalError

FACT = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
#: Writes numbers until it is killed; each transaction also writes pages that move to the database soon.
WRITER = f"""
import sys
from pathlib import Path
from xnatctl.delivery.journal.store import Store

store = Store(Path(sys.argv[1]))
print("open", flush=True)
number = 0
while True:
    number += 1
    facts = [({FACT!r}, (f"key-{{number % 97}}", str(number) * 500)), ({FACT!r}, ("latest", str(number)))]
    store.write(*facts, flush=False)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "j.sqlite"


@pytest.fixture
def writer(path):
    """A process that writes without pause."""
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline().split() == [b"open"]
            yield process
        finally:
            process.kill()


def facts(path):
    with reading(path) as db:
        assert db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        return dict(db.execute("SELECT key, value FROM meta"))


def test_it_is_read_while_a_process_writes(path, writer):
    seen = []
    while len(seen) < 30 or seen[-1] < 20_000:  # through several checkpoints
        found = facts(path)
        seen.append(int(found.get("latest", 0)))
        whole = {int(value[: len(value) // 500]) for key, value in found.items() if key.startswith("key-")}
        assert max(whole, default=0) == seen[-1]
    assert seen == sorted(seen)


def test_what_a_killed_process_wrote_is_there(path, writer):
    while int(facts(path).get("latest", 0)) < 5000:
        pass
    writer.kill()
    writer.wait()
    latest = int(facts(path)["latest"])
    with closing(Store(path)) as store:
        assert int(store.meta()["latest"]) == latest >= 5000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists the mappings of a process")
def test_nothing_of_it_is_mapped(path, writer):
    assert str(path) not in Path(f"/proc/{writer.pid}/maps").read_text()
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["j.sqlite", "j.sqlite-wal"]


def test_a_second_writer_is_refused(path, writer, monkeypatch):
    monkeypatch.setattr("xnatctl.delivery.journal.store.BUSY_SECONDS", 0.1)
    with pytest.raises(JournalError, match="locked"):
        Store(path)


def test_what_an_earlier_version_left_is_taken_over(path, tmp_path):
    """That one shared memory; it was killed, so all three files are there."""
    with closing(Store(path)) as store:
        store.write((FACT, ("old", "in the database")))
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(FACT, ("new", "in the log"))
        for side in ("", "-wal", "-shm"):
            shutil.copy(f"{path}{side}", crashed)
    left = crashed / path.name
    with closing(Store(left)) as store:
        assert store.meta() == {"old": "in the database", "new": "in the log"}
        assert not os.path.exists(f"{left}-shm")


def test_the_earlier_version_can_go_on(path):
    with closing(Store(path)) as store:
        store.write((FACT, ("key", "value")))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT value FROM meta").fetchall() == [("value",)]
