"""What an inventory says of everything that is not an image: the other files, archive files, what is DICOM all the same."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import pytest
from systems import needs_links

from xnatctl.inventory.packed import holds_dicom
from xnatctl.inventory.sources import open_item
from xnatctl.inventory.walk import scan_path
from xnatctl.testing import write_exam


@pytest.fixture
def exam(tmp_path):
    return write_exam(tmp_path / "exam", series=2, instances=3, seed=5, clutter=False)


@pytest.fixture
def image(exam):
    return next(iter(exam.instances.values())).path.read_bytes()


def test_files_that_are_not_dicom_are_items_under_their_own_names(exam, image):
    root = exam.directory
    (root / "Physio" / "deep").mkdir(parents=True)
    (root / "Physio" / "deep" / "a#b.log").write_bytes(b"pulse")
    (root / "Physio" / "nothing").touch()
    (root / "Physio" / ".hidden").write_bytes(b"x")
    (root / "void" / "inner").mkdir(parents=True)
    (root / "cut.dat").write_bytes(image[:200])
    (root / "again").write_bytes(image)
    found = scan_path(str(root))
    assert [(item.path, item.name, item.size) for item in found.others] == [
        ("Physio/nothing", "Physio/nothing", 0),
        ("Physio/deep/a#b.log", "Physio/deep/a#b.log", 5),
    ]
    with open_item(found.others[1]) as reader:
        assert reader.read() == b"pulse"
    # Damaged and twofold DICOM is DICOM.
    assert found.dicom == {item.path for item in found.items} | {"cut.dat", "again"} | {
        entry.path for entry in found.excluded if entry.reason.startswith("duplicate")
    }
    assert found.empty_directories == ("void/inner",)
    assert found.packed == frozenset()


@needs_links
def test_what_lies_in_the_tree_is_found_under_its_own_name_not_a_links(exam):
    """A link that sorts before its target would otherwise take its name, and leave the target looking empty."""
    root = exam.directory
    (root / "Alias").symlink_to(root / "series 1")
    (root / "Notes").mkdir()
    (root / "Notes" / "note.txt").write_text("x")
    (root / "Notes" / "images").symlink_to(root / "series 2")
    found = scan_path(str(root))
    assert {item.path.split("/")[0] for item in found.items} == {"series 1", "series 2"}
    assert {path.split("/")[0] for path in found.dicom} == {"series 1", "series 2"}
    links = {entry.path for entry in found.excluded if "already included" in entry.reason}
    assert links == {"Alias", "Notes/images"}


def packed_zip(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def packed_tar(mode, **members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


KINDS = {
    "zip": packed_zip,
    "tar": lambda **members: packed_tar("w", **members),
    "tar.gz": lambda **members: packed_tar("w:gz", **members),
}


@pytest.mark.parametrize("kind", KINDS)
def test_dicom_inside_an_archive_file_is_found(tmp_path, image, kind):
    path = tmp_path / "whatever.dat"
    path.write_bytes(KINDS[kind](note=b"text", deep_image=image))
    assert holds_dicom(str(path)) is True
    path.write_bytes(KINDS[kind](note=b"text", empty=b""))
    assert holds_dicom(str(path)) is False
    assert scan_path(str(tmp_path)).packed == {"whatever.dat"}
    path.write_bytes(KINDS[kind](note=b"text", more=packed_zip(image=image)))
    assert holds_dicom(str(path)) is True
    path.write_bytes(KINDS[kind](note=b"text", more=packed_zip(note=b"text")))
    assert holds_dicom(str(path)) is False


def test_one_packed_file_is_looked_into(tmp_path, image):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(image))
    assert holds_dicom(str(path)) is True
    path.write_bytes(gzip.compress(b"nifti" * 1000))
    assert holds_dicom(str(path)) is False
    path.write_bytes(gzip.compress(b""))
    assert holds_dicom(str(path)) is False
    path.write_bytes(gzip.compress(packed_zip(image=image)))
    assert holds_dicom(str(path)) is True


def test_what_cannot_be_looked_into_is_unknown(tmp_path, image, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(packed_zip(image=image)[:-30])
    assert holds_dicom(str(path)) is None
    path.write_bytes(gzip.compress(image)[:20])
    assert holds_dicom(str(path)) is None
    path.write_bytes(b"\x1f\x8b" + b"\0" * 600)
    assert holds_dicom(str(path)) is None
    path.write_bytes(b"only text")
    assert holds_dicom(str(path)) is False
    assert holds_dicom(str(tmp_path / "nowhere")) is None


def test_an_encrypted_archive_keeps_it_to_itself(tmp_path):
    packed = bytearray(packed_zip(secret=b"x" * 50))
    # The flag alone: what is behind it is not looked at.
    packed[6] |= 1
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    path = tmp_path / "x.zip"
    path.write_bytes(packed)
    assert holds_dicom(str(path)) is None
