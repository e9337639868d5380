"""`default_project` of a profile takes the place of a missing `-P`, and every command says so."""

from __future__ import annotations

import pytest

from xnatctl.testing.exam import write_exam

URL = "http://127.0.0.1:9"
SAID = "Project LAB (default_project of profile lab)."


@pytest.fixture
def lab(xnatctl):
    done = xnatctl("config", "set-profile", "lab", "--url", URL, "--default-project", "LAB", "-o", "json")
    assert done.code == 0, done.err
    assert done.document["default_project"] == "LAB"
    return xnatctl


@pytest.fixture
def exam(tmp_path):
    return write_exam(tmp_path / "exam", series=1, instances=2, clutter=False).directory


@pytest.mark.parametrize("command", ["upload", "upload-exam"])
def test_an_upload_goes_to_the_default_project(lab, exam, command):
    words = ("session", command, exam, "-S", "s", "-E", "e", "--dry-run", "-o", "json")
    done = lab(*words)
    assert done.code == 0, done.err
    assert done.document["destination"]["project"] == "LAB"
    assert done.err.splitlines() == [SAID]
    done = lab(*words, "-P", "OTHER")
    assert (done.document["destination"]["project"], done.err) == ("OTHER", "")


def test_it_is_of_the_server_of_its_profile(lab, exam):
    done = lab("session", "upload", exam, "-S", "s", "-E", "e", "--dry-run", "--url", "http://127.0.0.1:8")
    assert done.code == 2
    assert "Missing: -P PROJECT." in done.err


def test_it_is_shown_and_listed(lab):
    rows = lab("config", "show", "-o", "json").document["settings"]
    assert [(row["value"], row["origin"]) for row in rows if row["setting"] == "default_project"] == [
        ("LAB", "profile lab")
    ]
    (row,) = lab("config", "list-profiles", "-o", "json").document["profiles"]
    assert row == {
        "profile": "lab", "default": True, "active": True, "url": URL, "username": None, "default_project": "LAB",
    }  # fmt: skip


def test_what_else_is_missing_is_named_without_it(lab, exam):
    done = lab("session", "upload", exam)
    assert done.code == 2
    assert "Missing: -S SUBJECT, -E SESSION." in done.err


def test_other_profiles_are_not_asked(lab):
    assert lab("config", "set-profile", "two", "--url", URL).code == 0
    done = lab("session", "list", "--profile", "two")
    assert (done.code, SAID in done.err) == (2, False)
    listed = lab("config", "list-profiles", "-o", "json", env={"XNAT_PROFILE": "two"}).document["profiles"]
    assert [(row["profile"], row["default"], row["active"]) for row in listed] == [
        ("lab", True, False), ("two", False, True),
    ]  # fmt: skip


def test_all_projects_of_the_prearchive(lab):
    done = lab("prearchive", "list", "-P", "LAB", "--all-projects")
    assert (done.code, "exclude each other" in done.err) == (2, True)


def test_an_empty_one_is_refused(lab):
    assert lab("config", "set-profile", "lab", "--default-project", "").code == 2


def test_removing_says_what_becomes_of_credentials(lab):
    assert lab("config", "set-profile", "lab", "--username", "alice").code == 0
    done = lab("config", "remove-profile", "lab", "--yes")
    assert done.code == 0
    assert f"To end it: xnatctl auth logout --url {URL} --username alice" in done.out
