"""The journal as a file: private, locked, versioned, honest about a full disk and about files that changed."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from children import HANGS

IMPORT = {"path": "/services/import"}
UPLOAD = ("-P", "DEMO", "-S", "s", "-E", "e")


def imports(sandbox):
    return [request for request in sandbox.requests if "services/import" in request["path"]]


def journal_file(home):
    (path,) = (home / "state" / "xnatctl" / "journals").glob("*.sqlite")
    return path


def test_running_again_sends_nothing(lab, assert_exactly):
    assert lab.upload("tar").run()[0] == 0
    before = len(imports(lab.sandbox))
    code, report = lab.run()
    assert code == 0
    assert (report["status"], report["counts"]["skipped"], report["counts"]["sent"]) == ("complete", 60, 0)
    assert report["verification"]["level"] in ("uid", "size")
    assert len(imports(lab.sandbox)) == before
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")


def test_no_resume_starts_over(lab, assert_exactly):
    assert lab.upload("tar").run()[0] == 0
    code, report = lab.upload("tar", "--no-resume").run()
    assert (code, report["counts"]["sent"], report["counts"]["skipped"]) == (0, 60, 0)
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")


@pytest.mark.parametrize("first", ["tar", "gradual"])
@pytest.mark.parametrize("second", ["zip", "gradual"])
def test_another_mode_goes_on_where_one_ended(lab, assert_exactly, first, second):
    lab.sandbox.faults.load([{"match": IMPORT, "nth": list(range(3, 100)), "action": "status", "status": 403}])
    code, report = lab.upload(first).run()
    assert code != 0
    lab.sandbox.faults.load([])
    code, report = lab.upload(second).run()
    assert code == 0, report["error"]
    assert report["counts"]["skipped"] > 0
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")


def test_a_touched_file_is_the_same_and_a_changed_one_is_sent_again(lab):
    assert lab.upload("gradual").run()[0] == 0
    touched, changed = sorted(instance.path for instance in lab.exam.instances.values())[:2]
    os.utime(touched, ns=(1, 1))
    data = bytearray(changed.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    os.utime(changed, ns=(2, 2))
    first = len(lab.arrivals())
    code, report = lab.run()
    assert code == 0, report["error"]
    assert len(lab.arrivals()) == first + 1
    assert report["counts"]["skipped"] == 59
    assert any("changed since" in warning and changed.name in warning for warning in report["warnings"])
    held = {entry["sop_instance_uid"]: entry["sha256"] for entry in lab.sandbox.instances()}
    import hashlib

    assert hashlib.sha256(bytes(data)).hexdigest() in held.values()
    assert len(held) == len(lab.sandbox.instances()) == 60


def test_a_moved_directory_is_recognised_by_its_content(lab, tmp_path):
    assert lab.upload("tar").run()[0] == 0
    moved = tmp_path / "moved" / "away"
    moved.parent.mkdir()
    lab.exam.directory.rename(moved)
    lab.arguments = [str(moved) if argument == str(lab.exam.directory) else argument for argument in lab.arguments]
    code, report = lab.run()
    assert (code, report["counts"]["skipped"]) == (0, 60)


def test_what_vanished_from_the_server_is_sent_again_and_said(lab, assert_exactly):
    assert lab.upload("tar").run()[0] == 0
    lab.sandbox.remove_experiment(next(iter(lab.sandbox.state.experiments.values())))
    code, report = lab.run()
    assert code == 0, report["error"]
    assert report["counts"]["sent"] == 60
    assert "sent again" in " ".join(report["warnings"])
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")


def test_what_somebody_moved_to_another_project_is_not_sent_again(lab):
    assert lab.upload("tar", "--prearchive").run()[0] == 0
    row = lab.sandbox.state.prearchive[0]
    row.project = "MANUAL"
    before = len(imports(lab.sandbox))
    code, report = lab.run()
    assert code == 7
    assert "MANUAL" in report["error"]["message"]
    assert "--no-resume" in report["error"]["hint"]
    assert len(imports(lab.sandbox)) == before


def test_after_the_review_there_is_nothing_left_to_send(lab, xnatctl, alice, assert_exactly):
    assert lab.upload("tar", "--prearchive").run()[0] == 0
    row = lab.sandbox.state.prearchive[0]
    assert xnatctl("prearchive", "archive", "DEMO", row.timestamp, row.folder, env=alice).code == 0
    code, report = lab.run()
    assert (code, report["counts"]["skipped"], report["destination"]["state"]) == (0, 60, "archived")
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")


def test_none_completes_our_own_session_and_refuses_a_finished_one(lab, assert_exactly):
    """Interrupted after the session came into being: the same command finishes it all the same."""
    lab.sandbox.switches.lost_instances = set(sorted(lab.exam.instances)[:2])
    code, report = lab.upload("tar", "--overwrite", "none").run()
    assert code == 6
    lab.sandbox.switches.lost_instances = set()
    code, report = lab.run()
    assert code == 0, report["error"]
    assert report["counts"]["sent"] == 2
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")
    assert lab.run()[0] == 7


# the file itself


def test_it_is_private_even_under_a_careless_umask(lab, home):
    child = [sys.executable, "-c", ("import os, runpy, sys; os.umask(0); sys.argv = sys.argv[1:]; "
             "runpy.run_module('xnatctl', run_name='__main__')"), "xnatctl"]  # fmt: skip
    done = subprocess.run([*child, *lab.upload("tar").arguments], env=lab.environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    made = list((home / "state").rglob("*"))
    assert made
    for path in made:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), (path, oct(mode))


def test_it_holds_no_patient_and_no_secret(lab, home):
    assert lab.upload("tar").run()[0] == 0
    content = b"".join(path.read_bytes() for path in (home / "state").rglob("*") if path.is_file())
    import pydicom

    ds = pydicom.dcmread(next(iter(lab.exam.instances.values())).path)
    for value in (str(ds.PatientName), str(ds.PatientID)):
        assert value
        assert value.encode() not in content
    assert b"alice" not in content


def test_what_is_on_its_way_is_in_the_file_before_the_server_has_read_it(lab, assert_exactly):
    """The request is held before its body is read; a reader of its own finds the intent, and after a kill it counts."""
    lab.sandbox.faults.load([{"match": IMPORT, "nth": 5, "action": "hold", "seconds": HANGS}])
    running = lab.upload("gradual").start()
    while len(lab.arrivals()) < 59:
        time.sleep(0.02)
        assert running.poll() is None
    (held,) = set(lab.exam.instances) - set(lab.arrivals())
    assert lab.journal()[held] == "sending"
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -9
    lab.sandbox.faults.end()
    lab.finish(workers=4, most=1)
    assert held in lab.arrivals()[59:]
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")


def test_the_second_of_two_runs_waits_and_then_sends_nothing(lab, assert_exactly):
    lab.sandbox.faults.load([{"match": IMPORT, "nth": 5, "action": "delay", "seconds": HANGS}])
    first = lab.upload("gradual").start()
    while len(imports(lab.sandbox)) < 5:
        time.sleep(0.02)
        assert first.poll() is None
    second = lab.start()
    while b"waiting for it" not in second.err:
        time.sleep(0.02)
        assert second.poll() is None
    lab.sandbox.faults.end()
    out, err = second.communicate()
    assert (first.wait(), second.wait()) == (0, 0), err
    assert json.loads(out)["counts"]["skipped"] == 60
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")


def test_past_its_limit_the_second_run_is_refused(lab):
    lab.sandbox.faults.load([{"match": IMPORT, "nth": 5, "action": "hold", "seconds": HANGS}])
    first = lab.upload("gradual").start()
    while len(imports(lab.sandbox)) < 5:
        time.sleep(0.02)
        assert first.poll() is None
    code, report = lab.upload("gradual", "--lock-wait", "0.5").run()
    assert code == 7
    assert "--lock-wait" in report["error"]["hint"]
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 143


def test_a_full_disk_stops_before_anything_goes_unrecorded(lab, home, assert_exactly):
    """A limit on the size of files is what a full disk looks like to SQLite, and needs no root."""
    limit = 40 * 1024
    lab.upload("gradual")
    process = subprocess.Popen(
        [sys.executable, "-m", "xnatctl", *lab.arguments],
        env=lab.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),  # noqa: PLW1509 - no threads here
    )
    out, err = process.communicate(timeout=HANGS)
    assert process.returncode == 1, err
    report = json.loads(out)
    assert report["error"]["code"] == "journal"
    assert "Free space" in report["error"]["hint"]
    assert b"Traceback" not in err
    known = lab.journal()
    arrived = set(lab.arrivals())
    assert arrived <= {uid for uid, outcome in known.items() if outcome in ("sending", "accepted")}
    assert lab.run()[0] == 0
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(b"garbage " * 4096), "--no-resume"),
        (lambda path: _sql(path, "PRAGMA user_version = 99"), "later version"),
        (lambda path: _sql(path, "PRAGMA application_id = 7"), "not a journal"),
    ],
    ids=["garbage", "newer", "foreign"],
)
def test_a_journal_that_cannot_be_read_stops_the_run_and_no_resume_helps(lab, home, spoil, said):
    assert lab.upload("tar").run()[0] == 0
    path = journal_file(home)
    for side in ("-wal", "-shm"):
        Path(f"{path}{side}").unlink(missing_ok=True)
    spoil(path)
    before = len(imports(lab.sandbox))
    code, report = lab.run()
    assert code == 1
    assert said in report["error"]["message"] + report["error"]["hint"]
    assert len(imports(lab.sandbox)) == before
    assert lab.upload("tar", "--no-resume").run()[0] == 0


def _sql(path, statement):
    db = sqlite3.connect(path)
    db.execute(statement)
    db.commit()
    db.close()


# upload status and resume


def test_status_names_what_is_missing_and_resume_sends_it(lab, xnatctl, alice, assert_exactly, tmp_path):
    lab.sandbox.faults.load([{"match": IMPORT, "nth": list(range(20, 200)), "action": "status", "status": 403}])
    assert lab.upload("gradual").run()[0] != 0
    lab.sandbox.faults.load([])
    listed = xnatctl("upload", "status", "-o", "json").document
    (row,) = listed["uploads"]
    assert (row["project"], row["session"], row["state"], row["found"]) == ("DEMO", "e", "incomplete", 60)
    assert 0 < row["undelivered"] < 60
    one = xnatctl("upload", "status", "DEMO/e", "-o", "json").document
    assert len(one["not_delivered"]) == row["undelivered"]
    assert f"xnatctl upload resume {row['id']}" in xnatctl("upload", "status").out
    first = len(lab.arrivals())
    user = {key: value for key, value in alice.items() if key != "XNAT_URL"}
    done = xnatctl("upload", "resume", row["id"], "-o", "json", env=user)
    assert done.code == 0, done.err
    assert done.document["counts"]["skipped"] == row["delivered"]
    assert len(lab.arrivals()) - first <= row["undelivered"]
    assert xnatctl("upload", "status", "--unfinished", "-q").out == ""
    assert_exactly(lab.sandbox, lab.exam.digests, place="archive", label="e")


def test_resume_knows_no_strangers(xnatctl):
    done = xnatctl("upload", "resume", "nothing", "-o", "json")
    assert (done.code, done.document["error"]["code"]) == (2, "not-found")
    assert xnatctl("upload", "status", "-o", "json").document["uploads"] == []


# session verify


def test_verify_works_without_a_journal(lab, xnatctl, alice, elsewhere):
    assert lab.upload("tar").run()[0] == 0
    arguments = ("session", "verify", lab.exam.directory, *UPLOAD, "-o", "json")
    done = xnatctl(*arguments, env=elsewhere)
    assert done.code == 0, done.err
    verification = done.document["verification"]
    assert verification | {"ok": True, "differences": []} == verification
    assert done.document["counts"]["verified"] == 60
    gone = next(iter(lab.exam.instances.values()))
    gone.path.rename(gone.path.with_name("hidden"))
    gone.path.with_name("hidden").write_text("no longer DICOM")
    assert xnatctl(*arguments, env=elsewhere).code == 0, "what the disk holds is there"
    extra = xnatctl(*arguments, "--exact", env=elsewhere)
    assert extra.code == 6
    assert [d["sop_instance_uid"] for d in extra.document["verification"]["differences"]] == [gone.sop_instance_uid]


def test_verify_counts_what_waits_in_the_prearchive(lab, xnatctl, alice):
    assert lab.upload("tar", "--prearchive").run()[0] == 0
    done = xnatctl("session", "verify", lab.exam.directory, *UPLOAD, "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert done.document["destination"]["state"] == "prearchive"
    assert done.document["verification"]["level"] == "counted"


def test_verify_of_what_is_not_there_names_every_file(lab, xnatctl, alice):
    done = xnatctl("session", "verify", lab.exam.directory, *UPLOAD, "-o", "json", env=alice)
    assert done.code == 6
    assert {item["outcome"] for item in done.document["items"]} == {"missing"}
    assert len(done.document["verification"]["differences"]) == 60
    assert imports(lab.sandbox) == []


def test_verify_says_when_the_subject_is_another(lab, xnatctl, alice):
    assert lab.upload("tar").run()[0] == 0
    done = xnatctl(
        "session", "verify", lab.exam.directory, "-P", "DEMO", "-S", "other", "-E", "e", "-o", "json", env=alice
    )
    assert done.code == 6
    assert "belongs to subject s" in done.document["error"]["message"]
