"""What is to be written later is written with the next thing, in order, and never lost by an orderly end."""

from __future__ import annotations

from pathlib import Path

import pytest

from xnatctl.delivery.journal.reading import reading
from xnatctl.delivery.journal.store import Store
from xnatctl.errors import JournalError

PUT = "INSERT OR REPLACE INTO meta VALUES (?, ?)"


def seen(path: Path) -> dict[str, str]:
    with reading(path) as db:
        return dict(db.execute("SELECT key, value FROM meta"))


def test_the_next_write_takes_it_along_before_its_own(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    store = Store(path)
    store.write((PUT, ("a", "first")), later=True)
    assert "a" not in seen(path)
    store.write((PUT, ("b", "x")), (PUT, ("a", "second")))
    assert seen(path) == {"a": "second", "b": "x"}
    store.write((PUT, ("c", "y")), later=True)
    store.write(flush=False)
    assert seen(path)["c"] == "y"
    store.close()


def test_an_orderly_end_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    store = Store(path)
    store.write((PUT, ("a", "1")), later=True)
    store.close()
    assert seen(path) == {"a": "1"}


def test_after_a_failure_nobody_is_told_that_something_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "j.sqlite")
    store.write(("INSERT INTO nowhere VALUES (?)", ("x",)), later=True)
    with pytest.raises(JournalError):
        store.write((PUT, ("a", "1")))
    with pytest.raises(JournalError):
        store.write((PUT, ("b", "2")))
    store.close()
    assert seen(tmp_path / "j.sqlite") == {}
