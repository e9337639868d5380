"""Lists, resources and verification with the default project of a profile."""

from __future__ import annotations

import pytest

from xnatctl.api.system import split_command

pytestmark = pytest.mark.once

SAID = "Project DEMO (default_project of profile lab)."


@pytest.mark.lab
def test_the_whole_way_without_a_project(xnatctl, sandbox, exam, tmp_path):
    login = {"XNAT_USER": "alice", "XNAT_PASS": "alice"}
    assert xnatctl("config", "set-profile", "lab", "--url", sandbox.url, "--default-project", "DEMO").code == 0

    def run(*words, said=True):
        done = xnatctl(*words, "-o", "json", env=login)
        assert done.code == 0, done.err
        assert (SAID in done.err) is said
        return done.document

    assert run("session", "upload", exam.directory, "-S", "s", "-E", "e")["destination"]["project"] == "DEMO"
    assert run("session", "verify", exam.directory, "-S", "s", "-E", "e")["verification"]["ok"]
    (session,) = run("session", "list")["sessions"]
    assert run("session", "show", "e")["id"] == session["id"]
    assert run("session", "show", session["id"], said=False)["label"] == "e"
    assert len(run("scan", "list", "-E", "e")["scans"]) == 3
    (tmp_path / "notes.txt").write_text("x")
    assert run("resource", "upload", "e", "NOTES", tmp_path / "notes.txt")["counts"]["verified"] == 1
    assert (
        run("resource", "upload", session["id"], "NOTES", tmp_path / "notes.txt", said=False)["counts"]["failed"] == 0
    )
    assert "NOTES" in {each["label"] for each in run("resource", "list", "e")["resources"]}
    run("prearchive", "list")
    run("prearchive", "list", "--all-projects", said=False)
    assert run("upload", "resume", "e", said=False)["counts"]["skipped"] == 60


def test_the_command_that_finishes_an_upload_names_the_project(xnatctl, alice, own_exam):
    """The default may be another one by then."""
    url = alice.pop("XNAT_URL")
    assert xnatctl("config", "set-profile", "lab", "--url", url, "--default-project", "DEMO").code == 0
    damaged = next(iter(own_exam.instances.values())).path
    damaged.write_bytes(damaged.read_bytes()[:-50])
    words = ("session", "upload", "-S", "s", "-E", "e", "-o", "json", "--", own_exam.directory)
    done = xnatctl(*words, env=alice)
    assert done.code == 5
    (line,) = done.document["next"]
    again = split_command(line)
    assert again[again.index("--project") + 1] == "DEMO"
    assert again[-2:] == ["--", str(own_exam.directory)]
