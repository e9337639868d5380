"""What a journal keeps of each file: when it counts as unchanged, what earlier runs left, and damage."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from systems import needs_change_times, needs_fifos, needs_posix_names

from xnatctl.delivery.journal.journal import Journal, Phase
from xnatctl.delivery.journal.store import Store, journal_key
from xnatctl.delivery.journal.summaries import items_of, summaries
from xnatctl.delivery.session.resume import find_accepted
from xnatctl.errors import JournalError
from xnatctl.inventory.sources import content_hash
from xnatctl.model.outcome import ItemOutcome, Outcome
from xnatctl.model.plan import Batch, FileStatus, Series, Source, UploadItem
from xnatctl.model.refs import Destination, ResourceLevel, ResourceRef

OLD = Path(__file__).with_name("data") / "journal-schema-1.sqlite"
#: What the old journal holds, as the run that wrote it saw it.
OLD_TIME = 1_700_000_000_000_000_000
FACTS = {
    "root": json.dumps("/data"),
    "request": "{}",
    "sends": "resources",
    "destination": json.dumps({"server": "https://x", "project": "P", "subject": "s", "session": "e"}),
}


@contextmanager
def opened(path: Path) -> Iterator[Journal]:
    with closing(Store(path)) as store, closing(Journal(store)) as journal:
        yield journal


def item_of(path: Path, number: int = 0, **more: Any) -> UploadItem:
    status = path.stat()
    known = UploadItem(
        path=f"scan/{path.name}",
        source=Source(path=str(path)),
        size=status.st_size,
        stamp=FileStatus.of(status).packed,
        sop_instance_uid=f"1.2.3.{number}",
        series=Series(study_instance_uid="1.2", series_instance_uid="1.2.1"),
    )
    return replace(known, **more)


@pytest.fixture
def items(tmp_path: Path) -> list[UploadItem]:
    """Six files with the content, size and modification time that the old journal knows."""
    (tmp_path / "scan").mkdir()
    made = []
    for number in range(6):
        path = tmp_path / "scan" / f"{number:02d}"
        path.write_bytes(bytes([number]) * 10)
        os.utime(path, ns=(OLD_TIME + number, OLD_TIME + number))
        made.append(item_of(path, number))
    return made


def deliver(
    path: Path,
    items: list[UploadItem],
    *,
    phase: str = Phase.DONE,
    only: int | None = None,
    resource: ResourceRef | None = None,
) -> None:
    """A run that sends items, all or the first ones, and comes to a phase."""
    with opened(path) as journal:
        journal.begin(FACTS)
        journal.open(items, resource=resource)
        sent = items if only is None else items[:only]
        if sent:
            journal.intend(Batch(id="1", items=tuple(sent)))
            for item in sent:
                journal.digest(item, content_hash(item))
            journal.record([ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED) for item in sent])
        journal.enter(phase)


def proven(path: Path, items: list[UploadItem]) -> list[int]:
    """One run that only looks and records; 1 for an item that need not be sent."""
    with opened(path) as journal:
        ground = find_accepted(items, journal)
        journal.begin(FACTS)
        journal.open(items, ground.proven)
        journal.enter(Phase.DONE)
    return list(ground.proven)


# unchanged or not


def test_a_journal_of_an_earlier_schema_goes_on_and_content_decides_once(
    tmp_path: Path, items: list[UploadItem]
) -> None:
    pytest.importorskip("xxhash", reason="two of its digests were made with it")
    path = tmp_path / "j.sqlite"
    shutil.copy(OLD, path)
    target = Path(items[1].file)
    target.write_bytes(b"corrected!")
    os.utime(target, ns=(OLD_TIME + 1, OLD_TIME + 1))
    items[1] = item_of(target, 1)
    before = {entry.path: entry.outcome for entry in items_of(path)}
    assert [summary.found for summary in summaries(tmp_path)] == [6], "it is shown before any run has opened it"
    assert proven(path, items) == [1, 0, 1, 0, 0, 0]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        rows = db.execute("SELECT inode, device, ctime_ns, digest FROM items ORDER BY name").fetchall()
    assert [row[:3] for row in rows] == [
        (item.status.inode, item.status.device, item.status.ctime_ns) for item in items
    ]
    assert [row[3] is not None for row in rows] == [True, False, True, False, False, False]
    assert before["scan/03"] is Outcome.AMBIGUOUS
    assert {entry.path: entry.attempts for entry in items_of(path)}["scan/03"] == 1
    (summary,) = summaries(tmp_path)
    assert summary.destination.session == "e"
    assert summary.study == "1.2"


def test_an_upgrade_that_is_cut_leaves_the_old_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j.sqlite"
    shutil.copy(OLD, path)
    monkeypatch.setattr("xnatctl.delivery.journal.schema.begin_run", lambda *_: [("no SQL", ())])
    with pytest.raises(JournalError):
        Store(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM items").fetchone() == (6,)


def _rewritten(path: Path) -> None:
    path.write_bytes(b"x" * 10)


def _replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"x" * 10)
    other.replace(path)


@pytest.mark.parametrize("change", [_rewritten, _replaced])
def test_other_bytes_with_the_times_restored_are_another_file(
    tmp_path: Path, items: list[UploadItem], change: Callable[[Path], None]
) -> None:
    path, target = tmp_path / "j.sqlite", Path(items[2].file)
    deliver(path, items)
    change(target)
    os.utime(target, ns=(OLD_TIME + 2, OLD_TIME + 2))
    items[2] = item_of(target, 2)
    assert proven(path, items) == [1, 1, 0, 1, 1, 1]


@needs_change_times
def test_a_file_with_the_same_content_is_recorded_anew_and_not_read_again(
    tmp_path: Path, items: list[UploadItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = tmp_path / "j.sqlite", []
    deliver(path, items)

    def has_content(item: UploadItem, known: str) -> bool:
        read.append(item.path)
        return content_hash(item) == known

    monkeypatch.setattr("xnatctl.delivery.session.resume.has_content", has_content)
    assert proven(path, items) == [1] * 6
    assert read == []
    for item in items:
        os.chmod(item.file, 0o600)
    items = [item_of(Path(item.file), number) for number, item in enumerate(items)]
    assert proven(path, items) == [1] * 6
    assert len(read) == 6
    assert proven(path, items) == [1] * 6
    assert len(read) == 6


@pytest.mark.parametrize("unknown", ["ctime_ns", "inode"])
def test_where_the_identity_of_a_file_is_not_known_its_content_decides(
    tmp_path: Path, items: list[UploadItem], unknown: str
) -> None:
    path = tmp_path / "j.sqlite"
    blind = [replace(item, stamp=item.status._replace(**{unknown: 0}).packed) for item in items]
    deliver(path, blind)
    Path(items[0].file).write_bytes(b"x" * 10)
    os.utime(items[0].file, ns=(OLD_TIME, OLD_TIME))
    assert proven(path, blind) == [0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("number", [0, -1, -(1 << 70), (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 100])
def test_every_number_that_a_file_system_may_show_comes_back(
    tmp_path: Path, items: list[UploadItem], number: int
) -> None:
    shown = SimpleNamespace(st_mtime_ns=number, st_ctime_ns=number or 1, st_dev=number, st_ino=number or 1)
    status = FileStatus.of(cast("os.stat_result", shown))
    odd = replace(items[0], stamp=status.packed, size=abs(number))
    path = tmp_path / "j.sqlite"
    with opened(path) as journal:
        journal.begin(FACTS)
        journal.open([odd])
    with opened(path) as journal:
        (before,) = journal.recorded([odd])
    assert before is not None
    assert before.describes(odd) == bool(status.ctime_ns and status.inode)
    assert not before.describes(replace(odd, size=odd.size + 1))
    for field in FileStatus._fields:
        other = status._replace(**{field: getattr(status, field) ^ 1})
        assert not before.describes(replace(odd, stamp=other.packed))


# what earlier runs left


def test_what_an_earlier_run_did_not_prove_stays_until_it_is_proven(tmp_path: Path, items: list[UploadItem]) -> None:
    path = tmp_path / "j.sqlite"
    deliver(path, items[:3], phase=Phase.SENDING, only=2)
    deliver(path, items[3:])
    (summary,) = summaries(tmp_path)
    assert not summary.complete
    assert (summary.found, summary.delivered) == (6, 5)
    assert [(left.path, left.outcome, left.root) for left in summary.left] == [
        ("scan/00", Outcome.ACCEPTED, "/data"),
        ("scan/01", Outcome.ACCEPTED, "/data"),
        ("scan/02", Outcome.PLANNED, "/data"),
    ]
    with opened(path) as journal:
        assert journal.unfinished
        journal.prove([left.name for left in journal.left()[:2]])
    assert [left.path for left in next(summaries(tmp_path)).left] == ["scan/02"]
    deliver(path, items[:3])
    (summary,) = summaries(tmp_path)
    assert summary.complete
    with opened(path) as journal:
        assert not journal.unfinished


def test_a_run_that_came_to_its_end_leaves_nothing(tmp_path: Path, items: list[UploadItem]) -> None:
    path = tmp_path / "j.sqlite"
    deliver(path, items[:3])
    deliver(path, items[3:])
    (summary,) = summaries(tmp_path)
    assert (summary.complete, summary.found) == (True, 3)


def test_files_that_are_only_planned_keep_what_was_known_of_them(tmp_path: Path, items: list[UploadItem]) -> None:
    """A run that is killed before it comes to a resource has changed nothing of its record."""
    path, resource = tmp_path / "j.sqlite", ResourceRef(label="R", level=ResourceLevel.SESSION)
    deliver(path, items, resource=resource)
    os.chmod(items[0].file, 0o600)
    changed = item_of(Path(items[0].file), 0)
    with opened(path) as journal:
        before = list(journal.recorded(items, resource))
        journal.begin(FACTS)
        journal.plan([changed, *items[1:]], resource)
        assert list(journal.recorded(items, resource)) == before
    (summary,) = summaries(tmp_path)
    assert (summary.found, summary.left) == (6, [])


# damage

SPOILT = {
    "outcome": "UPDATE items SET outcome = 'lost'",
    "digest": "UPDATE items SET digest = 'sha999:00'",
    "digest of bytes": "UPDATE items SET digest = x'ff00ff'",
    "size": "UPDATE items SET size = 'many'",
    "inode": "UPDATE items SET inode = x'00'",
    "attempts": "UPDATE items SET attempts = 'often'",
    "run": "UPDATE meta SET value = 'first' WHERE key = 'run'",
    "huge run": f"UPDATE meta SET value = '{10**30}' WHERE key = 'run'",
    "no table": "DROP TABLE items",
    "no runs": "DROP TABLE runs",
    "no meta": "DROP TABLE meta",
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_damage_is_an_error_with_a_way_out(tmp_path: Path, items: list[UploadItem], spoilt: str) -> None:
    path = tmp_path / "j.sqlite"
    deliver(path, items, phase=Phase.SENDING)
    with closing(sqlite3.connect(path)) as db:
        db.execute(SPOILT[spoilt])
        db.commit()
    with pytest.raises(JournalError) as caught:
        proven(path, items)
    assert caught.value.hint
    del caught  # it holds the file open, which cannot be removed on Windows meanwhile
    list(summaries(tmp_path))
    with closing(Store(path, fresh=True)) as store:
        assert store.meta() == {}


BAD_FACTS = {
    "request": ["[1]", "{", "null", '"x"'],
    "destination": ["{}", "[]", '{"server": 1}'],
    "root": ["{"],
    "updated": ["soon"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD_FACTS.items() for value in values])
def test_facts_that_make_no_sense_are_shown_as_a_problem(
    tmp_path: Path, items: list[UploadItem], key: str, value: str
) -> None:
    path = tmp_path / "j.sqlite"
    deliver(path, items)
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))
        db.commit()
    (summary,) = summaries(tmp_path)
    assert summary.problem
    assert summary.id == "j"


def _directory(path: Path) -> None:
    path.mkdir()


def _socket(path: Path) -> None:
    os.mknod(path, 0o600 | stat.S_IFSOCK)


@pytest.mark.parametrize(
    "put",
    [
        _directory,
        pytest.param(lambda path: os.mkfifo(path), marks=needs_fifos),
        pytest.param(_socket, marks=needs_posix_names),
    ],
)
def test_what_is_no_file_is_not_opened(tmp_path: Path, put: Callable[[Path], None]) -> None:
    path = tmp_path / "j.sqlite"
    put(path)
    with pytest.raises(JournalError, match="not a regular file") as caught:
        Store(path)
    assert "Move it away" in str(caught.value.hint)
    with pytest.raises(JournalError, match="not a regular file"):
        Store(path, fresh=True)
    (summary,) = summaries(tmp_path)
    assert "not a regular file" in str(summary.problem)


def test_the_key_of_a_session_is_what_it_was() -> None:
    """Journals of earlier versions are found by it."""
    where = Destination(server="https://xnat.example.org", project="DEMO", subject="s", session="e")
    assert journal_key(where) == "dc3295a015195e86"


def test_no_flipped_byte_ends_in_anything_but_an_answer_or_a_journal_error(
    tmp_path: Path, items: list[UploadItem]
) -> None:
    import random

    path, dice = tmp_path / "j.sqlite", random.Random(2026)
    deliver(path, items[:3], phase=Phase.SENDING, only=2)
    deliver(path, items[3:], phase=Phase.SETTLING)
    whole = path.read_bytes()
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(dice.choice([1, 2, 10])):
            data[dice.randrange(len(data))] = dice.randrange(256)
        path.write_bytes(data)
        for side in ("-wal", "-shm"):
            Path(f"{path}{side}").unlink(missing_ok=True)
        for summary in summaries(tmp_path):
            assert summary.found >= summary.delivered
        with suppress(JournalError):
            items_of(path)
        with suppress(JournalError):
            proven(path, items)
