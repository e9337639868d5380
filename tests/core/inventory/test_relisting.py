"""Names, sizes and times are listed again: what appeared or changed, and what of it concerns an upload."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from systems import needs_fifos, needs_links

from xnatctl.inventory.files import scan_files
from xnatctl.inventory.listing import Earlier, Listing, key_of, state_of
from xnatctl.inventory.relisting import changes_since
from xnatctl.inventory.walk import scan_path
from xnatctl.testing import write_exam


@pytest.fixture
def exam(tmp_path: Path) -> Any:
    return write_exam(tmp_path / "exam", series=2, instances=4, seed=3)


def again(
    listing: str, root: Path, *, sent: tuple[str, ...] = (), everything: bool = False
) -> tuple[list[str], list[str]]:
    return changes_since(listing, str(root), follow_symlinks=False).that_matter(sent=sent, everything=everything)


@pytest.mark.parametrize("scan", [scan_path, scan_files])
def test_nothing_changed(exam: Any, scan: Any) -> None:
    listing = scan(str(exam.directory)).listing
    found = changes_since(listing, str(exam.directory), follow_symlinks=False)
    assert (found.appeared, found.changed) == ({}, {})
    assert len(listing) < 50 * len(list(exam.directory.rglob("*")))


@needs_links
def test_what_appears_and_changes(exam: Any) -> None:
    root, first = exam.directory, next(iter(exam.instances.values())).path
    listing = scan_path(str(root)).listing
    second = first.with_name("new")
    shutil.copyfile(first, second)
    (root / ".hidden DICOM").write_bytes(first.read_bytes())
    (root / "growing.tmp").write_bytes(b"")
    (root / "report.json").write_text("{}")
    (root / ".cache2").write_text("x")
    (root / "series 1" / "text.dcm").write_text("still a text, but longer")
    (root / "series 1" / "empty.dcm").write_bytes(first.read_bytes())
    os.utime(first, ns=(1, 1))
    (root / "series 2" / "scan.img").unlink(missing_ok=True)
    (root / "late").symlink_to("series 1/new")
    (root / ".git").mkdir()
    (root / ".git" / "I1").write_bytes(first.read_bytes())
    path = first.relative_to(root).as_posix()
    appeared = {".hidden DICOM", "growing.tmp", "late", second.relative_to(root).as_posix()}
    found = again(listing, root, sent=(path,))
    assert (set(found[0]), set(found[1])) == (appeared, {path, "series 1/empty.dcm"})
    found = again(listing, root, sent=(path,), everything=True)
    assert set(found[0]) == {*appeared, "report.json"}


def test_what_vanished_is_no_change(exam: Any) -> None:
    listing = scan_path(str(exam.directory)).listing
    next(iter(exam.instances.values())).path.unlink()
    assert again(listing, exam.directory, everything=True) == ([], [])
    shutil.rmtree(exam.directory)
    assert again(listing, exam.directory, everything=True) == ([], [])


@needs_fifos
def test_what_became_something_else_is_not_opened(exam: Any) -> None:
    listing = scan_path(str(exam.directory)).listing
    path = next(iter(exam.instances.values())).path
    path.unlink()
    os.mkfifo(path)
    assert again(listing, exam.directory, everything=True) == ([], [])


@pytest.mark.parametrize("packed", [False, True])
def test_a_single_file(exam: Any, tmp_path: Path, packed: bool) -> None:
    path = next(iter(exam.instances.values())).path
    if packed:
        path = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", exam.directory / "series 1"))
    listing = scan_path(str(path)).listing
    assert again(listing, path, sent=(path.name,)) == ([], [])
    with path.open("ab") as file:
        file.write(b"\0\0")
    assert again(listing, path) == ([], [path.name])


@pytest.mark.parametrize("order", ["vanished in between", "taken in another order"])
def test_files_out_of_order_are_neither_new_nor_changed(tmp_path: Path, order: str) -> None:
    """More files than are looked ahead for are missing, or come late: links to directories are followed last."""
    root = tmp_path / "tree"
    for folder in ("a", "b", "c"):
        (root / folder).mkdir(parents=True)
        for number in range(60):
            (root / folder / f"{number:02}").write_bytes(b"x" * 200)
    listing = scan_path(str(root)).listing
    if order == "vanished in between":
        for number in range(10, 50):
            (root / "b" / f"{number:02}").unlink()
    else:
        (root / "a").rename(tmp_path / "tree" / "z")
        (root / "a").symlink_to("z", target_is_directory=True)
    (root / "c" / "new").write_bytes(b"y")
    (root / "c" / "59").write_bytes(b"z" * 300)
    found = changes_since(listing, str(root), follow_symlinks=False)
    assert list(found.changed) == ["c/59"]
    expected = ["c/new"] if order == "vanished in between" else ["c/new", *(f"z/{number:02}" for number in range(60))]
    assert sorted(found.appeared) == expected


@pytest.mark.parametrize("number", [-1, -(1 << 70), 1 << 63, (1 << 64) - 1, 1 << 100])
def test_a_listing_takes_every_number_that_a_file_system_may_show(number):
    status = SimpleNamespace(st_size=abs(number), st_mtime_ns=number, st_ino=abs(number))
    listing = Listing()
    listing.add("a", status)
    found = Earlier(listing.text()).find(key_of("a"))
    assert found == state_of(status)
    assert found != state_of(SimpleNamespace(**{**vars(status), "st_mtime_ns": number + 1}))
