"""Files as they are opened, read and replaced, and how the same is done where POSIX's calls are missing."""

from __future__ import annotations

import errno
import importlib
import os
import stat
import subprocess

import pytest
from systems import needs_fifos, needs_links, needs_posix_modes

from xnatctl.operating_system import files, private
from xnatctl.operating_system.command_line import split_command


@pytest.fixture
def without_pread(monkeypatch):
    """The module as it is on a system without `pread`."""
    monkeypatch.delattr(os, "pread", raising=False)
    importlib.reload(files)
    yield files
    monkeypatch.undo()
    importlib.reload(files)


def test_reading_at_a_position_leaves_the_position(tmp_path, without_pread):
    path = tmp_path / "data"
    path.write_bytes(bytes(range(100)))
    descriptor = without_pread.open_to_read(path)
    try:
        assert os.read(descriptor, 10) == bytes(range(10))
        assert without_pread.read_at(descriptor, 5, 90) == bytes(range(90, 95))
        assert without_pread.read_at(descriptor, 50, 95) == bytes(range(95, 100))
        assert without_pread.read_at(descriptor, 5, 200) == b""
        assert os.read(descriptor, 10) == bytes(range(10, 20))
    finally:
        os.close(descriptor)


@needs_fifos
def test_opening_a_fifo_does_not_wait(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    descriptor = files.open_to_read(tmp_path / "fifo")
    assert stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    os.close(descriptor)


@needs_links
def test_a_link_can_be_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    os.close(files.open_to_read(tmp_path / "link"))
    with pytest.raises(OSError, match="link"):
        files.open_to_read(tmp_path / "link", follow=False)


class Sharing(PermissionError):
    """What Windows raises for a file that another program has open."""

    winerror = 32


def test_a_file_that_is_in_use_is_replaced_when_it_is_free(tmp_path, monkeypatch):
    calls = []

    def refuse_twice(source, target):
        calls.append(source)
        if len(calls) < 3:
            raise Sharing(errno.EACCES, "in use")

    monkeypatch.setattr(os, "replace", refuse_twice)
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    files.replace("a", "b")
    assert len(calls) == 3


def test_a_file_that_stays_in_use_is_an_error(monkeypatch):
    calls = []

    def refuse(source, target):
        calls.append(source)
        raise Sharing(errno.EACCES, "in use")

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    with pytest.raises(PermissionError):
        files.replace("a", "b")
    assert len(calls) > 10


def test_a_missing_permission_is_an_error_at_once(monkeypatch):
    calls = []

    def refuse(source, target):
        calls.append(source)
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        files.replace("a", "b")
    assert len(calls) == 1


def test_the_reason_names_another_program():
    assert "another program has locked it" in files.reason(Sharing(errno.EACCES, "in a foreign language"))
    assert files.reason(FileNotFoundError(errno.ENOENT, "No such file")) == "No such file"
    assert files.reason(OSError()) == "OSError"


WINDOWS_PATHS = [
    ("C:\\data\\exam", "\\\\?\\C:\\data\\exam"),
    ("C:/data/exam/1.dcm", "\\\\?\\C:\\data\\exam\\1.dcm"),
    ("\\\\server\\share\\x", "\\\\?\\UNC\\server\\share\\x"),
    ("//server/share/x", "\\\\?\\UNC\\server\\share\\x"),
    ("\\\\?\\C:\\x", "\\\\?\\C:\\x"),
    ("\\\\?\\UNC\\server\\share", "\\\\?\\UNC\\server\\share"),
    ("\\\\.\\pipe\\x", "\\\\.\\pipe\\x"),
    ("C:\\x\\NUL", "\\\\?\\C:\\x\\NUL"),
    ("C:\\x\\..\\y.", "\\\\?\\C:\\y."),
]


@pytest.mark.parametrize(("path", "expected"), WINDOWS_PATHS)
def test_paths_of_windows(path, expected, as_windows):
    assert as_windows.verbatim(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("\\\\?\\C:\\x", "C:\\x"),
        ("\\\\?\\UNC\\server\\share\\x", "\\\\server\\share\\x"),
        ("C:\\x", "C:\\x"),
    ],
)
def test_paths_of_windows_as_people_write_them(path, expected, as_windows):
    assert as_windows.plain(path) == expected


def test_a_relative_path_of_windows(as_windows):
    assert as_windows.verbatim("exam/1.dcm") == "\\\\?\\C:\\work\\exam\\1.dcm"


@pytest.fixture
def as_windows(monkeypatch):
    """The functions for paths, with the rules of Windows."""
    import ntpath
    from types import SimpleNamespace

    monkeypatch.setattr(files, "os", SimpleNamespace(path=ntpath, fspath=os.fspath, getcwd=lambda: "C:\\work"))
    monkeypatch.setattr(files, "sys", SimpleNamespace(platform="win32"))
    return files


@needs_posix_modes
def test_private_files_have_the_mode_from_the_start(tmp_path):
    old = os.umask(0)
    try:
        os.close(private.create_private(tmp_path / "a"))
        os.close(private.open_to_append(tmp_path / "b"))
    finally:
        os.umask(old)
    for name in "ab":
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        assert not private.readable_by_others(tmp_path / name)
    (tmp_path / "a").chmod(0o640)
    assert private.readable_by_others(tmp_path / "a")
    descriptor = files.open_to_read(tmp_path / "a")
    assert not private.is_private(descriptor)
    os.close(descriptor)
    with pytest.raises(FileExistsError):
        private.create_private(tmp_path / "a")


def test_what_is_written_is_what_was_given(tmp_path):
    """No line end is changed, on any system."""
    data = b"a\nb\r\nc\rd\x1ae\n"
    descriptor = private.create_private(tmp_path / "x")
    os.write(descriptor, data)
    os.close(descriptor)
    descriptor = private.open_to_append(tmp_path / "x")
    os.write(descriptor, data)
    os.close(descriptor)
    assert (tmp_path / "x").read_bytes() == data * 2
    descriptor = files.open_to_read(tmp_path / "x")
    assert os.read(descriptor, 100) == data * 2
    assert files.read_at(descriptor, 5, 1) == data[1:6]
    os.close(descriptor)


def test_the_command_that_restricts_a_file_works_for_a_path_with_spaces(tmp_path):
    path = tmp_path / "a folder" / "secret"
    path.parent.mkdir()
    path.write_bytes(b"x")
    path.chmod(0o644)
    words = split_command(private.how_to_restrict(path))
    assert str(path) in words
    assert not any("%" in word for word in words)
    if os.name == "posix":
        subprocess.run(words, check=True)
        assert not private.readable_by_others(path)
