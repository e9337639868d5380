"""`upload status` and `upload forget`: what is worth a line, what a line says, and how it goes away."""

from __future__ import annotations

import csv
import io
from datetime import datetime

import pytest

from xnatctl.testing import write_exam
from xnatctl_sandbox.server import Sandbox

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
        state = {"done": "complete", "open": "60 not delivered"}[row["session"]]
        assert line.split(maxsplit=1)[1].startswith(f"DEMO/{row['session']} "), "a row is one line"
        assert f" {state} " in line
    assert "http" not in "".join(table)


def test_the_next_command_is_about_a_row_that_is_shown(xnatctl, uploads):
    assert "Next: xnatctl upload resume" in xnatctl("upload", "status").out
    for chosen in (("--filter", "session=done"), ("--sort-by", "session", "--limit", "1")):
        out = xnatctl("upload", "status", *chosen).out
        assert "1 of 2 uploads, 0 not complete." in out
        assert "Next:" not in out


def test_an_upload_to_a_receiver_says_what_was_sent_and_where_it_is_looked_for(xnatctl, tmp_path, own_exam):
    pytest.importorskip("pynetdicom")
    with Sandbox(tmp_path / "receiver", dicom_port=0) as sandbox:
        _sent_to_a_receiver(xnatctl, sandbox, own_exam)


def _sent_to_a_receiver(xnatctl, sandbox, own_exam):
    alice = {"XNAT_URL": sandbox.url, "XNAT_USER": "alice", "XNAT_PASS": "alice"}
    receiver = ("--host", "127.0.0.1", "--port", str(sandbox.dicom_port), "--called-aet", "XNAT")
    followed = ("--verify", "-P", "DEMO", "-E", "visit", "--wait", "0")
    assert xnatctl("session", "upload-dicom", own_exam.directory, *receiver, *followed, env=alice).code == 6
    out = xnatctl("upload", "status").out
    (line,) = [line for line in out.splitlines() if "dicom://" in line]
    assert "DEMO/visit" in line
    assert own_exam.directory.name in line
    assert "archiving not confirmed" in line
    (row,) = xnatctl("upload", "status", "-o", "json").document["uploads"]
    assert (row["checked_in"], row["state"], row["session"]) == ("DEMO/visit", "delivered, not settled", "")


def test_many_files_are_shown_by_reason(xnatctl, uploads):
    lines = xnatctl("upload", "status", "open").out.splitlines()
    assert len(lines) < 10
    assert sum(int(line.split()[0]) for line in lines if line[0].isdigit() and ", first " in line) == 60
    assert len(list(csv.DictReader(io.StringIO(xnatctl("upload", "status", "open", "-o", "csv").out)))) == 60


def test_everything_is_in_csv_and_json(xnatctl, uploads):
    rows = list(csv.DictReader(io.StringIO(xnatctl("upload", "status", "-o", "csv").out)))
    keys = {"id", "server", "project", "subject", "session", "resource", "state", "found", "delivered", "undelivered"}
    assert keys | {"updated"} <= set(rows[0])
    assert [row["id"] for row in rows] == [row["id"] for row in uploads]
    assert keys | {"updated", "root"} <= set(uploads[0])
    assert all(datetime.fromisoformat(row["updated"]).tzinfo for row in uploads)


def test_the_server_is_named_where_it_is_not_the_present_one(xnatctl, alice, uploads, own_exam, sandbox):
    assert "http" not in xnatctl("upload", "status", env=alice).out
    assert sandbox.url in xnatctl("upload", "status", env={"XNAT_URL": "https://elsewhere.example"}).out
    assert f" to DEMO/open on {sandbox.url}: incomplete." in xnatctl("upload", "status", "open").out
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


def test_files_that_cannot_be_sent_count_as_in_the_report(xnatctl, alice, sandbox, tmp_path):
    exam = write_exam(tmp_path / "exam", series=1, instances=3, seed=5, clutter=False)
    first = min(path for path in exam.directory.rglob("*") if path.is_file())
    first.write_bytes(first.read_bytes()[:-9])
    report = xnatctl("session", "upload", exam.directory, *NAMES, "e", "-o", "json", env=alice).document
    assert "1 not delivered" in xnatctl("upload", "status").out
    one = xnatctl("upload", "status", "e", "-o", "json").document
    counts = report["counts"]
    assert (one["found"], one["delivered"], one["undelivered"]) == (counts["found"], counts["sent"], counts["failed"])
    assert (counts["found"], counts["failed"]) == (3, 1)
    assert not_delivered(report["items"]) == not_delivered(one["not_delivered"])
    out = xnatctl("upload", "status", "e").out
    assert "2 of 3 files delivered" in out
    assert "invalid" in out


def test_what_is_still_on_its_way_is_not_compared(xnatctl, alice, sandbox, tmp_path):
    """A damaged file keeps the session from being archived; what is sent directly is listed only afterwards."""
    exam = write_exam(tmp_path / "exam", series=1, instances=3, seed=5, clutter=False)
    first = min(path for path in exam.directory.rglob("*") if path.is_file())
    whole = first.read_bytes()
    first.write_bytes(whole[:-9])
    upload = ("session", "upload", "exam", *NAMES, "e")
    done = xnatctl(*upload, env=alice)
    assert done.code == 5
    assert "1 of 3 files was not delivered: " in done.err
    assert "(not readable)" in done.out
    first.write_bytes(whole)
    assert "Delivered before and unchanged: 2 of 3 files." in xnatctl(*upload, "--dry-run", env=alice).out
    assert "Delivered before" not in xnatctl(*upload, "--dry-run", "--no-resume", env=alice).out
    done = xnatctl("session", "verify", "exam", *NAMES, "e", "-o", "json", env=alice)
    assert done.code == 6
    assert {item["outcome"] for item in done.document["items"]} == {"planned"}
    shown = xnatctl("session", "verify", "exam", *NAMES, "e", env=alice)
    assert "not compared" in shown.out.splitlines()[2]
    assert "Nothing was compared." in shown.out
    assert "xnatctl session upload exam -P DEMO -S s -E e" in shown.err, "the path as it was typed"


def test_an_interrupted_upload_reads_as_in_its_report(xnatctl, alice, sandbox, own_exam, install):
    observer = (
        "import signal\nfrom xnatctl.api import EventKind, hookimpl\n"
        "@hookimpl\ndef xnatctl_on_event(event):\n"
        "    if event.kind is EventKind.ITEM_DONE:\n        signal.raise_signal(signal.SIGINT)\n"
    )
    env = {**alice, **install("watcher", observer)}
    done = xnatctl("session", "upload", own_exam.directory, *NAMES, "e", "--mode", "gradual", "-o", "json", env=env)
    assert done.code == 130, done.err
    report, one = done.document, xnatctl("upload", "status", "e", "-o", "json").document
    assert not_delivered(report["items"]) == not_delivered(one["not_delivered"])
    assert (one["found"], one["undelivered"]) == (report["counts"]["found"], report["counts"]["failed"])
    assert " planned " not in xnatctl("upload", "status", "e").out


def not_delivered(items):
    return {(i["path"], i["outcome"], i["reason"]) for i in items if i["outcome"] not in ("accepted", "verified")}
