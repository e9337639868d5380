"""One whole exam, 500 instances and everything that lies beside them, in one command; and what a second one does."""

from __future__ import annotations

import base64
import hashlib
import os
import urllib.request
import warnings

import pytest

#: The laboratory sends a file of 1 GiB.
LAB = os.environ.get("XNATCTL_LAB") == "full"
BIG = (1 << 30) if LAB else (64 << 20)
#: Characters that no URL can carry to a file (xnat-api 0.11), or that xnatpy does not encode.
NO_URL = "#?%;\\"


@pytest.mark.once
@pytest.mark.timeout(1800 if LAB else 240)
@pytest.mark.filterwarnings("ignore")  # xnatpy's own habits are not ours to judge
def test_a_whole_exam(xnatctl, sandbox, alice, make_root, tmp_path, assert_exactly, attached, exam_writes):
    """One upload, and everything that is asked of it: it is the suite's largest."""
    root = make_root(tmp_path / "exam", full=True, big=BIG)

    def run():
        where = ("-P", "DEMO", "-S", "s", "-E", "e", "-o", "json")
        done = xnatctl("session", "upload-exam", root.directory, *where, env=alice)
        assert done.code == 0, done.err
        return done.document, exam_writes(sandbox)

    report, sent = run()
    assert_exactly(sandbox, root.digests, place="archive", label="e")
    assert attached(sandbox) == root.files
    _assert_tells_all(report, root)
    _assert_xnatpy_reads_back(sandbox, root)

    # Again: nothing is sent.
    report, all_sent = run()
    assert all_sent == sent
    assert report["counts"]["skipped"] == report["counts"]["found"] == report["counts"]["verified"]
    assert report["bytes"] == 0

    # One file is deleted on the server: just that one is sent.
    _delete(sandbox, "Physio", "pulse.log")
    assert set(attached(sandbox)["Physio"]) == {"run 1/resp.log"}
    report, all_sent = run()
    assert len(all_sent) == len(sent) + 1
    assert [item["path"] for item in report["items"] if item["attempts"]] == ["Physio/pulse.log"]
    assert report["counts"]["sent"] == 1
    assert attached(sandbox) == root.files


def _assert_tells_all(report, root):
    files = sum(len(names) for names in root.files.values())
    assert len(root.digests) == 500
    assert (report["status"], report["destination"]["state"]) == ("complete", "archived")
    assert report["counts"]["found"] == report["counts"]["sent"] == report["counts"]["verified"] == 500 + files
    assert report["verification"]["ok"] is True
    levels = {entry["label"]: entry["verification"]["level"] for entry in report["resources"]}
    assert levels == dict.fromkeys(root.files, "checksum")
    left = {entry["path"]: entry["reason"] for entry in report["excluded"]}
    assert left["Empty"] == "empty folder"
    assert left[".DS_Store"] == "hidden"
    assert left["series 1/notes.txt"].startswith("not DICOM, in a folder with DICOM")
    assert any("Folder Odd names becomes resource Odd_names" in warning for warning in report["warnings"])


def _assert_xnatpy_reads_back(sandbox, root):
    """A client that nobody here wrote lists the same files and reads the same bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import xnat

        with xnat.connect(sandbox.url, user="alice", password="alice", loglevel="CRITICAL") as session:
            (experiment,) = session.projects["DEMO"].experiments.values()
            assert {resource.label for resource in experiment.resources.values()} == set(root.files)
            for label, expected in root.files.items():
                files = dict(experiment.resources[label].files)
                assert set(files) == set(expected)
                for name, digest in expected.items():
                    if label != "Raw" and not set(NO_URL) & set(name):
                        assert hashlib.sha256(files[name].open().read()).hexdigest() == digest, name


def _delete(sandbox, label, name):
    """As an administrator would, by plain HTTP."""
    (session,) = sandbox.state.experiments.values()
    resource = next(resource for resource in session.resources if resource.label == label)
    path = f"/data/experiments/{session.id}/resources/{resource.pk}/files/{name}"
    request = urllib.request.Request(sandbox.url + path, method="DELETE")
    request.add_header("Authorization", "Basic " + base64.b64encode(b"admin:admin").decode())
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
