"""What `docs/reference/checklist.md` promises of an upload and no other test holds: defaults, batches, limits of time."""

from __future__ import annotations

import re
import zipfile
from urllib.parse import parse_qs

import pytest

UPLOAD = ("-P", "DEMO", "-S", "s", "-E", "e")
IMPORT = {"method": "POST", "path": "services/import$"}


@pytest.fixture
def imports(sandbox):
    """The parameters of each import request so far."""

    def sent():
        return [
            {key: values[0] for key, values in parse_qs(request["query"]).items()}
            for request in sandbox.requests
            if request["path"].endswith("/services/import")
        ]

    return sent


def test_an_upload_without_options(xnatctl, alice, exam, sandbox, imports, assert_exactly):
    """Bundles as tar by the handler DICOM-zip, by direct archive, 4 workers; the first file goes alone."""
    plan = xnatctl("session", "upload", exam.directory, *UPLOAD, "--dry-run", "-o", "json", env=alice).document
    assert (plan["workers"], plan["placement"], plan["overwrite"]) == (4, "archive", "delete")
    assert [stage["transport"] for stage in plan["stages"]] == ["tar"]
    assert xnatctl("session", "upload", exam.directory, *UPLOAD, env=alice).code == 0
    assert {request["import-handler"] for request in imports()} == {"DICOM-zip"}
    assert {request["Direct-Archive"] for request in imports()} == {"true"}
    assert len(imports()) == 1 + 4
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    listed = xnatctl("session", "list", "-P", "DEMO", "-o", "json", env=alice).document["sessions"]
    assert [session["label"] for session in listed] == ["e"], "at once"


@pytest.mark.once
def test_more_workers_make_more_and_smaller_batches(xnatctl, alice, exam, imports):
    batches = []
    for workers in (1, 8):
        before = len(imports())
        label = ("-P", "DEMO", "-S", "s", "-E", f"e{workers}")
        done = xnatctl("session", "upload", exam.directory, *label, "--workers", str(workers), env=alice)
        assert done.code == 0, done.err
        batches.append(len(imports()) - before)
    assert batches[0] < batches[1] == 1 + 8, "one file goes alone"


@pytest.mark.once
def test_batches_are_sent_side_by_side(xnatctl, alice, exam, sandbox):
    sandbox.switches.write_seconds = 0.05
    assert xnatctl("session", "upload", exam.directory, *UPLOAD, "--workers", "4", env=alice).code == 0
    assert 2 <= sandbox.concurrency.read()["requests"]["peak"] <= 4


@pytest.mark.once
def test_of_single_files_each_is_told(xnatctl, alice, exam, imports):
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "--mode", "gradual", "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert {request["import-handler"] for request in imports()} == {"gradual-DICOM"}
    assert len(imports()) == len(exam.instances)
    items = done.document["items"]
    assert {item["sop_instance_uid"]: item["outcome"] for item in items} == dict.fromkeys(exam.instances, "verified")
    assert all({"path", "bytes", "attempts", "reason"} <= set(item) for item in items)


@pytest.mark.once
def test_anonymisation_is_for_images_and_not_for_resources(xnatctl, sandbox, alice, own_exam):
    pydicom = pytest.importorskip("pydicom")
    folder = own_exam.directory / "Physio"
    folder.mkdir()
    (folder / "log.txt").write_text("Patient: Doe^Jane")
    sandbox.switches.project_scripts = {"DEMO": {"PatientName": "nobody"}}
    done = xnatctl("session", "upload-exam", own_exam.directory, *UPLOAD, env=alice)
    assert done.code in (0, 5), done.err
    stored = list((sandbox.directory / "archive").rglob("*.dcm"))
    assert len(stored) == len(own_exam.instances)
    assert {str(pydicom.dcmread(path).PatientName) for path in stored} == {"nobody"}
    (log,) = (sandbox.directory / "archive").rglob("log.txt")
    assert log.read_text() == "Patient: Doe^Jane"


@pytest.fixture
def packed(exam, tmp_path):
    with zipfile.ZipFile(tmp_path / "exam.zip", "w") as out:
        for record in exam.instances.values():
            out.write(record.path, record.sop_instance_uid)
    return tmp_path / "exam.zip"


@pytest.mark.lab
@pytest.mark.parametrize("source", ["directory", "archive file"])
@pytest.mark.parametrize("place", ["variable", "profile"])
def test_the_limit_of_time_is_that_of_uploads(hasty, alice, exam, packed, home, sandbox, source, place):
    """Of directories and archive files, from the variable and from the profile."""
    sandbox.faults.load([{"match": IMPORT, "action": "hold", "seconds": 600}])
    limit = {"XNAT_TIMEOUT": "3"}
    if place == "profile":
        config = home / "config" / "xnatctl" / "config.yaml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(f"profiles:\n  production:\n    url: {sandbox.url}\n    timeout: 3\n")
        limit = {}
    path = exam.directory if source == "directory" else packed
    done = hasty("session", "upload", path, *UPLOAD, "--retry-for", "0", "-o", "json", env={**alice, **limit})
    sandbox.faults.end()
    assert done.code in (4, 5), done.err
    assert "did not answer in time" in done.err
    assert "XNAT_TIMEOUT" in str(done.document["error"]) + done.err


def test_defaults_that_help_shows(xnatctl):
    """Beside those that a dry run proves."""

    def shown(*command):
        return " ".join(xnatctl(*command, "--help").out.split())

    upload = shown("session", "upload")
    for text in (
        "--direct-archive / --prearchive",
        "tar (default)",
        "[default: delete]",
        "default: 21600",
        "4; gradual adapts between 4 and 16",
    ):
        assert text in upload, text
    assert re.search(r"--wait SECONDS .*?\[default: 900\]", shown("session", "upload-exam"))
    receiver = shown("session", "upload-dicom")
    assert re.search(r"--port NUMBER .*?default: 104\]", receiver)
    assert re.search(r"--calling-aet TEXT .*?default: XNATCTL\]", receiver)
