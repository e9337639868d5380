"""Files of Windows: bytes and names arrive as they are; long paths, locked files, links, and private files."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest
from systems import is_wine

from xnatctl.inventory.files import scan_files
from xnatctl.inventory.packed import holds_dicom
from xnatctl.inventory.sources import open_item
from xnatctl.inventory.walk import scan_path
from xnatctl.operating_system import files, private

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="for Windows: `tox -e windows` runs it under Wine")
on_windows_only = pytest.mark.skipif(is_wine(), reason="Wine does not do this as Windows does")

NAMES = ("-P", "DEMO", "-S", "subj01", "-E", "sess01")
#: Every printable character of ASCII that a name of Windows may have, and some others.
LEGAL = "".join(chr(code) for code in range(32, 127) if chr(code) not in '<>:"/\\|?*')


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_file_of_pydicom_is_read_as_it_is_on_disk():
    """What goes into a request is what `open_item` returns. Each file is looked at alone, since some share a UID."""
    folder = Path(pytest.importorskip("pydicom").__file__).parent / "data" / "test_files"
    sent = []
    for path in filter(Path.is_file, folder.rglob("*")):
        if path.suffix == ".gz" and holds_dicom(str(path)):
            continue  # a packed image is never attached
        for item in scan_path(str(path)).items or scan_files(str(path), hidden=True).items:
            with open_item(item) as reader:
                pieces = list(iter(lambda reader=reader: reader.read(65536), b""))
            if item.source.container is None:
                assert hashlib.sha256(b"".join(pieces)).hexdigest() == sha256(path), path
                sent.append(item)
    assert len(sent) > 60
    assert sum(bool(item.sop_instance_uid) for item in sent) > 50


def test_names_with_every_legal_character(xnatctl, sandbox, exam, tmp_path):
    folder = tmp_path / "files"
    names = [f"a{LEGAL[first : first + 12]}z" for first in range(0, len(LEGAL), 12)]
    names += ["naïve é.txt", "日本語.nii", "\U0001f9e0.bin", "Ω ≈ ç.json"]
    contents = {}
    for place, name in enumerate(names):
        contents[name] = f"{name}\r\n".encode() + bytes([place]) + b"\n\x1a\r"
        (folder / "sub dir").mkdir(parents=True, exist_ok=True)
        (folder / "sub dir" / name).write_bytes(contents[name])
    assert xnatctl("session", "upload", exam.directory, *NAMES).code == 0
    done = xnatctl("resource", "upload", "sess01", "DATA", folder, "-P", "DEMO", "-o", "json")
    assert done.code == 0, done.err
    (resource,) = [r for e in sandbox.state.experiments.values() for r in e.resources if r.label == "DATA"]
    arrived = sorted(
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path(resource.directory).rglob("*")
        if path.is_file() and not path.name.endswith("_catalog.xml")
    )
    assert arrived == sorted(hashlib.sha256(content).hexdigest() for content in contents.values())


def test_a_path_beyond_260_characters(xnatctl, sandbox, exam, tmp_path):
    deep = tmp_path / "deep"
    folder = deep
    while len(str(folder)) < 400:
        folder /= "a folder with a long name that ends " + "x" * 20
    os.makedirs(files.verbatim(folder))
    for place, instance in enumerate(exam.instances.values()):
        descriptor = private.create_private(folder / f"{place}.dcm")
        os.write(descriptor, instance.path.read_bytes())
        os.close(descriptor)
    done = xnatctl("session", "upload", deep, *NAMES, "-o", "json")
    assert done.code == 0, done.err
    assert {entry["sop_instance_uid"]: entry["sha256"] for entry in sandbox.instances()} == exam.digests


@pytest.mark.parametrize("form", ["C:/x", "\\\\?\\C:\\x"])
def test_other_forms_of_a_path(xnatctl, sandbox, exam, form):
    path = str(exam.directory)
    named = path.replace("\\", "/") if "/" in form else files.verbatim(path)
    done = xnatctl("session", "upload", named, *NAMES, "-o", "json")
    assert done.code == 0, done.err
    assert {entry["sop_instance_uid"]: entry["sha256"] for entry in sandbox.instances()} == exam.digests


def test_a_file_that_another_program_has_locked(xnatctl, sandbox, exam):
    """Opened without sharing, as by a program that writes it."""
    import _winapi

    locked = next(iter(exam.instances.values())).path
    handle = _winapi.CreateFile(str(locked), 0x80000000, 0, 0, 3, 0x80, 0)
    try:
        done = xnatctl("session", "upload", exam.directory, *NAMES)
    finally:
        _winapi.CloseHandle(handle)
    assert done.code == 5, done.err
    assert "another program has locked it" in done.err + done.out.decode()
    assert locked.name in done.err + done.out.decode()
    again = xnatctl("session", "upload", exam.directory, *NAMES, "-o", "json")
    assert again.code == 0, again.err
    assert {entry["sop_instance_uid"]: entry["sha256"] for entry in sandbox.instances()} == exam.digests


def test_reading_does_not_lock_the_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    descriptor = files.open_to_read(path)
    try:
        path.rename(tmp_path / "renamed")
        (tmp_path / "renamed").unlink()
        assert files.read_at(descriptor, 100, 0) == b"content"
    finally:
        os.close(descriptor)


def test_a_junction_is_a_link(xnatctl, tmp_path, exam):
    """It is not followed out of the root."""
    import _winapi

    root = tmp_path / "root"
    root.mkdir()
    (root / "notes.txt").write_bytes(b"text")
    try:
        _winapi.CreateJunction(str(exam.directory), str(root / "junction"))
    except OSError:
        pytest.skip("no junction can be made here")
    inventory = scan_path(str(root))
    assert not inventory.items
    assert scan_path(str(root), follow_symlinks=True).items


@on_windows_only
def test_a_private_file_is_private(tmp_path):
    descriptor = private.create_private(tmp_path / "secret")
    try:
        os.write(descriptor, b"x")
        assert private.is_private(descriptor)
    finally:
        os.close(descriptor)
    assert not private.readable_by_others(tmp_path / "secret")


def test_private_files_can_be_written_and_read(tmp_path):
    from xnatctl.settings.paths import read_private, write_private

    for text in ("one\n", "two\r\nthree\n"):
        write_private(tmp_path / "folder" / "secret", text)
        assert (tmp_path / "folder" / "secret").read_bytes() == text.encode()
    assert read_private(tmp_path / "folder" / "secret") == "two\r\nthree\n"


def test_netrc_is_called_underscore_netrc(xnatctl, sandbox, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    descriptor = private.create_private(home / "_netrc")
    os.write(descriptor, b"machine 127.0.0.1 login alice password alice\n")
    os.close(descriptor)
    variables = {"USERPROFILE": str(home), "XNAT_USER": "", "XNAT_PASS": ""}
    done = xnatctl("session", "list", "-P", "DEMO", env=variables)
    assert done.code == 0, done.err


def test_settings_lie_in_appdata(xnatctl, tmp_path):
    done = xnatctl("config", "show", "-o", "json", env={"XNATCTL_CONFIG": "", "XNATCTL_STATE_DIR": ""})
    assert done.code == 0, done.err
    assert "AppData" in done.out.decode()
