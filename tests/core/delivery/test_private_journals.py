"""A journal that one process uses alone: neither locks of the system nor shared memory, and as durable as any other."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from systems import needs_posix_names

from xnatctl.delivery.journal.records import set_meta
from xnatctl.delivery.journal.store import Store

#: Writes a fact, says so, and waits to be killed.
WRITER = """
import sys, time
from pathlib import Path
from xnatctl.delivery.journal.records import set_meta
from xnatctl.delivery.journal.store import Store
store = Store(Path(sys.argv[1]), private=True)
store.write(*set_meta({"run": "7", "study": "1.2"}))
print("written", flush=True)
time.sleep(600)
"""


def locks_on(path: Path) -> list[str]:
    """The locks of any process on a file, as Linux lists them."""
    inode = f":{path.stat().st_ino} "
    return [line for line in Path("/proc/locks").read_text().splitlines() if inode in line]


@pytest.mark.parametrize(
    "name",
    [
        "journal.sqlite",
        "a name with # % and ä.sqlite",
        pytest.param("a name with ?.sqlite", marks=needs_posix_names),
    ],
)
def test_no_lock_and_no_shared_memory_is_used(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with closing(Store(path, private=True)) as store:
        store.write(*set_meta({"run": "3"}))
        assert sorted(file.name for file in tmp_path.iterdir()) == [name, f"{name}-wal"]
        if sys.platform == "linux":
            assert locks_on(path) == []
    assert [file.name for file in tmp_path.iterdir()] == [name]
    with closing(Store(path)) as store:  # others can read it afterwards
        assert store.run() == 3


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline().split() == [b"written"]
    writer.kill()
    writer.communicate()
    with closing(Store(path, private=True)) as store:
        assert store.meta() == {"run": "7", "study": "1.2"}
