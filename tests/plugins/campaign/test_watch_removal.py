"""Removing files that were proven: exactly these, each only if it is unchanged."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from systems import needs_links

from xnatctl.api import content_hash
from xnatctl.api.commands import scan_path
from xnatctl.api.system import Folder
from xnatctl.testing import write_exam
from xnatctl_campaign.watch import removal
from xnatctl_campaign.watch.removal import Remover


@pytest.fixture
def inbox(tmp_path):
    write_exam(tmp_path / "in" / "a", series=2, instances=2, seed=1, clutter=False)
    return tmp_path / "in"


@pytest.fixture
def items(inbox):
    return list(scan_path(str(inbox)).items)


@pytest.fixture
def without_links(monkeypatch):
    """A target on another file system."""
    real = Folder.link

    def link(self, name, target, new):
        if self.path != target.path:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(self, name, target, new)

    monkeypatch.setattr(Folder, "link", link)


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def remove_all(remover, items):
    return [remover.remove(item, content_hash(item)) for item in items]


def test_proven_files_and_the_folders_that_they_emptied_are_removed(inbox, items):
    (inbox / "empty before").mkdir()
    assert remove_all(Remover(str(inbox)), items) == [""] * 4
    assert [path.name for path in inbox.iterdir()] == ["empty before"]


def test_other_files_and_their_folders_stay(inbox, items):
    other = inbox / Path(items[0].path).parent / "notes.txt"
    other.write_text("not part of the study")
    remove_all(Remover(str(inbox)), items)
    assert files(inbox) == {other.relative_to(inbox).as_posix(): b"not part of the study"}


def changed(path):
    path.write_bytes(path.read_bytes() + b"x")


def rewritten(path):
    """Other bytes, the same size, and the same times as far as a program can restore them."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path):
    other = path.with_name("new")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


def linked(path):
    target = path.parents[3] / "elsewhere"
    path.rename(target)
    path.symlink_to(target)


@pytest.mark.parametrize("how", [changed, rewritten, replaced, pytest.param(linked, marks=needs_links)])
@pytest.mark.parametrize("move", [False, True])
def test_a_file_that_changed_after_the_proof_stays(inbox, items, tmp_path, how, move):
    digests = [content_hash(item) for item in items]
    path = Path(items[0].file)
    how(path)
    content = path.read_bytes()
    remover = Remover(str(inbox), str(tmp_path) if move else None)
    reasons = [remover.remove(item, digest) for item, digest in zip(items, digests, strict=True)]
    assert reasons[0]
    assert reasons[1:] == [""] * 3
    assert path.read_bytes() == content


def test_content_that_differs_without_any_other_trace_is_found_by_its_digest(inbox, items):
    assert Remover(str(inbox)).remove(items[0], content_hash(items[1])) == "its content is not what was sent"
    assert Path(items[0].file).exists()


@needs_links
def test_a_folder_that_became_a_link_is_not_followed(inbox, items, tmp_path):
    folder = inbox / "a"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    before = files(tmp_path / "elsewhere")
    assert all(remove_all(Remover(str(inbox)), items))
    assert files(tmp_path / "elsewhere") == before


def test_a_file_that_vanished_is_named(inbox, items):
    Path(items[0].file).unlink()
    assert Remover(str(inbox)).remove(items[0], None) == "it has vanished"


@pytest.mark.parametrize("across", [False, True])
def test_moving_keeps_structure_content_and_times(inbox, items, tmp_path, across, request):
    if across:
        digests = [content_hash(item) for item in items]
        request.getfixturevalue("without_links")
    else:
        digests = [None] * 4
    before, times = files(inbox), {item.path: item.status.mtime_ns for item in items}
    remover = Remover(str(inbox), str(tmp_path / "done"))
    (tmp_path / "done").mkdir()
    assert [remover.remove(item, digest) for item, digest in zip(items, digests, strict=True)] == [""] * 4
    assert files(tmp_path / "done") == before
    assert {path: (tmp_path / "done" / path).stat().st_mtime_ns for path in times} == times
    assert list(inbox.iterdir()) == []


@pytest.mark.parametrize("across", [False, True])
def test_moving_never_overwrites_and_takes_the_same_content_for_moved(inbox, items, tmp_path, across, request):
    if across:
        request.getfixturevalue("without_links")
    done = tmp_path / "done"
    first, second = items[:2]
    for item, content in ((first, b"another file"), (second, Path(second.file).read_bytes())):
        (done / item.path).parent.mkdir(parents=True, exist_ok=True)
        (done / item.path).write_bytes(content)
    remover = Remover(str(inbox), str(done))
    assert remover.remove(first, None) == f"{done}/{first.path} exists and has other content"
    assert remover.remove(second, None) == ""
    assert (done / first.path).read_bytes() == b"another file"
    assert Path(first.file).exists()
    assert not Path(second.file).exists()
    assert [path.name for path in done.rglob("*.part")] == []


def test_a_move_that_was_killed_between_its_two_steps_is_finished(inbox, items, tmp_path):
    done = tmp_path / "done"
    path = done / items[0].path
    path.parent.mkdir(parents=True)
    os.link(items[0].file, path)
    (again,) = [item for item in scan_path(str(inbox)).items if item.path == items[0].path]
    assert Remover(str(inbox), str(done)).remove(again, None) == ""
    assert path.exists()
    assert not Path(again.file).exists()


def test_a_copy_that_was_killed_leaves_nothing_behind(inbox, items, tmp_path, without_links, monkeypatch):
    done = tmp_path / "done"
    done.mkdir()
    if (child := os.fork()) == 0:
        monkeypatch.setattr(removal, "_place", lambda *arguments: os._exit(9))
        Remover(str(inbox), str(done)).remove(items[0], None)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    (draft,) = files(done)
    assert Path(draft).name.startswith(".")
    assert Path(items[0].file).exists()
    assert Remover(str(inbox), str(done)).remove(items[0], None) == ""
    assert list(files(done)) == [items[0].path]
