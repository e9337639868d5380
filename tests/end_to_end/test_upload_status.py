"""`upload status` and `upload forget`: what is worth a line, what a line says, and how it goes away."""

from __future__ import annotations

import csv
import io
from datetime import datetime

import pytest

NAMES = ("-P", "DEMO", "-S", "s", "-E")


@pytest.fixture
def uploads(xnatctl, alice, own_exam, sandbox):
    """One complete upload, and one that the server did not take."""
    assert xnatctl("session", "upload", own_exam.directory, *NAMES, "done", env=alice).code == 0
    sandbox.faults.load([{"match": {"path": "services/import"}, "action": "status", "status": 403}])
    assert xnatctl("session", "upload", own_exam.directory, *NAMES, "open", env=alice).code == 3
    sandbox.faults.end()
    return xnatctl("upload", "status", "-o", "json").document["uploads"]


def test_the_table_fits_a_terminal(xnatctl, uploads):
    out = xnatctl("upload", "status").out
    table = [line for line in out.splitlines() if not line.startswith("Next: ")]
    assert max(map(len, table)) <= 80
    for row in uploads:
        (line,) = [line for line in table if row["id"] in line]
        state = {"done": "complete", "open": "60 missing"}[row["session"]]
        assert line.split(maxsplit=1)[1].startswith(f"DEMO/{row['session']} "), "a row is one line"
        assert f" {state} " in line
    assert "http" not in "".join(table)


def test_everything_is_in_csv_and_json(xnatctl, uploads):
    rows = list(csv.DictReader(io.StringIO(xnatctl("upload", "status", "-o", "csv").out)))
    keys = {"id", "server", "project", "subject", "session", "resource", "state", "found", "delivered", "missing"}
    assert keys | {"updated"} <= set(rows[0])
    assert [row["id"] for row in rows] == [row["id"] for row in uploads]
    assert keys | {"updated", "root"} <= set(uploads[0])
    assert all(datetime.fromisoformat(row["updated"]).tzinfo for row in uploads)


def test_the_server_is_named_where_there_are_several(xnatctl, alice, uploads, own_exam, sandbox):
    other = sandbox.url.replace("127.0.0.1", "localhost")
    assert xnatctl("session", "upload", own_exam.directory, *NAMES, "other", env={**alice, "XNAT_URL": other}).code == 0
    out = xnatctl("upload", "status").out
    assert sandbox.url in out
    assert other in out


def test_a_run_that_reached_nobody_leaves_nothing(xnatctl, own_exam):
    """There is nothing to finish: the report names the same command."""
    nowhere = ("--host", "127.0.0.1", "--port", "9", "--called-aet", "X")
    assert xnatctl("session", "upload-dicom", own_exam.directory, *nowhere).code == 4
    assert xnatctl("upload", "status", "-o", "json").document["uploads"] == []


def test_forgetting_takes_the_line_away_and_nothing_else(xnatctl, alice, uploads, own_exam, sandbox):
    asked = xnatctl("upload", "forget", "done", "open")
    assert asked.code == 2, "nobody can be asked here"
    assert len(xnatctl("upload", "status", "-o", "json").document["uploads"]) == 2
    assert xnatctl("upload", "forget", "DEMO/done").code == 0, "what is complete is not asked about"
    gone = xnatctl("upload", "forget", "open", "--yes", "-o", "json")
    assert gone.code == 0
    assert [row["session"] for row in gone.document["uploads"]] == ["open"]
    assert xnatctl("upload", "status", "-o", "json").document["uploads"] == []
    assert xnatctl("upload", "forget", "open").code == 2
    again = xnatctl("session", "upload", own_exam.directory, *NAMES, "done", "-o", "json", env=alice)
    assert again.code == 0
    assert len(sandbox.instances()) == 60


def test_a_running_upload_is_not_forgotten(xnatctl, uploads, home):
    from xnatctl.delivery.journal.lock import Lock

    (row,) = [row for row in uploads if row["session"] == "done"]
    path = home / "state" / "xnatctl" / "journals" / f"{row['id']}.lock"
    lock = Lock(path, lambda _: False, limit=0, tell=print)
    try:
        assert xnatctl("upload", "forget", "done").code == 7
    finally:
        lock.close()
    assert xnatctl("upload", "forget", "done").code == 0
