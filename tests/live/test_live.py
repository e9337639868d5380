"""What people do with xnatctl, against a real XNAT; see conftest.py."""

from __future__ import annotations

import shutil
import signal
import time
import zipfile
from pathlib import Path

import pytest

from xnatctl.delivery.journal.reading import reading
from xnatctl.errors import JournalError


def complete(report, count):
    counts = report["counts"]
    assert (counts["found"], counts["failed"], counts["verified"]) == (count, 0, count), report["error"]
    assert report["verification"]["ok"] is True
    return counts


@pytest.mark.parametrize("mode", ["tar", "zip", "gradual"])
def test_an_upload_is_archived_listed_and_not_sent_again(site, make_exam, since, mode):
    if mode == "tar":
        since(1, 8, 3, what="--mode tar")
    exam = make_exam(series=3, clutter=True)
    report = site.upload(exam.directory, "--mode", mode)
    assert complete(report, 24)["sent"] == 24
    assert report["destination"]["state"] == "archived"
    listed = site.run("session", "list", "-P", site.server.project)["sessions"]
    assert site.label in {row["label"] for row in listed}
    scans = site.run("scan", "list", "-E", site.label, "-P", site.server.project)["scans"]
    assert sorted(scan["files"] for scan in scans) == [8, 8, 8]
    assert complete(site.upload(exam.directory, "--mode", mode), 24)["skipped"] == 24
    assert site.verify(exam.directory)["verification"]["ok"] is True


def test_direct_archive_makes_no_row_in_the_prearchive(site, make_exam, since):
    since(1, 8, 4, what="direct archive")
    report = site.upload(make_exam().directory, "--direct-archive")
    complete(report, 16)
    assert report["destination"]["state"] == "archived"
    assert site.rows() == []


def test_a_review_in_the_prearchive(site, make_exam):
    exam = make_exam()
    report = site.upload(exam.directory, "--prearchive")
    assert report["destination"]["state"] == "prearchive"
    (row,) = site.rows()
    triple = (row["project"], row["timestamp"], row["folder"])
    assert len(site.run("prearchive", "show", *triple)["scans"]) == 2
    site.run("prearchive", "archive", *triple)
    assert site.rows() == []
    assert site.verify(exam.directory)["verification"]["ok"] is True


def test_what_is_deleted_from_the_prearchive_is_gone(site, make_exam):
    site.upload(make_exam().directory, "--prearchive")
    (row,) = site.rows()
    site.run("prearchive", "delete", row["project"], row["timestamp"], row["folder"], "--yes")
    assert site.rows() == []


def test_the_policies_for_an_existing_session(site, make_exam, tmp_path):
    exam = make_exam(series=2)
    first = tmp_path / "first"
    shutil.copytree(exam.directory / "series 1", first)
    complete(site.upload(first, "--overwrite", "none"), 8)
    refused = site.upload(exam.directory, "--overwrite", "none", "--no-resume", code=7)
    assert refused["counts"]["sent"] == 0
    added = site.upload(exam.directory, "--overwrite", "append", "--no-resume")
    assert complete(added, 16)["sent"] == 8
    assert complete(site.upload(exam.directory, "--overwrite", "delete", "--no-resume"), 16)
    assert site.verify(exam.directory, "--exact")["verification"]["ok"] is True


def test_what_is_missing_is_named(site, make_exam, tmp_path):
    exam = make_exam()
    part = tmp_path / "part"
    shutil.copytree(exam.directory / "series 1", part)
    site.upload(part)
    report = site.verify(exam.directory, code=6)
    assert {each["kind"] for each in report["verification"]["differences"]} <= {"missing", "count"}


def test_several_paths_are_one_session(site, make_exam, tmp_path):
    exam = make_exam()
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as packed:
        for file in sorted((exam.directory / "series 2").iterdir()):
            packed.write(file, file.name)
    paths = (exam.directory / "series 1", tmp_path / "two.zip")
    complete(site.run("session", "upload", *paths, *site.names), 16)
    assert site.run("session", "verify", *paths[::-1], *site.names)["verification"]["ok"] is True


def test_a_killed_upload_is_finished(site, make_exam, nursery, environment):
    """kill -9 in the middle of it, then the same command again."""
    exam = make_exam(series=2, instances=60)
    command = ("session", "upload", str(exam.directory), *site.names, "--mode", "gradual", "--workers", "1")
    child = nursery.start("-m", "xnatctl", *command, env={**environment, **site.variables})
    journals = Path(environment["XDG_STATE_HOME"]) / "xnatctl" / "journals"
    while child.poll() is None and sum(outcome == "accepted" for outcome in outcomes(journals)) < 5:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    if child.wait() == 0:
        pytest.skip("resuming: the upload ended before it could be killed")
    (row,) = site.run("upload", "status")["uploads"]
    assert row["state"] == "incomplete"
    report = site.run("upload", "resume", row["id"])
    assert complete(report, 120)["skipped"] >= 1
    assert site.verify(exam.directory, "--exact")["verification"]["ok"] is True


def outcomes(journals):
    for path in journals.glob("*.sqlite"):
        try:
            with reading(path) as db:
                return [row[0] for row in db.execute("SELECT outcome FROM items").fetchall()]
        except JournalError:
            return []
    return []


def test_resources_of_a_session(site, make_exam, tmp_path):
    complete(site.upload(make_exam(series=1).directory), 8)
    folder = tmp_path / "nifti"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.nii").write_bytes(b"a" * 1000)
    (folder / "sub" / "b.json").write_text("{}")
    project = ("-P", site.server.project)
    assert site.run("resource", "upload", site.label, "NIFTI", folder, *project)["counts"]["sent"] == 2
    assert site.run("resource", "upload", site.label, "NIFTI", folder, *project)["counts"]["skipped"] == 2
    (scan,) = site.run("scan", "list", "-E", site.label, *project)["scans"]
    site.run("resource", "upload", site.label, "QC", folder / "a.nii", *project, "--scan", scan["id"])
    listed = site.run("resource", "list", site.label, *project)["resources"]
    assert {(each["label"], each["files"]) for each in listed} >= {("NIFTI", 2), ("QC", 1)}


def test_an_exam_with_resources(site, make_exam):
    exam = make_exam()
    (exam.directory / "Physio").mkdir()
    (exam.directory / "Physio" / "pulse.log").write_text("1 2 3")
    (exam.directory / "protocol.txt").write_text("none")
    report = site.run("session", "upload-exam", exam.directory, *site.names)
    assert report["status"] == "complete"
    assert {each["label"] for each in report["resources"]} == {"Physio", "MISC"}
    listed = site.run("resource", "list", site.label, "-P", site.server.project)["resources"]
    assert {"Physio", "MISC"} <= {each["label"] for each in listed}


def test_sending_by_c_store(site, make_exam):
    """The receiver accepts every file, and the server holds them under the label that the headers name."""
    if site.server.receiver is None:
        pytest.skip("C-STORE: XNATCTL_LIVE_DICOM (HOST:PORT:AET) names no receiver")
    pydicom = pytest.importorskip("pydicom")
    exam = make_exam(series=1, patient_id=site.label)
    place = f"Project:{site.server.project} Subject:{site.server.prefix}-subject Session:{site.label}"
    for instance in exam.instances.values():
        dataset = pydicom.dcmread(instance.path)
        dataset.StudyComments = place
        dataset.save_as(instance.path)
    host, port, called = site.server.receiver
    receiver = ("--host", host, "--port", port, "--called-aet", called)
    site.run("session", "upload-dicom", "--echo", *receiver)
    report = site.run("session", "upload-dicom", exam.directory, *receiver)
    assert report["counts"]["sent"] == 8
    listed = site.run("session", "list", "-P", site.server.project)["sessions"]
    assert site.rows() or site.label in {row["label"] for row in listed}, "the receiver files by other headers"
