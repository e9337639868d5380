"""Waiting for the archive: by hand, in time, too late, not at all; and what the printed command does then."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.once


def later(done):
    """The one command that the report says to run later."""
    (line,) = [line for line in done.document["next"] if "--attach-only" in line]
    return line


def kinds(report):
    return {item["path"]: item["outcome"] for item in report["items"] if item["resource"]}


def test_left_in_the_prearchive_then_archived_by_hand_then_attached(
    upload_exam, xnatctl, shell, sandbox, alice, root, assert_exactly, attached, exam_writes
):
    done = upload_exam(root, "--prearchive", "--wait", "0", "--misc-label", "TOP FILES".replace(" ", "_"))
    assert done.code == 6, done.err
    report = done.document
    assert report["error"]["code"] == "not-archived"
    assert report["destination"]["state"] == "prearchive"
    assert report["status"] == "partial"
    assert set(kinds(report).values()) == {"planned"}
    assert_exactly(sandbox, root.digests, place="prearchive", label="e")
    line = later(done)
    assert line in done.err
    assert "--misc-label TOP_FILES" in line

    # Too early: nothing changes, and the same command is named again.
    early = shell(f"{line} -o json")
    assert early.returncode == 6, early.stderr
    assert "--attach-only" in early.stderr

    (row,) = sandbox.state.prearchive
    by_hand = xnatctl(
        "prearchive", "archive", "DEMO", row.timestamp, row.folder, "--subject", "s", "--label", "e", env=alice
    )
    assert by_hand.code == 0, by_hand.err
    before = len([w for w in exam_writes(sandbox) if "import" in w])
    attach = shell(f"{line} -o json")
    assert attach.returncode == 0, attach.stderr
    assert len([w for w in exam_writes(sandbox) if "import" in w]) == before, "no image is sent again"
    assert_exactly(sandbox, root.digests, place="archive", label="e")
    root.files["TOP_FILES"] = root.files.pop("MISC")
    assert attached(sandbox) == root.files


def test_a_wait_that_somebody_ends_in_time(upload_exam, xnatctl, environment, alice, sandbox, root, attached):
    process = subprocess.Popen(
        [sys.executable, "-m", "xnatctl", "session", "upload-exam", root.directory, "-P", "DEMO", "-S", "s", "-E", "e",
         "--prearchive", "--wait", "60"],
        env={**environment, **alice}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 50
    while not any(row.status == "READY" for row in sandbox.state.prearchive) and time.monotonic() < deadline:
        time.sleep(0.05)
    (row,) = sandbox.state.prearchive
    by_hand = xnatctl(
        "prearchive", "archive", "DEMO", row.timestamp, row.folder, "--subject", "s", "--label", "e", env=alice
    )
    assert by_hand.code == 0, by_hand.err
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert attached(sandbox) == root.files


def test_a_server_that_is_slower_than_the_wait(upload_exam, shell, sandbox, root, attached, assert_exactly):
    """The archiving does not end before the command does, whatever the machine is busy with."""
    sandbox.switches.archive_seconds = 3600
    done = upload_exam(root, "--wait", "0")
    sandbox.switches.archive_seconds = 0
    report = done.document
    assert done.code == 6, done.err
    assert report["error"]["code"] == "not-archived"
    (line,) = [line for line in report["next"] if "--attach-only" in line]
    attach = shell(line.replace("--wait 0", "--wait 60"))
    assert attach.returncode == 0, attach.stderr
    assert attached(sandbox) == root.files
    assert_exactly(sandbox, root.digests, place="archive", label="e")


def test_images_now_resources_later_and_each_command_is_done(
    upload_exam, xnatctl, sandbox, root, attached, assert_exactly, exam_writes
):
    done = upload_exam(root, "--skip-resources", "--wait", "0")
    assert done.code == 0, done.err
    assert_exactly(sandbox, root.digests, place="archive", label="e")
    assert attached(sandbox) == {}
    before = len(exam_writes(sandbox))
    done = upload_exam(root, "--attach-only", "--wait", "0")
    assert done.code == 0, done.err
    assert attached(sandbox) == root.files
    assert done.document["warnings"] == [], "the images were proven by the first command"
    rows = xnatctl("upload", "status", "-o", "json").document["uploads"]
    assert {(row["undelivered"], row["state"]) for row in rows} == {(0, "complete")}
    assert not [w for w in exam_writes(sandbox)[before:] if "import" in w]
    assert upload_exam(root).code == 0, "and the whole finds everything there"
    assert len(exam_writes(sandbox)[before:]) == 3


def test_attach_only_takes_an_accession_id_and_no_subject(upload_exam, xnatctl, sandbox, alice, root, attached):
    assert upload_exam(root, "--skip-resources").code == 0
    (session,) = sandbox.state.experiments.values()
    for path in list(root.directory.iterdir()):
        if path.name.startswith("series"):
            path.rename(root.directory.parent / path.name)
    done = xnatctl(
        "session",
        "upload-exam",
        root.directory,
        "-P",
        "DEMO",
        "-E",
        session.id,
        "--attach-only",
        "-o",
        "json",
        env=alice,
    )
    assert done.code == 0, done.err
    assert attached(sandbox) == root.files


def test_attach_only_refuses_another_subject_and_another_study(
    upload_exam, xnatctl, shell, sandbox, alice, root, attached, tmp_path
):
    from xnatctl.testing import write_exam

    assert upload_exam(root, "--skip-resources").code == 0
    done = xnatctl(
        "session", "upload-exam", root.directory, "-P", "DEMO", "-S", "other", "-E", "e", "--attach-only", env=alice
    )
    assert done.code == 7, done.err
    assert "belongs to subject s" in done.err
    other = write_exam(tmp_path / "other", series=1, instances=1, seed=99, clutter=False).directory
    (other / "note.txt").write_text("of another study")
    assert attached(sandbox) == {}
    # The site's anonymisation may have changed the UIDs; only the person who runs the command can know.
    done = xnatctl(
        "session", "upload-exam", other, "-P", "DEMO", "-S", "s", "-E", "e", "--attach-only", "-o", "json", env=alice
    )
    assert done.code == 7, done.err
    assert "holds study" in done.document["error"]["message"]
    assert attached(sandbox) == {}
    (line,) = done.document["next"]
    assert line in done.document["error"]["hint"]
    elsewhere = xnatctl("session", "upload", other, "-P", "DEMO", "-S", "s", "-E", "f", env=alice)
    assert elsewhere.code == 0, "also when the study is in the archive under another label, the session that is named"
    trusted = shell(f"{line} -o json")
    assert trusted.returncode == 0, trusted.stderr
    assert "--trust-session" in "".join(json.loads(trusted.stdout)["warnings"])
    assert list(attached(sandbox)) == ["MISC"]


def test_attach_only_to_a_label_that_is_not_there(upload_exam, shell, sandbox, alice, root, attached):
    """The commands of the hint show the labels of the project, and attach the resources once the label is right."""
    done = upload_exam(root, "--attach-only", "--wait", "0")
    assert done.code == 6, done.err
    *checks, attach = re.findall("xnatctl .*?(?= or | and |$)", done.document["error"]["hint"])
    assert [shell(line).returncode for line in checks] == [0, 0]
    assert upload_exam(root, "--skip-resources").code == 0
    assert shell(attach).returncode == 0
    assert attached(sandbox) == root.files


@pytest.mark.parametrize("lacks", ["an instance", "a series"])
def test_attach_only_refuses_a_session_that_lacks_images_of_the_same_study(
    upload_exam, sandbox, root, attached, exam_writes, lacks
):
    """Resources go where the images are; what is missing is named, and nothing is sent."""
    assert upload_exam(root, "--skip-resources").code == 0
    before = len(exam_writes(sandbox))
    (session,) = sandbox.state.experiments.values()
    scan = session.scans["2"]
    (resource,) = scan.resources
    if lacks == "a series":
        del session.scans["2"]
    else:
        resource.entries.pop(next(iter(resource.entries)))
    done = upload_exam(root, "--attach-only")
    assert done.code == 7, done.err
    assert "images on disk: missing are series 2/" in done.document["error"]["message"]
    assert len(done.document["verification"]["differences"]) == (4 if lacks == "a series" else 1)
    assert attached(sandbox) == {}
    assert exam_writes(sandbox)[before:] == []


def test_attach_only_refuses_a_session_whose_listings_contradict_each_other(upload_exam, sandbox, root, attached):
    """They prove nothing of what it holds."""
    assert upload_exam(root, "--skip-resources").code == 0
    match = {"method": "GET", "path": "/scans/ALL/files"}
    sandbox.faults.load(
        [{"match": match, "nth": "every", "action": "status", "status": 200, "page": "plain",
          "text": '{"ResultSet":{"Result":[]}}'}]
    )  # fmt: skip
    done = upload_exam(root, "--attach-only")
    assert done.code == 7, done.err
    assert attached(sandbox) == {}
    sandbox.faults.load([])
    assert upload_exam(root, "--attach-only").code == 0
    assert attached(sandbox) == root.files


@pytest.mark.parametrize("wait", ["0", "86400"])
def test_attach_only_without_a_session_names_the_command_to_run_later(upload_exam, shell, root, sandbox, wait):
    """What nobody sent anywhere does not come by waiting."""
    done = upload_exam(root, "--attach-only", "--wait", wait)
    assert done.code == 6, done.err
    assert "the server does not know it" in done.document["error"]["message"]
    assert "--attach-only" in later(done)
    assert sandbox.state.experiments == {}


@pytest.mark.parametrize("name", ['it\'s  an $HOME `id` "exam"; #', "-dash"])
def test_the_printed_command_is_quoted_for_a_shell(upload_exam, xnatctl, shell, sandbox, alice, root, attached, name):
    import dataclasses

    odd = root.directory.parent / name
    root.directory.rename(odd)
    root = dataclasses.replace(root, directory=odd)
    (odd / "Physio").rename(odd / 'Physio = "x"; touch hacked')
    done = upload_exam(root, "--prearchive", "--wait", "0", "--resource-label", 'Physio = "x"; touch hacked=Physio')
    assert done.code == 6, done.err
    (row,) = sandbox.state.prearchive
    assert (
        xnatctl(
            "prearchive", "archive", "DEMO", row.timestamp, row.folder, "--subject", "s", "--label", "e", env=alice
        ).code
        == 0
    )
    attach = shell(later(done))
    assert attach.returncode == 0, attach.stderr
    assert attached(sandbox) == root.files
