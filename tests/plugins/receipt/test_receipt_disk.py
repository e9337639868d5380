"""Files on disk that a receipt cannot speak for are no success."""

from __future__ import annotations

import hashlib

import pytest

from xnatctl.testing.exam import write_exam
from xnatctl_receipt.chain import Receipt
from xnatctl_receipt.disk import compare_disk


@pytest.fixture
def exam(tmp_path):
    return write_exam(tmp_path / "exam", series=1, instances=3, seed=1, clutter=False)


def receipt(exam, status):
    """A receipt in which the digest of the first file is not known, as when it vanished before it was written."""
    entries = [
        {
            "n": number,
            "kind": "instance",
            "sop_instance_uid": one.sop_instance_uid,
            "sent": "earlier",
            "bytes": one.path.stat().st_size,
            "sha256": hashlib.sha256(one.path.read_bytes()).hexdigest() if number > 1 else None,
        }
        for number, one in enumerate(exam.instances.values(), 1)
    ]
    return Receipt(header={"status": status}, entries=entries)


@pytest.mark.parametrize("there", [True, False])
def test_a_file_without_a_digest_is_not_as_it_was_sent(exam, there):
    first = next(iter(exam.instances.values()))
    complete = receipt(exam, "complete")
    if not there:
        first.path.unlink()
    found = compare_disk(complete, [str(exam.directory)], follow_symlinks=False, large_archive=False)
    (problem,) = found.problems
    assert problem.sop_instance_uid == first.sop_instance_uid
    assert ("no digest" if there else "not there") in problem.message
    assert (found.equal, found.listed, found.extra) == (2, 3, [])


def test_a_file_of_a_resource_without_a_digest(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    entry = {"n": 1, "kind": "file", "sent": "earlier", "bytes": 3, "sha256": None, "resource": "NOTES"}
    listed = Receipt(header={"status": "complete"}, entries=[entry])
    found = compare_disk(listed, [str(tmp_path)], follow_symlinks=False, large_archive=False)
    assert [problem.where for problem in found.problems] == ["disk"]
    assert found.equal == 0


def test_an_interrupted_upload_knows_fewer_digests(exam):
    interrupted = receipt(exam, "interrupted")
    found = compare_disk(interrupted, [str(exam.directory)], follow_symlinks=False, large_archive=False)
    assert (found.problems, found.equal, found.listed) == ([], 2, 2)
