"""`--split-studies`: errors, interrupts and changes of one study beside the others."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time

import pydicom
import pytest
from children import HANGS
from studies import IMPORT, NAMES, by_number, imports, write_study

pytestmark = pytest.mark.once


# trouble


def test_one_that_fails_does_not_stop_the_others(split, hasty, sandbox, visits, assert_sessions):
    lost = min(visits.studies[1].instances)
    sandbox.switches.lost_instances = {lost}
    done = split(command=hasty)
    assert done.code == 6, done.err
    report = done.document
    assert [study["status"] for study in report["studies"]] == ["complete", "partial", "complete"]
    assert report["studies"][1]["error"]["exit_code"] == 6
    assert (report["status"], report["error"]["code"]) == ("partial", "verification")
    assert report["error"]["message"].startswith("1 of 3 sessions not complete. visit_2: ")
    assert [item["sop_instance_uid"] for item in report["items"] if item["outcome"] == "missing"] == [lost]
    assert report["counts"] == {"found": 18, "excluded": 0, "sent": 18, "skipped": 0, "failed": 0, "verified": 17}
    sandbox.switches.lost_instances = set()
    assert split().code == 0
    assert_sessions(sandbox, by_number(visits))


def test_overwrite_none_refuses_those_that_exist_and_sends_the_others(split, sandbox, visits, assert_sessions):
    shutil.move(visits.directory / "a", visits.directory.parent / "a")
    assert split().code == 0
    shutil.move(visits.directory.parent / "a", visits.directory / "a")
    done = split("--overwrite", "none")
    assert done.code == 5, done.err
    report = done.document
    assert [study["status"] for study in report["studies"]] == ["refused", "refused", "complete"]
    assert (report["status"], report["counts"]["found"], report["counts"]["sent"]) == ("partial", 18, 6)
    assert report["counts"]["failed"] == 12
    assert_sessions(sandbox, by_number(visits))
    everything = split("--overwrite", "none")
    assert everything.code == 7, "nothing was sent"
    assert everything.document["status"] == "refused"


def test_no_verify_and_no_resume_hold_for_each(split, sandbox, visits, assert_sessions):
    assert split("--no-verify").document["verification"]["level"] == "none"
    done = split("--no-resume")
    assert done.code == 0, done.err
    assert done.document["counts"]["sent"] == 18
    assert_sessions(sandbox, by_number(visits))


def test_a_damaged_file_holds_up_the_study_beside_which_it_lies(split, sandbox, visits, assert_sessions):
    record = next(iter(visits.studies[1].instances.values()))
    whole = record.path.read_bytes()
    record.path.write_bytes(whole[:300])
    done = split()
    assert done.code == 5, done.err
    assert [study["status"] for study in done.document["studies"]] == ["complete", "partial", "complete"]
    assert done.document["counts"]["found"] == 18
    record.path.write_bytes(whole)
    assert split().code == 0
    assert_sessions(sandbox, by_number(visits))


def test_a_damaged_file_that_may_belong_to_any_study_holds_up_all(split, sandbox, visits):
    record = next(iter(visits.studies[1].instances.values()))
    (visits.directory / "stray").write_bytes(record.path.read_bytes()[:300])
    done = split()
    assert done.code == 5, done.err
    report = done.document
    assert [study["status"] for study in report["studies"]] == ["partial"] * 3
    assert [item["path"] for item in report["items"] if item["outcome"] == "invalid"] == ["stray"]
    assert report["counts"]["found"] == 19 == len(report["items"])
    assert report["counts"]["failed"] == 1
    assert {e["place"] for e in sandbox.instances() if e["catalogued"]} <= {"prearchive"}
    (visits.directory / "stray").unlink()
    assert split().code == 0


def test_a_login_that_is_refused_ends_it_at_once(split, alice):
    done = split(env={**alice, "XNAT_PASS": "wrong"})
    assert done.code == 3


# interrupts


def wait_for(running, condition):
    while not condition():
        time.sleep(0.02)
        assert running.poll() is None, running.err


@pytest.fixture
def held(nursery, environment, sandbox, visits, alice):
    """The command while its second session is held up: one instance of that was answered, and is recorded."""

    def start(*more):
        sandbox.faults.load([{"match": IMPORT, "nth": 9, "action": "hold", "seconds": 2 * HANGS}])
        arguments = ["session", "upload", str(visits.directory), *NAMES, "--split-studies", "--mode", "gradual"]
        running = nursery.start(
            "-m", "xnatctl", *arguments, "--workers", "1", "-o", "json", *more, env={**environment, **alice}
        )
        wait_for(running, lambda: len(imports(sandbox)) >= 8 and sandbox.state.experiments)
        return running

    yield start
    sandbox.faults.end()


def test_an_interrupt_ends_all_and_the_same_command_finishes(held, xnatctl, sandbox, visits, alice, assert_sessions):
    running = held()
    running.send_signal(signal.SIGINT)
    out, err = running.communicate()
    assert running.returncode == 130, err
    report = json.loads(out)
    assert [study["status"] for study in report["studies"]] == ["complete", "interrupted", "planned"]
    assert (report["status"], report["counts"]["found"]) == ("interrupted", 18)
    assert len(report["next"]) == 1
    assert "--split-studies" in report["next"][0]
    assert b"Traceback" not in err
    sandbox.faults.end()
    assert xnatctl(*report["next"][0].split()[1:], env=alice).code == 0
    assert_sessions(sandbox, by_number(visits))


def test_killed_each_is_known_and_finished_on_its_own(held, xnatctl, split, sandbox, visits, alice, assert_sessions):
    running = held()
    running.send_signal(signal.SIGKILL)
    running.wait()
    sandbox.faults.end()
    while not sandbox.is_quiet():
        time.sleep(0.02)
    listed = xnatctl("upload", "status", "-o", "json", env=alice).document["uploads"]
    assert {row["session"]: row["state"] for row in listed} == {"visit": "complete", "visit_2": "incomplete"}
    earlier = write_study(visits.directory / "0", 4, "20231201")
    resumed = xnatctl("upload", "resume", "visit_2", "-o", "json", env=alice)
    assert resumed.code == 0, resumed.err
    assert (resumed.document["counts"]["found"], resumed.document["destination"]["session"]) == (6, "visit_2")
    assert resumed.document["counts"]["skipped"] > 0
    assert_sessions(sandbox, dict(list(by_number(visits).items())[:2]))
    done = split()
    assert done.code == 0, done.err
    # Neither of the two has a label yet, so the earlier goes first.
    assert_sessions(sandbox, {**by_number(visits, "visit", "visit_2", "visit_4"), "visit_3": earlier})


def test_killed_and_a_study_added_before_the_rest_is_sent(held, split, sandbox, visits, assert_sessions):
    """What the second was called is known from its journal alone: the server shows no session of it yet."""
    running = held()
    running.send_signal(signal.SIGKILL)
    running.wait()
    sandbox.faults.end()
    while not sandbox.is_quiet():
        time.sleep(0.02)
    earlier = write_study(visits.directory / "0", 4, "20231201")
    done = split()
    assert done.code == 0, done.err
    assert_sessions(sandbox, {**by_number(visits, "visit", "visit_2", "visit_4"), "visit_3": earlier})


def test_two_runs_for_the_same_label_do_not_meet(held, split, tmp_path):
    held()
    other = write_study(tmp_path / "other", 9, "20200101")
    done = split("--lock-wait", "0", path=other.directory)
    assert done.code == 7
    assert "Another run" in done.document["error"]["message"]


# files that change meanwhile


def _rewrite(path):
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def _rewrite_and_restore_the_times(path):
    status = path.stat()
    _rewrite(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _add_another(path):
    ds = pydicom.dcmread(path)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.99.1"
    ds.InstanceNumber = 99
    ds.save_as(path.with_name("late"))


@pytest.mark.parametrize("change", [_rewrite, _rewrite_and_restore_the_times, _add_another])
@pytest.mark.parametrize(
    "policy", [pytest.param("delete", marks=pytest.mark.lab), "none", pytest.param("append", marks=pytest.mark.lab)]
)
def test_what_changes_of_a_study_that_is_finished_is_named(
    held, xnatctl, alice, split, sandbox, visits, change, policy
):
    """The second study is on its way; the first is archived and compared."""
    running = held("--overwrite", policy)
    victim = next(iter(visits.studies[0].instances.values())).path
    change(victim)
    victim = victim.with_name("late") if change is _add_another else victim
    sandbox.faults.end()
    out, err = running.communicate()
    assert running.returncode == 5, err
    report = json.loads(out)
    name = str(victim.relative_to(visits.directory))
    assert name in report["error"]["message"]
    assert report["next"]
    rows = {
        row["session"]: row["state"] for row in xnatctl("upload", "status", "-o", "json", env=alice).document["uploads"]
    }
    if change is _add_another:
        assert rows["visit"] == "delivered, not settled"
        assert [entry["path"] for entry in report["excluded"]] == [name]
    else:
        assert rows["visit"] == "incomplete"
        assert [item["path"] for item in report["items"] if item["outcome"] == "changed"] == [name]
        assert report["counts"] == {"found": 18, "excluded": 0, "sent": 17, "skipped": 0, "failed": 1, "verified": 17}
        assert [study["status"] for study in report["studies"]] == ["partial", "complete", "complete"]
        assert report["studies"][0]["counts"]["failed"] == 1
    assert split("--overwrite", policy).code == 0
    stored = {entry["sha256"] for entry in sandbox.instances()}
    assert hashlib.sha256(victim.read_bytes()).hexdigest() in stored


def test_what_changes_of_a_finished_study_is_named_although_another_fails(held, split, sandbox, visits):
    lost = min(visits.studies[1].instances)
    sandbox.switches.lost_instances = {lost}
    running = held("--wait", "60")
    victim = next(iter(visits.studies[0].instances.values())).path
    _rewrite(victim)
    _add_another(victim)
    sandbox.faults.end()
    out, err = running.communicate()
    assert running.returncode == 5, err
    report = json.loads(out)
    assert str(victim.relative_to(visits.directory)) in report["error"]["message"]
    assert "late" in report["error"]["message"]
    assert "Everything else was delivered" not in report["error"]["message"]
    assert [study["status"] for study in report["studies"]] == ["partial", "partial", "complete"]
    sandbox.switches.lost_instances = set()
    assert split().code == 0
    stored = {entry["sha256"] for entry in sandbox.instances()}
    for path in (victim, victim.with_name("late")):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in stored
