"""What is refused before the first byte, and a file that cannot be read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from children import HANGS

from xnatctl.testing import write_exam

NAMES = ("-P", "DEMO", "-S", "subj01", "-E", "sess01")


def imports(sandbox):
    return [r for r in sandbox.requests if "services/import" in r["path"]]


pytestmark = pytest.mark.once


@pytest.fixture
def archived(xnatctl, sandbox, alice, exam):
    assert xnatctl("session", "upload", exam.directory, *NAMES, env=alice).code == 0
    return len(imports(sandbox))


def refused(done, *words):
    assert done.code == 7, done.err
    said = f"{done.document['error']['message']} {done.document['error']['hint']}"
    for word in words:
        assert word in said
    assert done.document["status"] == "refused"


def test_a_session_of_another_subject(xnatctl, sandbox, alice, exam, archived):
    done = xnatctl(
        "session", "upload", exam.directory, "-P", "DEMO", "-S", "other", "-E", "sess01", "-o", "json", env=alice
    )
    refused(done, "subj01", "other")
    assert len(imports(sandbox)) == archived


def test_a_session_of_another_study(xnatctl, sandbox, alice, archived, tmp_path):
    second = write_exam(tmp_path / "second", series=1, instances=2, seed=99, clutter=False)
    done = xnatctl("session", "upload", second.directory, *NAMES, "-o", "json", env=alice)
    refused(done, second.study_instance_uid)
    assert len(imports(sandbox)) == archived


def test_the_accession_id_of_a_session_elsewhere_is_no_label(xnatctl, sandbox, alice, exam, archived):
    """XNAT resolves IDs before labels, in whatever project they are."""
    done = xnatctl(
        "session",
        "upload",
        exam.directory,
        "-P",
        "MANUAL",
        "-S",
        "subj01",
        "-E",
        "XNAT_E00001",
        "-o",
        "json",
        env=alice,
    )
    refused(done, "accession ID of session sess01 in project DEMO", "-P DEMO -E sess01")
    assert len(imports(sandbox)) == archived


def test_the_same_study_waits_under_another_subject(xnatctl, sandbox, alice, exam):
    assert xnatctl("session", "upload", exam.directory, *NAMES, "--prearchive", env=alice).code == 0
    before = len(imports(sandbox))
    done = xnatctl(
        "session", "upload", exam.directory, "-P", "DEMO", "-S", "other", "-E", "sess01", "-o", "json", env=alice
    )
    refused(done, "prearchive", "subj01")
    assert len(imports(sandbox)) == before


def test_a_row_that_the_server_works_on(xnatctl, sandbox, alice, elsewhere, exam):
    assert xnatctl("session", "upload", exam.directory, *NAMES, "--prearchive", env=elsewhere).code == 0
    sandbox.state.prearchive[0].status = "_ARCHIVING"
    refused(xnatctl("session", "upload", exam.directory, *NAMES, "-o", "json", env=alice), "_ARCHIVING")


def test_what_waits_of_the_same_session_is_completed(xnatctl, sandbox, alice, exam, assert_exactly):
    part = exam.directory / "series 1"
    assert xnatctl("session", "upload", part, *NAMES, "--prearchive", env=alice).code == 0
    done = xnatctl("session", "upload", exam.directory, *NAMES, "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert "holds files of session " in " ".join(done.document["warnings"])
    assert_exactly(sandbox, exam.digests, place="archive", label="sess01")


def test_two_contents_of_one_instance(xnatctl, sandbox, alice, own_exam):
    record = next(iter(own_exam.instances.values()))
    data = bytearray(record.path.read_bytes())
    data[-1] ^= 1
    (own_exam.directory / "twin").write_bytes(data)
    done = xnatctl("session", "upload", own_exam.directory, *NAMES, "-o", "json", env=alice)
    refused(done, "twin", record.path.name)
    assert imports(sandbox) == []


def test_an_existing_subject_may_have_any_label(xnatctl, sandbox, alice, exam, assert_exactly):
    from xnatctl_sandbox.world.records import Subject

    sandbox.state.subjects["XNAT_S9"] = Subject(id="XNAT_S9", label="Sub 1", project="DEMO")
    done = xnatctl("session", "upload", exam.directory, "-P", "DEMO", "-S", "Sub 1", "-E", "e", env=alice)
    refused_new = xnatctl(
        "session", "upload", exam.directory, "-P", "DEMO", "-S", "Sub 2", "-E", "f", "-o", "json", env=alice
    )
    refused(refused_new, "Sub_2")
    assert done.code in (0, 6), done.err


def test_a_damaged_instance_is_named_and_the_session_waits_for_it(xnatctl, sandbox, alice, own_exam, assert_exactly):
    record = next(iter(own_exam.instances.values()))
    whole = record.path.read_bytes()
    record.path.write_bytes(whole[:300])
    done = xnatctl("session", "upload", own_exam.directory, *NAMES, "-o", "json", env=alice)
    assert done.code == 5, done.err
    report = done.document
    assert record.path.name in report["error"]["message"]
    assert "Repair the file or move it away" in report["error"]["hint"]
    assert (report["status"], report["counts"]["failed"], report["counts"]["sent"]) == (
        "partial",
        1,
        len(own_exam.instances) - 1,
    )
    assert [item["outcome"] for item in report["items"]].count("invalid") == 1
    assert not [entry for entry in sandbox.instances() if entry["place"] == "archive" and entry["catalogued"]]
    verified = xnatctl("session", "verify", own_exam.directory, *NAMES, "-o", "json", env=alice)
    assert verified.code == 6
    assert record.path.name in verified.document["error"]["message"]
    record.path.write_bytes(whole)
    assert xnatctl("session", "upload", own_exam.directory, *NAMES, env=alice).code == 0
    assert_exactly(sandbox, own_exam.digests, place="archive", label="sess01")


def test_an_unreadable_file_is_named_and_the_session_waits_for_it(environment, xnatctl, sandbox, alice, own_exam):
    """Root may read everything, so the command runs without that privilege."""
    record = next(iter(own_exam.instances.values()))
    record.path.chmod(0)
    prefix = []
    if os.geteuid() == 0:
        assert shutil.which("setpriv"), "util-linux has it"
        dropped = "-dac_override,-dac_read_search"
        prefix = ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}"]
    command = [
        *prefix,
        sys.executable,
        "-m",
        "xnatctl",
        "session",
        "upload",
        str(own_exam.directory),
        *NAMES,
        "-o",
        "json",
    ]
    done = subprocess.run(
        command, env={**environment, **alice}, capture_output=True, text=True, timeout=HANGS, check=False
    )
    import json

    report = json.loads(done.stdout)
    assert done.returncode == 5, done.stderr
    assert record.path.name in report["error"]["message"]
    assert "Permission denied" in report["error"]["message"]
    assert (report["status"], report["counts"]["failed"], report["counts"]["sent"]) == ("partial", 1, 59)
    assert report["counts"]["found"] == 60
    assert not [entry for entry in sandbox.instances() if entry["place"] == "archive" and entry["catalogued"]]
    record.path.chmod(0o644)
    assert xnatctl("session", "upload", own_exam.directory, *NAMES, env=alice).code == 0
    assert len({e["sha256"] for e in sandbox.instances() if e["place"] == "archive"}) == 60
