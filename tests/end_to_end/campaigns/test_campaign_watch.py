"""`campaign watch` in a process of its own: what arrives in a folder is sent, proven, and then removed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from kept import assert_kept

from xnatctl.testing import write_exam

pytestmark = pytest.mark.once

CHILD = Path(__file__).parents[2] / "support" / "watch_child.py"
RULES = """- match: {Modality: MR}
  project: DEMO
  subject: "{PatientID}"
  session: "{PatientID}_{StudyDate:%Y%m%d}"
"""


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def rules(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


@pytest.fixture
def watch(xnatctl, alice, inbox, rules):
    """Run `campaign watch --once`; returns the result, whose `.document` is that of `-o json`."""

    def run(*arguments, quiet=0.3, env=None, **more):
        return xnatctl(
            *("campaign", "watch", inbox, "--quiet", str(quiet), "--rules", rules, "--once", "-o", "json", *arguments),
            env={**alice, **(env or {})},
            **more,
        )

    return run


@pytest.fixture
def watching(nursery, alice, environment, inbox, rules, tmp_path):
    """Start `campaign watch`, which goes on until it is ended."""

    def start(*arguments, quiet=0.5):
        words = ("-m", "xnatctl", "campaign", "watch", inbox, "--quiet", quiet, "--rules", rules, "-o", "ndjson")
        return nursery.start(*map(str, (*words, *arguments)), env={**environment, **alice}, cwd=tmp_path)

    return start


def results(child):
    return [json.loads(line) for line in child.out.decode().splitlines()]


def until(condition):
    """Wait for a condition; a machine that hangs ends the test long after."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def stored(sandbox):
    return {entry["sop_instance_uid"]: entry for entry in sandbox.instances() if entry["place"] == "archive"}


def received(sandbox):
    """How often each object came in."""
    lines = (sandbox.directory / "received.jsonl").read_text().splitlines()
    return Counter(json.loads(line)["sop_instance_uid"] for line in lines)


def names(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    )


def study(folder, seed, **more):
    return write_exam(folder, **{"series": 2, "instances": 3, "clutter": False, "seed": seed, **more})


def test_two_studies_in_one_folder_are_sent_apart_and_deleted(watch, sandbox, inbox):
    first = study(inbox / "x", 1)
    second = study(inbox / "x", 2, study_date="20240102", naming=("im", "ima"))
    (inbox / "x" / "notes.txt").write_text("from the scanner")
    ended = watch("--after-proof", "delete")
    assert ended.code == 0, ended.err
    rows = {row["study"]: row for row in ended.document["studies"]}
    assert {row["session"] for row in rows.values()} == {"PHANTOM_20240115", "PHANTOM_20240102"}
    assert all((row["state"], row["verified"], row["removed"]) == ("proven", 6, 6) for row in rows.values())
    assert stored(sandbox).keys() == {*first.instances, *second.instances}
    assert names(inbox) == ["x/notes.txt"]
    assert [path.name for path in (inbox / "x").iterdir()] == ["notes.txt"]
    assert f"Study {first.study_instance_uid} in x/series 1: 6 instances proven in DEMO/PHANTOM" in ended.err
    assert len([request for request in sandbox.requests if request["path"].endswith("/JSESSION")]) <= 2  # one login


@pytest.mark.lab
def test_kept_studies_are_not_sent_again_and_the_server_is_not_asked_for_them(watch, sandbox, inbox):
    exam = study(inbox / "x", 1)
    assert watch().code == 0
    asked = len(sandbox.requests)
    again = watch()
    assert (again.code, again.document["studies"]) == (0, [])
    assert len(sandbox.requests) == asked
    first = next(iter(exam.instances.values())).path
    os.utime(first, (1, 1))
    assert [row["state"] for row in watch().document["studies"]] == ["proven"]
    assert set(received(sandbox).values()) == {1}  # the content is the same


@pytest.mark.lab
def test_moving_keeps_the_structure(watch, inbox, tmp_path):
    study(inbox / "x", 1)
    before = names(inbox)
    ended = watch("--after-proof", "move", "--move-to", "done")
    assert ended.code == 0
    assert names(tmp_path / "done") == before
    assert list(inbox.iterdir()) == []
    assert ended.document["studies"][0]["moved"] == 6


@pytest.mark.lab
def test_a_study_that_arrives_in_two_drops_ends_in_one_session(watching, sandbox, inbox, tmp_path):
    whole = study(tmp_path / "whole", 1)
    child = watching("--after-proof", "delete")
    shutil.copytree(tmp_path / "whole" / "series 1", inbox / "monday")
    until(lambda: len(results(child)) == 1)
    shutil.copytree(tmp_path / "whole" / "series 2", inbox / "tuesday" / "late")
    until(lambda: not names(inbox) and len(results(child)) >= 2)
    child.send_signal(signal.SIGTERM)
    assert child.wait() == 143
    assert {row["session"] for row in results(child)} == {"PHANTOM_20240115"}
    assert stored(sandbox).keys() == set(whole.instances)
    assert {entry["session"] for entry in stored(sandbox).values()} == {"PHANTOM_20240115"}
    assert set(received(sandbox).values()) == {1}


@pytest.mark.lab
def test_a_file_that_grows_and_a_file_that_is_renamed_into_place_arrive_whole(watching, sandbox, inbox, tmp_path):
    whole = study(tmp_path / "whole", 1, instances=2)
    grows, renamed, *others = [instance.path for instance in whole.instances.values()]
    child = watching("--after-proof", "delete", "--retry-after", "1", quiet=1)
    for path in others:
        shutil.copy(path, inbox / path.name)
    content = grows.read_bytes()
    with open(inbox / "grows", "wb", buffering=0) as file:
        for start in range(0, len(content), 256):
            file.write(content[start : start + 256])
            time.sleep(0.05)
    shutil.copy(renamed, inbox / ".renamed.part")
    (inbox / ".renamed.part").rename(inbox / "renamed.dcm")
    until(lambda: not names(inbox))
    until(lambda: results(child) and results(child)[-1]["state"] == "proven")
    child.send_signal(signal.SIGINT)
    assert child.wait() == 130
    found = stored(sandbox)
    assert found.keys() == set(whole.instances)
    for uid, instance in whole.instances.items():
        assert_kept(sandbox.directory / found[uid]["path"], instance.path)


@pytest.mark.parametrize("removed", [pytest.param(0, marks=pytest.mark.lab), 4])
def test_after_a_kill_between_proof_and_removal_the_rest_is_checked_and_removed(
    watch, xnatctl, sandbox, inbox, removed
):
    exam = study(inbox / "x", 1)
    killed = watch("--after-proof", "delete", program=(CHILD, "kill", str(removed)))
    assert killed.code == -signal.SIGKILL
    assert len(names(inbox)) == 6 - removed
    assert stored(sandbox).keys() == set(exam.instances)
    again = watch("--after-proof", "delete")
    assert again.code == 0, again.err
    assert list(inbox.iterdir()) == []
    assert stored(sandbox).keys() == set(exam.instances)
    assert set(received(sandbox).values()) == {1}


@pytest.fixture(params=["the same file system", "another file system"])
def sent(request, tmp_path):
    """A folder for moved files."""
    if request.param == "the same file system":
        yield tmp_path / "sent"
        return
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.lab
def test_kills_at_random_moments_lose_nothing(watching, watch, sandbox, inbox, sent):
    seed = int(os.environ.get("XNATCTL_LAB_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"XNATCTL_LAB_SEED={seed}")
    dice = random.Random(seed)
    exams = [study(inbox / f"{number}", number, patient_id=f"p{number}", instances=20) for number in range(1, 7)]
    before = {name: (inbox / name).read_bytes() for name in names(inbox)}
    for _ in range(12):
        child = watching("--after-proof", "move", "--move-to", sent, quiet=0.2)
        until(lambda: b"Watching" in child.err)  # noqa: B023 - called at once
        time.sleep(dice.uniform(0, 1.5))
        child.send_signal(signal.SIGKILL)
        child.wait()
        for name, content in before.items():
            places = [folder / name for folder in (inbox, sent) if (folder / name).exists()]
            assert places
            assert all(place.read_bytes() == content for place in places)
    ended = watch("--after-proof", "move", "--move-to", sent)
    assert ended.code == 0, ended.err
    assert names(inbox) == []
    assert names(sent) == sorted(before)
    assert stored(sandbox).keys() == {uid for exam in exams for uid in exam.instances}


@pytest.mark.lab
def test_a_file_that_changed_after_the_proof_is_kept_until_it_is_proven_as_it_is_now(watch, sandbox, inbox):
    exam = study(inbox / "x", 1)
    changed = list(exam.instances.values())[3]
    ended = watch("--after-proof", "delete", program=(CHILD, changed.path, "0"))
    first = ended.document["studies"][0]
    assert (first["state"], first["removed"], first["kept"]) == ("proven", 5, 1)
    assert "it has changed since it was sent" in first["reason"]
    assert names(inbox) == [changed.path.relative_to(inbox).as_posix()]
    content = changed.path.read_bytes()
    assert watch("--after-proof", "delete").code == 0
    assert names(inbox) == []
    found = stored(sandbox)
    assert found.keys() == set(exam.instances)
    assert_kept(sandbox.directory / found[changed.sop_instance_uid]["path"], content)


@pytest.mark.lab
def test_a_study_that_no_rule_matches_is_reported_once_and_left_alone(watching, sandbox, inbox, rules):
    rules.write_text(RULES.replace("Modality: MR", "PatientID: OTHER"))
    study(inbox / "x", 1)
    before = names(inbox)
    child = watching("--after-proof", "delete")
    until(lambda: results(child))
    good = study(inbox / "y", 2, patient_id="OTHER")
    until(lambda: [row["state"] for row in results(child)] == ["unmatched", "proven"])
    child.send_signal(signal.SIGTERM)
    assert child.wait() == 143
    assert names(inbox) == before
    assert stored(sandbox).keys() == set(good.instances)
    assert child.err.decode().count("no rule matches") == 1


def test_one_study_that_fails_does_not_stop_the_others(watch, sandbox, inbox):
    study(inbox / "bad", 1, patient_id="not a label")
    study(inbox / "damaged", 2, patient_id="d")
    next(iter((inbox / "damaged" / "series 1").iterdir())).write_bytes(b"\0" * 128 + b"DICM")
    good = study(inbox / "good", 3)
    ended = watch("--after-proof", "delete")
    assert ended.code == 5
    states = {row["folder"].split("/")[0]: (row["state"], row["exit_code"]) for row in ended.document["studies"]}
    assert states["good"] == ("proven", 0)
    assert states["bad"] == ("failed", 7)
    assert states["damaged"][0] == "failed"
    assert set(good.instances) <= stored(sandbox).keys()
    assert {name.split("/")[0] for name in names(inbox)} == {"bad", "damaged"}


@pytest.mark.lab
def test_a_server_that_is_not_there_is_asked_for_one_study_only(hasty, watch, inbox):
    for seed in (1, 2, 3):
        study(inbox / str(seed), seed, patient_id=f"p{seed}")
    ended = watch(env={"XNAT_URL": "http://127.0.0.1:9"}, program=(Path(CHILD).with_name("hasty.py"),))
    assert ended.code == 4
    assert len(ended.document["studies"]) == 1


@pytest.mark.lab
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_during_an_upload_ends_it_and_the_next_start_finishes(watching, watch, sandbox, inbox, number, code):
    exam = study(inbox / "x", 1)
    sandbox.faults.load([{"match": {"path": "services/import"}, "nth": "every", "action": "hold", "seconds": 600}])
    child = watching("--after-proof", "delete")
    until(lambda: any("services/import" in request["path"] for request in sandbox.requests))
    child.send_signal(number)
    assert child.wait() == code
    assert len(names(inbox)) == 6
    sandbox.faults.load([])
    assert watch("--after-proof", "delete").code == 0
    assert stored(sandbox).keys() == set(exam.instances)
    assert list(inbox.iterdir()) == []


@pytest.mark.lab
def test_a_server_that_fails_for_a_while_gets_everything_in_the_end(watching, sandbox, inbox):
    exams = [study(inbox / str(seed), seed, patient_id=f"p{seed}", series=1) for seed in (1, 2, 3)]
    sandbox.faults.load(
        [{"match": {"path": "services/import"}, "nth": [1, 2, 3, 4, 5, 6], "action": "status", "status": 500}]
    )
    child = watching("--after-proof", "delete", "--retry-after", "0.5")
    until(lambda: not names(inbox))
    child.send_signal(signal.SIGTERM)
    assert child.wait() == 143
    assert stored(sandbox).keys() == {uid for exam in exams for uid in exam.instances}


@pytest.mark.lab
def test_a_refused_login_ends_the_watch(watching, inbox, alice):
    alice["XNAT_PASS"] = "wrong"
    study(inbox / "x", 1)
    child = watching()
    assert child.wait() == 3
    assert [row["code"] for row in results(child)] == ["authentication"]


@pytest.mark.lab
def test_an_inbox_that_is_away_for_a_while(watching, sandbox, inbox):
    """As a network file system may be."""
    study(inbox / "x", 1)
    child = watching("--after-proof", "delete", quiet=600)
    until(lambda: b"Watching" in child.err)
    inbox.rename(inbox.with_name("away"))
    until(lambda: b"cannot be read: No such file or directory" in child.err)
    inbox.with_name("away").rename(inbox)
    child.send_signal(signal.SIGTERM)
    assert child.wait() == 143
    assert len(names(inbox)) == 6
    child = watching("--after-proof", "delete")
    until(lambda: not names(inbox))
    child.send_signal(signal.SIGTERM)
    assert child.wait() == 143
    assert child.err.decode().count("cannot be read") == 0


@pytest.mark.lab
def test_links_are_neither_sent_nor_removed(watch, sandbox, inbox, tmp_path):
    outside = study(tmp_path / "outside", 1)
    inside = study(inbox / "x", 2, study_date="20240102")
    (inbox / "folder").symlink_to(tmp_path / "outside")
    (inbox / "x" / "file").symlink_to(next(iter(outside.instances.values())).path)
    before = names(tmp_path / "outside")
    ended = watch("--after-proof", "delete")
    assert ended.code == 0
    assert "Warning: folder is a symbolic link, which is not followed." in ended.err
    assert stored(sandbox).keys() == set(inside.instances)
    assert names(tmp_path / "outside") == before
    assert names(inbox) == ["folder", "x/file"]


@pytest.mark.lab
def test_duplicates_are_removed_once_each_is_proven_itself(watch, sandbox, inbox):
    exam = study(inbox / "x", 1)
    shutil.copytree(inbox / "x", inbox / "copy")
    ended = watch("--after-proof", "delete")
    assert ended.code == 0, ended.err
    assert list(inbox.iterdir()) == []
    assert stored(sandbox).keys() == set(exam.instances)
    assert set(received(sandbox).values()) == {1}


def test_an_inbox_has_one_watcher(watching, watch, inbox):
    child = watching()
    until(lambda: b"Watching" in child.err)
    second = watch()
    assert second.code == 7
    assert "Another watcher works on" in second.err
    child.send_signal(signal.SIGINT)
    assert child.wait() == 130


def test_an_inbox_that_cannot_be_written(watch, sandbox, inbox):
    exam = study(inbox / "x", 1)
    inbox.chmod(0o555)
    if os.access(inbox, os.W_OK):
        pytest.skip("permissions do not stop root")
    try:
        refused = watch("--after-proof", "delete")
        assert (refused.code, sandbox.requests) == (2, [])
        assert "cannot be written, so nothing can be removed there" in refused.err
        assert watch().code == 0
    finally:
        inbox.chmod(0o755)
    assert stored(sandbox).keys() == set(exam.instances)


def test_what_is_wrong_with_the_command_is_said_before_anything_is_asked(watch, sandbox, inbox, rules, tmp_path):
    study(inbox / "x", 1)
    for arguments, said in (
        (("--after-proof", "move"), "--after-proof move and --move-to require each other"),
        (("--move-to", "x"), "--after-proof move and --move-to require each other"),
        (("--after-proof", "move", "--move-to", inbox / "x" / "done"), "lies in the inbox"),
        (("--quiet", "0"), "is not more than 0"),
    ):
        ended = watch(*arguments)
        assert ended.code == 2
        assert said in ended.err
    rules.write_text(f"{RULES}- match: {{Modality: MR}}\n  project: DEMO\n  mode: rsync\n")
    ended = watch()
    assert ended.code == 2
    assert "rules.yaml has 3 errors:" in ended.err
    assert "Rule 2: subject is missing." in ended.err
    assert sandbox.requests == []
