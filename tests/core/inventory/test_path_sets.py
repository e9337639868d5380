"""Several paths of one upload: each file once, under one name, whatever the order in which the paths are named."""

from __future__ import annotations

import itertools
import os
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from systems import needs_dots_after_links, needs_links

from xnatctl.errors import NotFound
from xnatctl.inventory.files import scan_files
from xnatctl.inventory.relisting import changes_since
from xnatctl.inventory.sources import content_hash
from xnatctl.inventory.walk import Inventory, scan_path, scan_paths
from xnatctl.testing import write_exam


@pytest.fixture
def parts(tmp_path: Path) -> Any:
    """An exam of four series: one in a folder, one in a zip, one in a tar, and one whose files are named one by one."""
    exam = write_exam(tmp_path / "exam", series=4, instances=3, seed=3, clutter=False)
    root = exam.directory
    with zipfile.ZipFile(root / "two.zip", "w") as packed:
        for file in sorted((root / "series 2").iterdir()):
            packed.write(file, f"images/{file.name}")
    with tarfile.open(root / "three.tar", "w") as packed:
        packed.add(root / "series 3", "images")
    shutil.rmtree(root / "series 2")
    shutil.rmtree(root / "series 3")
    names = ("series 1", "two.zip", "three.tar", *(f"series 4/{name}" for name in os.listdir(root / "series 4")))
    return exam, [str(root / name) for name in names]


def told(found: Inventory) -> Any:
    """Everything that must not depend on the order."""
    return (
        found.root, found.items, found.excluded, found.unreadable, found.invalid, found.conflicts, found.notes,
        found.listing, found.sources, found.files_seen,
    )  # fmt: skip


def test_every_order_gives_the_same(parts: Any) -> None:
    exam, paths = parts
    first = scan_paths(paths)
    assert {item.sop_instance_uid: content_hash(item) for item in first.items} == exam.digests
    assert first.root == str(exam.directory)
    assert len({item.path for item in first.items}) == 12
    assert {item.path.split("/")[0] for item in first.items} == {"series 1", "two.zip", "three.tar", "series 4"}
    orders = [*itertools.permutations(range(len(paths)))]
    for order in orders[:: len(orders) // 12]:
        assert told(scan_paths([paths[number] for number in order])) == told(first)


@needs_links
def test_what_is_named_twice_or_lies_inside_is_read_once(parts: Any, tmp_path: Path) -> None:
    exam, _ = parts
    root = str(exam.directory)
    alone = scan_path(root)
    assert {entry.path for entry in alone.excluded} == {"two.zip", "three.tar"}
    (tmp_path / "link").symlink_to(root)
    inside = [f"{root}/series 1", f"{root}/series 4", next(iter(exam.instances.values())).path]
    for more in ([root], [f"{root}/."], [str(tmp_path / "link")], map(str, inside)):
        paths = [root, *more]
        for order in (paths, paths[::-1]):
            found = scan_paths(order)
            assert (found.kind, found.sources) == ("directory", ())
            assert [item.path for item in found.items] == [item.path for item in alone.items]
            assert (found.listing, found.excluded) == (alone.listing, alone.excluded)


def test_an_archive_file_inside_a_directory_is_read_where_it_is_named(parts: Any) -> None:
    exam, _ = parts
    root = str(exam.directory)
    found = scan_paths([f"{root}/two.zip", root, f"{root}/series 1"])
    assert len(found.items) == 9
    assert found.sources == (root, f"{root}/two.zip")
    assert {entry.path for entry in found.excluded} == {"three.tar"}
    assert [item.path for item in found.items if item.source.container] == [
        f"two.zip/images/{name}"
        for name in sorted(item.path.rpartition("/")[2] for item in found.items if item.source.container)
    ]
    changes = changes_since(found.listing, found.root, follow_symlinks=False, sources=found.sources)
    assert (changes.appeared, changes.changed) == ({}, {})


def test_a_folder_that_the_walk_does_not_enter_is_read_where_it_is_named(parts: Any) -> None:
    exam, _ = parts
    shutil.move(exam.directory / "series 4", exam.directory / ".git")
    found = scan_paths([str(exam.directory), str(exam.directory / ".git")])
    assert len(found.items) == 6


def test_duplicates_and_conflicts_across_paths(parts: Any, tmp_path: Path) -> None:
    exam, paths = parts
    shutil.copytree(exam.directory / "series 1", tmp_path / "copy")
    found = scan_paths([*paths, str(tmp_path / "copy")])
    assert len(found.items) == 12
    copies = [entry for entry in found.excluded if entry.reason.startswith("duplicate of ")]
    assert len(copies) == 3
    assert found.root == str(tmp_path)
    changed = next((tmp_path / "copy").iterdir())
    data = bytearray(changed.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    found = scan_paths([*paths, str(tmp_path / "copy")])
    assert [{each.first, each.second} for each in found.conflicts] == [
        {f"copy/{changed.name}", f"exam/series 1/{changed.name}"}
    ]


def test_equal_names_in_several_archive_files(parts: Any, tmp_path: Path) -> None:
    exam, paths = parts
    shutil.copy(exam.directory / "two.zip", tmp_path / "again.zip")
    found = scan_paths([paths[1], str(tmp_path / "again.zip")])
    assert len(found.items) == 3
    assert len(found.excluded) == 3
    assert len({entry.path for entry in (*found.items, *found.excluded)}) == 6


def test_links_of_one_archive_file_do_not_lead_into_another(parts: Any, tmp_path: Path) -> None:
    exam, paths = parts
    with tarfile.open(tmp_path / "links.tar", "w") as packed:
        entry = tarfile.TarInfo("images/link")
        entry.type, entry.linkname = tarfile.SYMTYPE, next(iter(os.listdir(exam.directory / "series 1")))
        packed.addfile(entry)
    found = scan_paths([paths[2], str(tmp_path / "links.tar")])
    (link,) = found.excluded
    assert link.path == "links.tar/images/link"
    assert link.reason.endswith("which is not in the archive file")


def test_what_appears_in_any_of_them_is_found_again(parts: Any) -> None:
    exam, paths = parts
    found = scan_paths(paths)
    new = exam.directory / "series 1" / "new"
    shutil.copy(next((exam.directory / "series 1").iterdir()), new)
    shutil.copytree(exam.directory / "series 1", exam.directory / "series 9")  # beside the paths
    os.utime(exam.directory / "two.zip", ns=(1, 1))
    os.utime(paths[3], ns=(1, 1))
    (exam.directory / "three.tar").unlink()
    changes = changes_since(found.listing, found.root, follow_symlinks=False, sources=found.sources)
    assert set(changes.appeared) == {"series 1/new"}
    assert set(changes.changed) == {"two.zip", f"series 4/{os.path.basename(paths[3])}"}


def test_thousands_of_paths_are_no_more_work_than_their_files(tmp_path: Path) -> None:
    exam = write_exam(tmp_path / "exam", series=1, instances=1500, rows=4, columns=4, clutter=False)
    paths = [str(instance.path) for instance in exam.instances.values()]
    found = scan_paths([*paths, *paths])
    assert len(found.items) == 1500
    assert found.named.endswith(" and 1,497 more")


def test_a_path_that_is_missing_is_named(parts: Any) -> None:
    _, paths = parts
    with pytest.raises(NotFound, match="nowhere"):
        scan_paths([*paths, "nowhere"])


@needs_dots_after_links
def test_two_dots_after_a_link_lead_where_the_system_goes(tmp_path):
    """Not to a file of the same name beside the link."""
    named = write_exam(tmp_path / "there" / "exam", series=1, instances=2, seed=1, clutter=False)
    other = write_exam(tmp_path / "here" / "exam", series=1, instances=2, seed=2, clutter=False)
    for exam in (named, other):
        shutil.copy(next(iter(exam.instances.values())).path, exam.directory.parent / "one.dcm")
    (tmp_path / "there" / "inside").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "there" / "inside")
    detour = str(tmp_path / "here" / "link" / "..")
    for paths in ([f"{detour}/exam"], [f"{detour}/one.dcm"], [f"{detour}/one.dcm", f"{detour}/exam"]):
        found = scan_paths(paths)
        assert {item.sop_instance_uid for item in found.items} <= set(named.instances)
        assert all(item.file.startswith(str(tmp_path / "there")) for item in found.items)
        changes = changes_since(found.listing, found.root, follow_symlinks=False, sources=found.sources)
        assert not changes.appeared
    (file,) = scan_files(f"{detour}/one.dcm").items
    assert file.file == str(tmp_path / "there" / "one.dcm")


def test_a_path_without_dicom_is_named(parts: Any, tmp_path: Path) -> None:
    """Such as a disk that is not mounted. A path whose files are all duplicates of others holds DICOM."""
    exam, paths = parts
    shutil.copytree(exam.directory / "series 1", tmp_path / "copy")
    assert scan_paths([*paths, str(tmp_path / "copy")]).notes == ()
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "readme.txt").write_text("x")
    (tmp_path / "note.txt").write_text("x")
    empty = [str(tmp_path / name) for name in ("disk", "texts")]
    assert scan_paths([*paths, empty[0]]).notes == (f"{empty[0]} holds no DICOM, so nothing of it is sent.",)
    (note,) = scan_paths([empty[1], str(tmp_path / "note.txt"), *paths, empty[0]]).notes
    assert note == f"{empty[0]}, {empty[1]} hold no DICOM, so nothing of them is sent."
