"""Packed files among what is sent are not unpacked; those that hold or may hold DICOM are missing, and named."""

from __future__ import annotations

import gzip
import zipfile

import pytest

from xnatctl.delivery.planning import plan_session_upload
from xnatctl.errors import DeliveryIncomplete, Refused
from xnatctl.inventory.by_study import StudyInventory
from xnatctl.inventory.nested_archives import look_inside
from xnatctl.inventory.walk import HOLDS_DICOM, MAY_HOLD_DICOM, scan_path
from xnatctl.model.plan import UploadRequest
from xnatctl.model.refs import Destination, ResourceLevel, ResourceRef
from xnatctl.testing.exam import write_exam
from xnatctl_resource.planning import plan_resource_upload

WHERE = Destination(server="http://x", project="P", subject="s", session="e")


@pytest.fixture
def image(tmp_path):
    exam = write_exam(tmp_path / "source", series=1, instances=2, clutter=False)
    return next(iter(exam.instances.values())).path.read_bytes()


@pytest.fixture
def root(tmp_path, image):
    """One image, and archive files: with an image, with none, encrypted, and one packed image."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "image").write_bytes(image)
    for name, content in (("images.dat", image), ("notes.zip", b"text"), ("locked.zip", b"text")):
        with zipfile.ZipFile(root / name, "w") as out:
            out.writestr("member", content)
    locked = bytearray((root / "locked.zip").read_bytes())
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    (root / "locked.zip").write_bytes(locked)
    (root / "scan.nii.gz").write_bytes(gzip.compress(b"nifti" * 1000))
    (root / "image.gz").write_bytes(gzip.compress(image))
    return root


def request(path, **more):
    return UploadRequest(
        command="session upload", path=str(path), destination=WHERE, transport="tar", workers=1, **more
    )


def test_a_session_says_which_of_them_may_hold_images(root):
    plan = plan_session_upload(request(root))
    assert [item.path for item in plan.items] == ["image"]
    assert {entry.path: entry.reason for entry in plan.unreadable} == {
        "images.dat": HOLDS_DICOM,
        "image.gz": HOLDS_DICOM,
        "locked.zip": MAY_HOLD_DICOM,
    }
    assert {entry.path: entry.reason for entry in plan.excluded} == {
        "notes.zip": "not DICOM",
        "scan.nii.gz": "not DICOM",
    }
    holding, unknown = plan.warnings
    assert "images.dat" in holding
    assert "image.gz" in holding
    assert "locked.zip" in unknown
    assert not any("notes.zip" in warning or "scan.nii.gz" in warning for warning in plan.warnings)


def test_several_studies_are_told_once(root):
    inventory = look_inside(scan_path(str(root)))
    assert len(inventory.notes) == 2
    (study,) = inventory.studies
    alone = StudyInventory(inventory).of_study(study.uid)
    assert alone is not None
    assert (alone.notes, alone.warnings) == ((), ())


def test_a_directory_of_archive_files_alone_is_told_so(root):
    (root / "image").unlink()
    with pytest.raises(
        DeliveryIncomplete, match=r"3 files cannot be sent, first image\.gz \(a packed file that holds DICOM"
    ):
        plan_session_upload(request(root))


def test_one_inside_a_ready_made_archive_is_named(root, tmp_path):
    packed = tmp_path / "exam.zip"
    with zipfile.ZipFile(packed, "w") as out:
        out.write(root / "image", "image")
        out.write(root / "images.dat", "images.dat")
    plan = plan_session_upload(request(packed))
    (warning,) = plan.warnings
    assert "images.dat" in warning
    assert [(entry.path, entry.reason) for entry in plan.unreadable] == [("images.dat", HOLDS_DICOM)]


def test_a_resource_takes_no_packed_images_around_anonymisation(root):
    (root / "image").unlink()
    resource = ResourceRef(label="R", level=ResourceLevel.SESSION)
    plan = plan_resource_upload(request(root, resource=resource))
    assert {item.path for item in plan.items} == {"notes.zip", "scan.nii.gz"}
    assert {entry.path: entry.reason for entry in plan.stages[0].unreadable} == {
        "images.dat": HOLDS_DICOM,
        "image.gz": HOLDS_DICOM,
        "locked.zip": MAY_HOLD_DICOM,
    }
    holding, unknown = plan.warnings
    assert "2 packed files, first image.gz" in holding
    assert "the packed file locked.zip" in unknown
    assert "--attach-unknown" in unknown
    assert all("anonymisation" in warning for warning in plan.warnings)


def test_who_knows_that_there_is_no_dicom_attaches_what_cannot_be_looked_into(root):
    (root / "image").unlink()
    resource = ResourceRef(label="R", level=ResourceLevel.SESSION)
    plan = plan_resource_upload(request(root, resource=resource, attach_unknown=True))
    assert {item.path for item in plan.items} == {"notes.zip", "scan.nii.gz", "locked.zip"}
    assert {entry.path for entry in plan.stages[0].unreadable} == {"images.dat", "image.gz"}


def test_one_packed_file_as_a_resource_is_looked_into_as_well(root):
    resource = ResourceRef(label="R", level=ResourceLevel.SESSION)
    with pytest.raises(Refused, match="a packed file that holds DICOM"):
        plan_resource_upload(request(root / "images.dat", resource=resource))
    assert plan_resource_upload(request(root / "notes.zip", resource=resource)).warnings == ()
