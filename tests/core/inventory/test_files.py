"""Files for a resource: all of them, under their own names, DICOM told apart."""

from __future__ import annotations

import os

import pytest
from systems import needs_fifos

from xnatctl.api.commands import scan_files
from xnatctl.errors import NotFound
from xnatctl.inventory.sources import content_hash, open_item
from xnatctl.testing import write_exam

ODD = ["a b.txt", "100%.txt", "a#b.txt", "a[1].txt", "f\u00e9.txt", "x+y.txt", "semi;colon"]
if os.name == "posix":  # where a name may have every character but one
    ODD += ["back\\slash", "q?.txt"]


def test_names_nesting_and_empty_files_are_kept(tmp_path):
    root = tmp_path / "Physio"
    (root / "deep" / "er").mkdir(parents=True)
    for name in [*ODD, "deep/er/scan.nii.gz"]:
        (root / name).write_bytes(name.encode())
    (root / "deep" / "nothing.log").touch()
    found = scan_files(str(root), prefix="Physio")
    assert {item.name for item in found.items} == {*ODD, "deep/er/scan.nii.gz", "deep/nothing.log"}
    assert all(item.path == f"Physio/{item.name}" for item in found.items)
    assert [item.path for item in found.items] == sorted(item.path for item in found.items)
    assert found.bytes == sum(len(name.encode()) for name in [*ODD, "deep/er/scan.nii.gz"])
    for item in found.items:
        with open_item(item) as reader:
            assert reader.read() == (root / item.name).read_bytes()
    assert (found.dicom, found.excluded, found.unreadable, found.empty_directories) == ((), (), (), ())


@needs_fifos
def test_what_is_left_out_is_told_with_a_reason(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside.txt"
    (root / "empty").mkdir(parents=True)
    (root / "only hidden").mkdir()
    (root / "only hidden" / ".DS_Store").write_bytes(b"x")
    (root / "inside.txt").write_bytes(b"in")
    outside.write_bytes(b"out")
    os.mkfifo(root / "pipe")
    (root / "link").symlink_to(outside)
    (root / "again.txt").symlink_to("inside.txt")
    (root / "loop").symlink_to(root)
    found = scan_files(str(root), prefix="r")
    assert [item.path for item in found.items] == ["r/again.txt", "r/inside.txt"]
    assert {entry.path: entry.reason.split(" (")[0] for entry in found.excluded} == {
        "r/only hidden/.DS_Store": "hidden",
        "r/pipe": "not a regular file",
        "r/link": "symbolic link that leads out of the directory",
        "r/loop": "symbolic link to a directory that is already included",
    }
    assert found.empty_directories == ("r/empty", "r/only hidden")
    assert "link" in {item.name for item in scan_files(str(root), follow_symlinks=True).items}


def test_dicom_is_told_by_content_and_taken_all_the_same(tmp_path):
    exam = write_exam(tmp_path / "exam", series=1, instances=3, clutter=False)
    (exam.directory / "report.txt").write_text("text")
    whole = next(iter(exam.instances.values())).path.read_bytes()
    (exam.directory / "cut.bin").write_bytes(whole[:200])
    found = scan_files(str(exam.directory))
    assert len(found.items) == 5
    assert len(found.dicom) == 4
    assert "cut.bin" in found.dicom
    assert "report.txt" not in found.dicom


def test_one_file_and_an_empty_directory(tmp_path):
    one = tmp_path / ".named"
    one.write_bytes(b"1234")
    (item,) = scan_files(str(one)).items
    assert (item.path, item.name, item.size) == (".named", ".named", 4)
    assert content_hash(item) == "03ac674216f3e15c761ee1a5e255f067953623c8b388b4459e13f978d7c846f4"
    (tmp_path / "void").mkdir()
    assert scan_files(str(tmp_path / "void")).empty_directories == (".",)
    with pytest.raises(NotFound):
        scan_files(str(tmp_path / "nowhere"))
