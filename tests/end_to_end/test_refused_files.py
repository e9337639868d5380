"""Files that a server refuses: each fails on its own, and what ends the upload is said once."""

from __future__ import annotations

import pytest

UPLOAD = ("-P", "DEMO", "-S", "s", "-E", "e")
IMPORT = {"path": "/services/import"}
PAGE = {"action": "status", "page": "xnat"}


@pytest.fixture
def disliked(exam, monkeypatch):
    """UIDs of three instances that the server refuses by 400, wherever they stand in a request (xnat-import 3.2)."""
    from xnatctl_sandbox.receive import stored_file
    from xnatctl_sandbox.world.errors import StatusError

    bad = set(sorted(exam.instances)[4:30:11])
    describe = stored_file.describe

    def refuse(ds, *more):
        if ds["SOPInstanceUID"] in bad:
            raise StatusError(400, "object upload.dcm contains no SOP Class UID")
        return describe(ds, *more)

    monkeypatch.setattr(stored_file, "describe", refuse)
    return bad


def requests(sandbox):
    return [request for request in sandbox.requests if "services/import" in request["path"]]


@pytest.mark.parametrize("mode", ["tar", "zip", "gradual"])
def test_a_file_that_xnat_refuses_costs_only_itself(hasty, sandbox, alice, exam, disliked, assert_exactly, mode):
    bad = set(disliked)
    arguments = ("session", "upload", exam.directory, *UPLOAD, "--mode", mode, "-o", "json")
    done = hasty(*arguments, env=alice)
    assert done.code == 5, done.err
    report = done.document
    refused = {item["sop_instance_uid"]: item for item in report["items"] if item["outcome"] == "rejected"}
    assert set(refused) == bad
    assert all("no SOP Class UID" in item["reason"] for item in refused.values())
    assert all("refused 3 times" in item["reason"] for item in refused.values())
    assert report["counts"]["sent"] == len(exam.instances) - len(bad)
    assert report["next"] == [], "the same command would fail again"
    assert "would fail again" in report["error"]["hint"]
    held = sorted(entry["sop_instance_uid"] for entry in sandbox.instances())
    assert held == sorted(set(exam.instances) - bad)
    disliked.clear()
    assert hasty(*arguments, env=alice).code == 0
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


@pytest.mark.once
@pytest.mark.parametrize("status", [400, 404, 409, 415, 422])
def test_a_status_in_any_words_is_about_one_file(hasty, sandbox, alice, exam, status):
    sandbox.faults.load([{"match": IMPORT, "nth": [3, 4, 5], **PAGE, "status": status, "text": "No, thank you"}])
    arguments = ("session", "upload", exam.directory, *UPLOAD, "--mode", "gradual", "--workers", "1", "-o", "json")
    done = hasty(*arguments, env=alice)
    assert done.code == 5, done.err
    report = done.document
    assert [item["outcome"] for item in report["items"] if item["outcome"] != "accepted"] == ["rejected"]
    assert report["counts"]["sent"] == len(exam.instances) - 1
    sandbox.faults.end()
    assert hasty(*arguments, env=alice).code == 0


@pytest.mark.once
@pytest.mark.parametrize("mode", ["tar", "gradual"])
@pytest.mark.parametrize(
    ("status", "text", "most"),
    [
        (400, "unable to read DICOM object upload.dcm", 70),
        (404, "No, thank you", 70),
        (404, "Unknown importer implementation specified: gradual-DICOM", 1),
        (405, "Method not allowed", 1),
        (413, "Request Entity Too Large", 1),
    ],
)
def test_what_is_answered_to_everything_ends_the_upload(hasty, sandbox, alice, exam, mode, status, text, most):
    sandbox.faults.load([{"match": IMPORT, **PAGE, "status": status, "text": text}])
    done = hasty("session", "upload", exam.directory, *UPLOAD, "--mode", mode, env=alice)
    assert done.code in (4, 5), done.err
    assert str(status) in done.err
    assert len(requests(sandbox)) <= most
    assert sandbox.instances() == []


@pytest.mark.once
def test_a_silent_server_is_waited_for_as_long_as_was_asked(hasty, sandbox, alice, exam):
    """Half a second of patience: one or two more tries, not nine."""
    sandbox.faults.load([{"match": IMPORT, "action": "rst"}])
    done = hasty("session", "upload", exam.directory, *UPLOAD, "--retry-for", "0", "--workers", "1", env=alice)
    assert done.code == 4, done.err
    few = len(requests(sandbox))
    done = hasty("session", "upload", exam.directory, *UPLOAD, "--workers", "1", env=alice)
    assert done.code == 4, done.err
    assert few <= 3 < len(requests(sandbox)) - few
