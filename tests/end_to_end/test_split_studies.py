"""A directory of several studies: each becomes a session of its own, and keeps its label whatever happens."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace

import pydicom
import pytest
from children import HANGS
from kept import kept

from xnatctl.inventory.walk import scan_path
from xnatctl.testing.exam import write_exam

pytestmark = pytest.mark.once

NAMES = ("-P", "DEMO", "-S", "subj", "-E", "visit")
IMPORT = {"path": "/services/import"}
#: Folder, seed and date: the order of names, of UIDs and of time are three.
VISITS = {"b": (1, "20240101"), "c": (2, "20240201"), "a": (3, "20240301")}


def write_study(directory, seed, date, **more):
    return write_exam(directory, series=2, instances=3, seed=seed, study_date=date, clutter=False, **more)


@pytest.fixture
def visits(tmp_path):
    """Three studies; `.studies` in the order of time."""
    root = tmp_path / "export"
    studies = [write_study(root / name, seed, date) for name, (seed, date) in VISITS.items()]
    return SimpleNamespace(directory=root, studies=studies)


@pytest.fixture
def split(xnatctl, visits, alice):
    """`session upload --split-studies -o json` of the visits."""

    def run(*more, path=None, env=None, output=("-o", "json"), command=xnatctl):
        arguments = ("session", "upload", path or visits.directory, *NAMES, "--split-studies", *more, *output)
        return command(*arguments, env=alice if env is None else env)

    return run


@pytest.fixture
def assert_sessions():
    """The disk of the server holds exactly these sessions: label -> study, byte for byte, each instance once."""

    def check(sandbox, expected, *, place="archive"):
        found: dict[str, dict[str, str]] = {}
        for entry in sandbox.instances():
            assert entry["place"] == place
            assert entry["catalogued"]
            session = found.setdefault(entry["session"], {})
            assert entry["sop_instance_uid"] not in session
            session[entry["sop_instance_uid"]] = entry["sha256"]
        assert found == {label: study.digests for label, study in expected.items()}

    return check


def by_number(visits, *labels):
    return dict(zip(labels or ("visit", "visit_2", "visit_3"), visits.studies, strict=True))


def labels_of(report):
    return {study["study_instance_uid"]: study["session"] for study in report["studies"]}


def imports(sandbox):
    return [request for request in sandbox.requests if "services/import" in request["path"]]


# where each goes


@pytest.mark.parametrize(
    ("mode", "version"), [("tar", "1.8.11"), ("zip", "1.8.11"), ("gradual", "1.8.11"), ("tar", "1.8.3")]
)
def test_each_study_becomes_a_session_the_earliest_first(split, sandbox, visits, assert_sessions, mode, version):
    sandbox.state.version = version
    done = split("--mode", mode)
    assert done.code == 0, done.err
    assert_sessions(sandbox, by_number(visits))
    again = split("--mode", mode)
    assert again.code == 0, again.err
    assert (again.document["counts"]["sent"], again.document["counts"]["skipped"]) == (0, 18)
    assert_sessions(sandbox, by_number(visits))


def test_what_an_old_server_does_instead_is_said_once(split, sandbox):
    sandbox.state.version = "1.8.3"
    done = split(output=("-o", "table"))
    assert done.code == 0, done.err
    assert (done.out + done.err).count("has no direct archive") == 1
    sandbox.state.experiments.clear()
    warnings = split("--no-resume").document["warnings"]
    assert [text for text in warnings if "direct archive" in text and not text.startswith("XNAT 1.8.3")] == []


def test_left_for_review_each_on_its_own(split, sandbox, visits, assert_sessions):
    done = split("--prearchive")
    assert done.code == 0, done.err
    assert_sessions(sandbox, by_number(visits), place="prearchive")
    assert [command.split()[5] for command in done.document["next"]] == ["visit", "visit_2", "visit_3"]
    again = split("--prearchive")
    assert again.code == 0, again.err
    assert again.document["counts"]["skipped"] == 18


def test_the_other_name_of_the_option(xnatctl, sandbox, visits, alice, assert_sessions):
    done = xnatctl("session", "upload", visits.directory, *NAMES, "--allow-multiple-studies", env=alice)
    assert done.code == 0, done.err
    assert_sessions(sandbox, by_number(visits))


def test_a_ready_made_archive_is_split_as_well(split, sandbox, visits, tmp_path, assert_sessions):
    packed = shutil.make_archive(str(tmp_path / "export"), "zip", visits.directory)
    done = split(path=packed)
    assert done.code == 0, done.err
    assert_sessions(sandbox, by_number(visits))


def test_real_samples_of_many_studies_in_one_directory(split, sandbox, tmp_path):
    """pydicom's files, side by side: every transfer syntax, native and compressed, with and without a preamble."""
    source = Path(pydicom.__file__).parent / "data" / "test_files"
    studies = sorted(scan_path(str(source)).studies, key=lambda study: -len(study.items))[:6]
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    files = [item.file for items in zip_longest(*(s.items for s in studies)) for item in items if item]
    for number, path in enumerate(files):
        shutil.copy(path, mixed / f"{number:03}")
    done = split("--same-patient", path=mixed)
    assert done.code == 0, done.err
    assert sorted(labels_of(done.document).values()) == ["visit", *(f"visit_{number}" for number in range(2, 7))]
    for study in studies:
        held = [kept(e["path"]) for e in sandbox.instances() if e["session"] == labels_of(done.document)[study.uid]]
        assert sorted(held) == sorted(kept(item.file) for item in study.items)


def test_a_plugin_may_plan_each_study(split, install, alice, sandbox, visits, tmp_path, assert_sessions):
    told = tmp_path / "told"
    variables = install(
        "planner",
        "from xnatctl.api import hookimpl\n"
        "@hookimpl\ndef xnatctl_plan_upload(request):\n"
        f"    with open({str(told)!r}, 'a') as file:\n"
        "        print(request.destination.session, request.study_instance_uid, file=file)\n",
    )
    done = split(env={**alice, **variables})
    assert done.code == 0, done.err
    expected = [f"{label} {study.study_instance_uid}" for label, study in by_number(visits).items()]
    assert told.read_text().splitlines() == expected
    assert_sessions(sandbox, by_number(visits))


def test_one_study_is_one_session(split, sandbox, visits, assert_sessions):
    done = split(path=visits.directory / "a")
    assert done.code == 0, done.err
    assert_sessions(sandbox, {"visit": visits.studies[2]})
    assert [study["session"] for study in done.document["studies"]] == ["visit"]
    assert done.document["destination"]["uri"] == done.document["studies"][0]["uri"]


def test_without_the_option_the_refusal_names_it(xnatctl, sandbox, visits, alice):
    for verb in ("upload", "verify"):
        done = xnatctl("session", verb, visits.directory, *NAMES, "-o", "json", env=alice)
        assert done.code == 7
        assert "--split-studies" in done.document["error"]["hint"]
        assert "visit_2" in done.document["error"]["hint"]
        assert done.document["error"]["hint"].startswith("--split-studies makes") is (verb == "upload")
    done = xnatctl("session", "upload-exam", visits.directory, *NAMES, "-o", "json", env=alice)
    assert done.code == 7
    assert "session upload --split-studies" in done.document["error"]["hint"]
    assert not imports(sandbox)


# what has its label keeps it


@pytest.mark.parametrize("where", ["same machine", "elsewhere"])
@pytest.mark.parametrize("place", ["--direct-archive", "--prearchive"])
def test_a_study_that_is_added_later_moves_no_other(
    split, sandbox, visits, alice, elsewhere, assert_sessions, where, place
):
    assert split(place).code == 0
    earlier = write_study(visits.directory / "0", 4, "20231201")
    done = split(place, env=alice if where == "same machine" else elsewhere)
    assert done.code == 0, done.err
    expected = {**by_number(visits), "visit_4": earlier}
    assert_sessions(sandbox, expected, place="archive" if place == "--direct-archive" else "prearchive")
    assert list(labels_of(done.document).values()) == ["visit", "visit_2", "visit_3", "visit_4"]


def test_what_was_archived_after_a_review_keeps_its_label(xnatctl, split, sandbox, visits, alice, elsewhere):
    done = split("--prearchive")
    for command in done.document["next"]:
        assert xnatctl(*command.split()[1:], env=alice).code == 0
    write_study(visits.directory / "0", 4, "20231201")
    again = split(env=elsewhere)
    assert again.code == 0, again.err
    assert labels_of(again.document).items() >= labels_of(done.document).items()
    assert again.document["counts"]["found"] == 24


def test_the_first_may_be_gone_from_the_disk(split, sandbox, visits, assert_sessions):
    """Its label is in use, and the others keep theirs; a new study is the next."""
    assert split().code == 0
    shutil.rmtree(visits.directory / "b")
    fourth = write_study(visits.directory / "0", 4, "20231201")
    done = split()
    assert done.code == 0, done.err
    assert_sessions(sandbox, {**by_number(visits), "visit_4": fourth})
    assert f"Label visit is skipped: session visit ({sandbox_id(sandbox, 'visit')})" in done.err


def sandbox_id(sandbox, label):
    (found,) = [e.id for e in sandbox.state.experiments.values() if e.label == label]
    return found


@pytest.mark.parametrize("place", ["--direct-archive", "--prearchive"])
def test_a_number_that_holds_another_study_is_passed_over(xnatctl, split, sandbox, visits, elsewhere, tmp_path, place):
    other = write_study(tmp_path / "other", 9, "20200101")
    taken = ("-P", "DEMO", "-S", "somebody", "-E", "visit_2")
    assert xnatctl("session", "upload", other.directory, *taken, place, env=elsewhere).code == 0
    done = split()
    assert done.code == 0, done.err
    assert list(labels_of(done.document).values()) == ["visit", "visit_3", "visit_4"]
    assert any("visit_2 is skipped" in w and other.study_instance_uid in w for w in done.document["warnings"])
    held = {e["sop_instance_uid"] for e in sandbox.instances() if e["session"] == "visit_2"}
    assert held == set(other.instances), "no study is ever mixed into another"
    again = split()
    assert again.code == 0, again.err
    assert again.document["counts"]["skipped"] == 18


@pytest.mark.parametrize("subject", ["subj", "somebody"])
@pytest.mark.parametrize("place", ["--direct-archive", "--prearchive"])
def test_a_study_that_is_on_the_server_under_another_label_is_not_sent_again(
    xnatctl, split, sandbox, visits, elsewhere, subject, place
):
    there = ("-P", "DEMO", "-S", subject, "-E", "baseline", place)
    assert xnatctl("session", "upload", visits.directory / "b", *there, env=elsewhere).code == 0
    before = len(imports(sandbox))
    done = split()
    assert done.code == 7, done.err
    study = visits.studies[0].study_instance_uid
    assert f"Study {study} is on the server already, as session baseline" in done.document["error"]["message"]
    assert "-E baseline" in done.document["error"]["hint"]
    assert len(imports(sandbox)) == before


def test_a_session_that_somebody_renamed_is_not_sent_again(split, sandbox, visits):
    assert split().code == 0
    before = len(imports(sandbox))
    study = visits.studies[1].study_instance_uid
    (session,) = [entry for entry in sandbox.state.experiments.values() if entry.uid == study]
    session.label = "follow-up"
    done = split()
    assert done.code == 7, done.err
    assert "as session follow-up of subject subj" in done.document["error"]["message"]
    assert len(imports(sandbox)) == before
    session.label = "visit_2"
    assert split().code == 0, "the session has its label again"


def test_a_copy_under_another_label_does_not_matter_where_the_study_has_its_session(xnatctl, split, visits, elsewhere):
    assert split().code == 0
    there = ("-P", "DEMO", "-S", "subj", "-E", "copy")
    assert xnatctl("session", "upload", visits.directory / "b", *there, env=elsewhere).code == 0
    done = split()
    assert done.code == 0, done.err
    study = visits.studies[0].study_instance_uid
    assert f"Study {study} is on the server as session copy, too." in done.document["warnings"]


def test_the_label_that_was_named_is_not_passed_over(xnatctl, split, sandbox, visits, alice, elsewhere, tmp_path):
    other = write_study(tmp_path / "other", 9, "20200101")
    assert xnatctl("session", "upload", other.directory, *NAMES, env=elsewhere).code == 0
    before = len(imports(sandbox))
    done = split()
    assert done.code == 7, done.err
    assert other.study_instance_uid in done.document["error"]["message"]
    assert done.document["status"] == "refused"
    assert len(imports(sandbox)) == before


def test_what_cannot_be_a_label_is_refused_once_for_all(xnatctl, sandbox, visits, alice):
    """The accession ID of a session elsewhere, and a label that XNAT would change."""
    there = ("-P", "MANUAL", "-S", "subj", "-E", "other")
    assert xnatctl("session", "upload", visits.directory / "b", *there, env=alice).code == 0
    before = len(imports(sandbox))
    (accession,) = sandbox.state.experiments
    for label in (accession, "first visit"):
        names = ("-P", "DEMO", "-S", "subj", "-E", label, "--split-studies", "-o", "json")
        done = xnatctl("session", "upload", visits.directory, *names, env=alice)
        assert done.code == 7, done.err
        assert label in done.document["error"]["message"]
    assert len(imports(sandbox)) == before


def test_sessions_that_a_site_gives_other_uids_are_not_doubled(xnatctl, split, sandbox, visits, elsewhere):
    """As anonymisation does. The server shows none of the studies any more, and the journals know where they went."""
    assert split().code == 0
    before = len(imports(sandbox))
    for number, experiment in enumerate(sandbox.state.experiments.values()):
        experiment.uid = f"1.2.3.{number}"
    for env in (None, elsewhere):  # where nobody remembers, the label that was named is a stranger's
        again = split(env=env)
        assert again.code == 7, again.err
        assert "holds study 1.2.3.0" in again.document["error"]["message"]
    assert len(imports(sandbox)) == before
    # Looked at it may be, anywhere.
    verify = ("session", "verify", visits.directory, *NAMES, "--split-studies", "-o", "json")
    assert xnatctl(*verify, env=elsewhere).document["counts"]["verified"] == 18


def test_a_study_that_is_there_under_another_subject_stops_them_all(split, xnatctl, sandbox, visits, elsewhere):
    there = ("-P", "DEMO", "-S", "somebody", "-E", "visit_3")
    assert xnatctl("session", "upload", visits.directory / "b", *there, env=elsewhere).code == 0
    before = len(imports(sandbox))
    done = split()
    assert done.code == 7, done.err
    assert "session visit_3 of subject somebody, not of subj" in done.document["error"]["message"]
    assert len(imports(sandbox)) == before


# patients


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("Roe^Ann", "Doe^Jane"), 7),
        (("Roe^Ann", "ROE^ANN^^^ "), 0),
        (("Roe^Ann", ""), 7),
        (("", ""), 0),
    ],
    ids=["two names", "one name, written in two ways", "a name and none", "no name at all"],
)
def test_without_patient_ids_the_names_tell_the_patients_apart(split, visits, names, code):
    shutil.rmtree(visits.directory / "c")
    for folder, name in zip(("a", "b"), names, strict=True):
        for path in (visits.directory / folder).rglob("*"):
            if path.is_file():
                ds = pydicom.dcmread(path)
                ds.PatientID, ds.PatientName = "", name
                ds.save_as(path)
    done = split("--dry-run")
    assert done.code == code, done.err
    if code:
        assert "different patients (2 patients)" in done.document["error"]["message"]
    assert not any(name and name in done.out + done.err for name in names)


def test_studies_of_two_patients_are_no_sessions_of_one_subject(split, sandbox, visits, assert_sessions):
    shutil.rmtree(visits.directory / "c")
    stranger = write_study(visits.directory / "c", 2, "20240201", patient_id="SOMEBODY^ELSE")
    done = split()
    assert done.code == 7, done.err
    error = done.document["error"]
    assert "different patients (2 patients)" in error["message"]
    assert [line.partition("(")[2] for line in error["message"].splitlines()[1:]] == [
        "patient 1)", "patient 2)", "patient 1)",
    ]  # fmt: skip
    assert "--same-patient" in error["hint"]
    for secret in ("SOMEBODY", "PHANTOM", "20240201"):
        assert secret not in done.out + done.err
    assert not imports(sandbox)
    assert split("--dry-run").code == 7
    said = split("--same-patient")
    assert said.code == 0, said.err
    assert any("2 patients" in warning for warning in said.document["warnings"])
    assert_sessions(sandbox, by_number(visits) | {"visit_2": stranger})


def test_same_patient_alone_means_nothing(xnatctl, visits, alice):
    done = xnatctl("session", "upload", visits.directory, *NAMES, "--same-patient", env=alice)
    assert done.code == 2


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


# what is said


def test_the_report_holds_every_session(split, visits, sandbox):
    (visits.directory / "note.txt").write_text("not an image")
    report = split().document
    assert report["schema"] == "xnatctl.report/1"
    assert (report["status"], report["error"], report["destination"]["session"]) == ("complete", None, "visit")
    assert report["destination"]["state"] == "archived"
    assert report["counts"] == {"found": 18, "excluded": 1, "sent": 18, "skipped": 0, "failed": 0, "verified": 18}
    assert [entry["path"] for entry in report["excluded"]] == ["note.txt"]
    assert report["verification"] | {"ok": True, "differences": []} == report["verification"]
    assert len(report["items"]) == 18
    for study, wanted, label in zip(report["studies"], visits.studies, by_number(visits), strict=True):
        assert study["study_instance_uid"] == wanted.study_instance_uid
        assert (study["session"], study["subject"], study["state"]) == (label, "subj", "archived")
        assert study["uri"] == f"/data/experiments/{sandbox_id(sandbox, label)}"
        assert (study["status"], study["error"]) == ("complete", None)
        assert study["counts"]["verified"] == 6
        assert study["verification"]["level"] in ("uid", "size")


def test_tables_rows_and_identifiers_say_each_session(split, visits, sandbox):
    table = split(output=())
    assert table.code == 0, table.err
    assert "3 of 3 sessions complete: 18 of 18 instances" in table.out
    for label, study in by_number(visits).items():
        uri = f"/data/experiments/{sandbox_id(sandbox, label)}"
        assert f"{label}: study {study.study_instance_uid}, archived: {uri}" in table.out
        assert f"Session {label} (" in table.err
    rows = [json.loads(line) for line in split(output=("-o", "ndjson")).out.splitlines()]
    assert [(row["session"], row["files"]) for row in rows] == [(label, 3) for label in by_number(visits) for _ in "12"]
    quiet = split(output=("-q",))
    assert quiet.out.splitlines() == [f"/data/experiments/{sandbox_id(sandbox, label)}" for label in by_number(visits)]


def test_a_dry_run_shows_every_session_and_asks_nobody(split, sandbox, visits):
    done = split("--dry-run", env={})
    assert done.code == 0, done.err
    assert done.document["schema"] == "xnatctl.plans/1"
    plans = done.document["plans"]
    assert [plan["destination"]["session"] for plan in plans] == list(by_number(visits))
    for plan, study in zip(plans, visits.studies, strict=True):
        assert plan["schema"] == "xnatctl.plan/1"
        sent = [item["sop_instance_uid"] for stage in plan["stages"] for item in stage["items"]]
        assert sorted(sent) == sorted(study.instances)
    table = split("--dry-run", output=())
    assert "Would make 3 sessions" in table.out
    for label in by_number(visits):
        assert f"  {label}: " in table.out
    assert not sandbox.requests


def test_a_dry_run_knows_what_this_machine_sent(split, visits):
    assert split().code == 0
    write_study(visits.directory / "0", 4, "20231201")
    plans = split("--dry-run").document["plans"]
    assert [plan["destination"]["session"] for plan in plans] == ["visit", "visit_2", "visit_3", "visit_4"]
    assert plans[0]["stages"][0]["items"][0]["study_instance_uid"] == visits.studies[0].study_instance_uid
    assert [plan["delivered_before"] for plan in plans] == [6, 6, 6, 0]


# looking afterwards


@pytest.mark.parametrize("where", ["same machine", "elsewhere"])
def test_each_study_is_compared_with_its_session(
    xnatctl, split, sandbox, visits, alice, elsewhere, assert_sessions, where
):
    env = alice if where == "same machine" else elsewhere
    verify = ("session", "verify", visits.directory, *NAMES, "--split-studies")
    nothing = xnatctl(*verify, "-o", "json", env=env)
    assert nothing.code == 6, nothing.err
    assert "--split-studies" in nothing.document["error"]["hint"], "without it the upload would be refused"
    assert split().code == 0
    done = xnatctl(*verify, "-o", "json", env=env)
    assert done.code == 0, done.err
    assert labels_of(done.document) == {s.study_instance_uid: label for label, s in by_number(visits).items()}
    assert done.document["counts"]["verified"] == 18
    table = xnatctl(*verify, env={**env, "XNAT_USER": "bob", "XNAT_PASS": "bob"})  # who may only read
    assert "3 of 3 sessions hold what is on disk: 18 of 18 instances" in table.out
    fourth = write_study(visits.directory / "0", 4, "20231201")
    short = xnatctl(*verify, "-o", "json", env=env)
    assert short.code == 6, short.err
    statuses = {study["session"]: study["status"] for study in short.document["studies"]}
    assert statuses == {"visit": "complete", "visit_2": "complete", "visit_3": "complete", "visit_4": "partial"}
    missing = {item["sop_instance_uid"] for item in short.document["items"] if item["outcome"] == "missing"}
    assert missing == set(fourth.instances)
    assert_sessions(sandbox, by_number(visits))
