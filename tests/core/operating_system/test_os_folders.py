"""Open folders, with descriptors and without: nothing follows a link."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from systems import needs_links

from xnatctl.operating_system import folders
from xnatctl.operating_system.folders import Folder


@pytest.fixture(params=["by descriptor", "by path"], autouse=True)
def way(request, monkeypatch):
    """As on POSIX, and as on Windows."""
    if request.param == "by path":
        monkeypatch.setattr(folders, "_BY_DESCRIPTOR", False)


def read(descriptor):
    with open(descriptor, "rb") as file:
        return file.read()


def test_entries_of_a_folder_below(tmp_path):
    (tmp_path / "a").mkdir()
    with Folder(str(tmp_path)) as root, root.below("a/b/c", make=True) as folder, root.below("a") as above:
        with open(folder.create_file("one"), "wb") as file:
            file.write(b"1")
        with pytest.raises(FileExistsError):
            folder.create_file("one")
        folder.set_time("one", 1_000_000_000)
        assert (folder.status("one").st_mtime_ns, folder.status("one").st_size) == (1_000_000_000, 1)
        folder.link("one", above, "two")
        assert read(above.open_file("two")) == b"1"
        with pytest.raises(FileExistsError):
            folder.link("one", above, "two")
        above.rename("two", "three")
        above.sync()
        folder.remove("one")
        with pytest.raises(FileNotFoundError):
            above.remove_folder("x")
    with Folder(str(tmp_path)) as root, root.below("a/b") as folder:
        folder.remove_folder("c")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["a", "a/b", "a/three"]


@needs_links
def test_links_are_not_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"1")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "file")
    with Folder(str(tmp_path)) as root:
        for path in ("folder", "folder/x"):
            with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
                root.below(path)
        with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
            root.open_file("link")
        root.remove("link")
    assert (tmp_path / "real" / "file").exists()


def open_descriptors():
    """Those of this process, which are the lowest numbers, on every system."""
    found = set()
    for descriptor in range(512):
        with suppress(OSError):
            os.fstat(descriptor)
            found.add(descriptor)
    return found


def test_descriptors_are_closed(tmp_path):
    before = open_descriptors()
    with Folder(str(tmp_path)) as root:
        with pytest.raises(FileNotFoundError):
            root.below("none/deeper")
        root.below("a/b", make=True).close()
    assert open_descriptors() == before
