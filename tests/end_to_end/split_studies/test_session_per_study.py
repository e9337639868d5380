"""`--split-studies`: each study becomes a session, of one patient only."""

from __future__ import annotations

import shutil
from itertools import zip_longest
from pathlib import Path

import pydicom
import pytest
from kept import kept
from studies import NAMES, by_number, imports, labels_of, write_study

from xnatctl.inventory.walk import scan_path

pytestmark = pytest.mark.once


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
    other = write_study(visits.directory / "c", 2, "20240201", patient_id="SOMEBODY^ELSE")
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
    assert_sessions(sandbox, by_number(visits) | {"visit_2": other})


def test_same_patient_alone_means_nothing(xnatctl, visits, alice):
    done = xnatctl("session", "upload", visits.directory, *NAMES, "--same-patient", env=alice)
    assert done.code == 2
