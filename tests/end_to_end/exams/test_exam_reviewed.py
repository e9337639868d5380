"""A person acts on the prearchive row while `upload-exam --prearchive` waits for the archive.

What the command says is held against the sandbox's own record.
"""

from __future__ import annotations

import base64
import json
import time
import urllib.request
from urllib.parse import urlencode

import pytest

pytestmark = pytest.mark.once


@pytest.fixture
def by_hand(sandbox):
    """Somebody else, by plain HTTP: none of our client is trusted here."""

    def call(method, path, user="alice", **form):
        login = base64.b64encode(f"{user}:{user}".encode()).decode()
        request = urllib.request.Request(
            f"{sandbox.url}{path}", method=method, headers={"Authorization": f"Basic {login}"},
            data=urlencode(form).encode() if form else None,
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            if error.code == 301:  # XNAT's way to say that something moved
                return error.read().decode()
            raise

    return call


@pytest.fixture
def reviewed(nursery, environment, alice, sandbox, root, tmp_path):
    """Run `upload-exam --prearchive`; `act` gets the row while the command waits. Returns exit code and report."""

    def run(act, *more, wait="120"):
        words = ("-P", "DEMO", "-S", "s", "-E", "e", "--prearchive", "--wait", wait, "-o", "json", *more)
        child = nursery.start(
            "-m", "xnatctl", "session", "upload-exam", str(root.directory), *words, env={**environment, **alice},
            cwd=tmp_path,
        )  # fmt: skip
        while b"it is READY in the prearchive" not in child.err:
            assert child.poll() is None, child.err
            time.sleep(0.02)
        (row,) = sandbox.state.prearchive
        act(row)
        out, err = child.communicate()
        assert b"Traceback" not in err
        return child.returncode, json.loads(out)

    return run


@pytest.fixture
def archive(by_hand):
    """Archive a row as a reviewer does."""

    def run(row, session="e", subject="s", project="DEMO"):
        source = f"/data/prearchive/projects/{project}/{row.timestamp}/{row.folder}"
        by_hand("POST", "/data/services/archive", src=source, session=session, subject=subject, overwrite="append")

    return run


def test_archived_by_a_person_is_verified_by_uid_and_leaves_nothing_to_do(
    reviewed, archive, root, sandbox, attached, assert_exactly
):
    code, report = reviewed(archive)
    assert code == 0, report["error"]
    assert_exactly(sandbox, root.digests, place="archive", label="e")
    assert attached(sandbox) == root.files
    assert report["next"] == []
    assert report["verification"]["level"] != "counted", "the prearchive was only counted, the archive is compared"
    assert report["counts"]["verified"] == report["counts"]["found"]


def test_without_verification_a_dropped_scan_keeps_resources_from_being_attached_too(
    reviewed, archive, by_hand, sandbox, attached
):
    def act(row):
        by_hand("DELETE", f"/data/prearchive/projects/DEMO/{row.timestamp}/{row.folder}/scans/2")
        archive(row)

    code, report = reviewed(act, "--no-verify")
    assert code == 6, report
    assert "images on disk: missing are series 2/" in report["error"]["message"]
    assert attached(sandbox) == {}


def test_a_dropped_scan_is_named_and_nothing_is_attached(
    reviewed, archive, by_hand, upload_exam, root, sandbox, attached, shell
):
    def act(row):
        by_hand("DELETE", f"/data/prearchive/projects/DEMO/{row.timestamp}/{row.folder}/scans/2")
        archive(row)

    code, report = reviewed(act)
    assert code == 6, report
    held = {instance["sop_instance_uid"] for instance in sandbox.instances()}
    missing = {d["sop_instance_uid"] for d in report["verification"]["differences"] if d["kind"] == "missing"}
    assert missing == set(root.digests) - held
    assert len(missing) == 4
    assert {i["sop_instance_uid"] for i in report["items"] if i["outcome"] == "missing"} == missing
    assert report["destination"]["state"] == "archived"
    assert attached(sandbox) == {}
    assert not [line for line in report["next"] if "prearchive archive" in line]
    # A person decides: the session is complete without that scan, or it is sent again.
    (trusting,) = [line for line in report["next"] if "--trust-session" in line]
    done = shell(f"{trusting} -o json")
    assert done.returncode == 0, done.stderr
    assert attached(sandbox) == root.files
    again = upload_exam(root, "--prearchive", "--wait", "0")
    assert again.code == 6, again.err
    (row,) = sandbox.state.prearchive
    archive(row)
    again = upload_exam(root, "--prearchive", "--wait", "0")
    assert again.code == 0, again.err
    assert {instance["sop_instance_uid"] for instance in sandbox.instances()} == set(root.digests)


def test_a_deleted_row_is_said_to_be_gone_and_the_same_command_sends_again(
    reviewed, by_hand, archive, upload_exam, root, sandbox, assert_exactly
):
    began = time.monotonic()
    code, report = reviewed(
        lambda row: by_hand("DELETE", f"/data/prearchive/projects/DEMO/{row.timestamp}/{row.folder}"), wait="900"
    )
    assert time.monotonic() - began < 300, "what was deleted is not waited for"
    assert code == 6, report
    assert "deleted" in report["error"]["message"]
    assert report["destination"]["uri"] is None
    assert report["counts"]["verified"] == 0
    assert sandbox.instances() == []
    (line,) = report["next"]
    assert line.startswith("xnatctl session upload-exam")
    assert "--attach-only" not in line
    assert upload_exam(root, "--prearchive", "--wait", "0").code == 6
    (row,) = sandbox.state.prearchive
    archive(row)
    assert upload_exam(root, "--prearchive", "--wait", "0").code == 0
    assert_exactly(sandbox, root.digests, place="archive", label="e")


def test_a_deleted_row_beside_an_older_session_of_the_label(
    reviewed, by_hand, upload_exam, elsewhere, root, sandbox, attached
):
    """The archive holds a part of the study already, so the label is there; the reviewer rejects the rest."""
    aside = root.directory.parent / "aside"
    (root.directory / "series 2").rename(aside)
    assert upload_exam(root, "--skip-resources", env=elsewhere).code == 0
    aside.rename(root.directory / "series 2")
    code, report = reviewed(
        lambda row: by_hand("DELETE", f"/data/prearchive/projects/DEMO/{row.timestamp}/{row.folder}")
    )
    assert code == 6, report
    held = {instance["sop_instance_uid"] for instance in sandbox.instances()}
    assert len(held) == 4
    missing = {i["sop_instance_uid"] for i in report["items"] if i["outcome"] == "missing"}
    assert missing == set(root.digests) - held
    assert attached(sandbox) == {}


@pytest.mark.parametrize(
    "how", [pytest.param("label", marks=pytest.mark.lab), pytest.param("subject", marks=pytest.mark.lab), "both"]
)
def test_archived_under_other_names_is_found_and_not_attached_to(
    reviewed, archive, upload_exam, root, sandbox, attached, shell, how
):
    names = {"label": {"session": "f"}, "subject": {"subject": "t"}, "both": {"session": "f", "subject": "t"}}[how]
    code, report = reviewed(lambda row: archive(row, **names))
    assert code == 6, report
    (session,) = sandbox.state.experiments.values()
    assert session.id in report["error"]["message"]
    assert report["destination"]["uri"] == f"/data/experiments/{session.id}"
    assert attached(sandbox, session.label) == {}
    assert not [line for line in report["next"] if "prearchive archive" in line]
    again = upload_exam(root, "--prearchive", "--wait", "0")
    assert again.code == 7, "a person decides; nothing is filed twice"
    assert session.label in again.document["error"]["message"]
    assert len(sandbox.instances()) == len(root.digests)
    (line,) = [line for line in report["next"] if "--attach-only" in line]
    if how == "label":  # the command of an earlier report, with the old label, finds it as well
        late = shell(line.replace("-E f", "-E e").replace("--wait 120", "") + " --wait 0 -o json")
        assert late.returncode == 7, late.stderr
        assert session.id in json.loads(late.stdout)["error"]["message"]
        assert attached(sandbox, "f") == {}
    done = shell(f"{line} -o json")
    assert done.returncode == 0, done.stderr
    assert attached(sandbox, session.label) == root.files


def test_moved_to_another_project(reviewed, by_hand, upload_exam, root, sandbox, attached, shell):
    sandbox.add_project("OTHER", roles={"alice": "owner"})
    code, report = reviewed(
        lambda row: by_hand(
            "POST", f"/data/prearchive/projects/DEMO/{row.timestamp}/{row.folder}", action="move", newProject="OTHER"
        )
    )
    assert code == 6, report
    assert "prearchive of project OTHER" in report["error"]["message"]
    assert report["destination"]["state"] == "prearchive"
    again = upload_exam(root, "--prearchive", "--wait", "0")
    assert again.code == 7, again.err
    for line in report["next"]:  # archive there, attach there
        done = shell(line)
        assert done.returncode == 0, done.stderr
    (session,) = sandbox.state.experiments.values()
    assert session.project == "OTHER"
    assert attached(sandbox) == root.files


def test_another_study_takes_the_label_while_ours_is_deleted(
    reviewed, by_hand, xnatctl, elsewhere, root, sandbox, attached, tmp_path
):
    from xnatctl.testing import write_exam

    other = write_exam(tmp_path / "other", series=1, instances=2, seed=99, clutter=False)

    def act(row):
        by_hand("DELETE", f"/data/prearchive/projects/DEMO/{row.timestamp}/{row.folder}")
        done = xnatctl(
            "session", "upload", other.directory, "-P", "DEMO", "-S", "s", "-E", "e", "--no-verify", env=elsewhere
        )
        assert done.code == 0, done.err

    code, report = reviewed(act)
    assert code == 6, report
    assert other.study_instance_uid in report["error"]["message"]
    assert attached(sandbox) == {}
    assert report["counts"]["verified"] == 0
