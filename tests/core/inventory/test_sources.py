"""Opening what was planned: a file whose content changes is noticed, whatever its times say; a chmod is no change."""

from __future__ import annotations

import hashlib
import os
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from systems import needs_change_times

from xnatctl.errors import SourceChanged
from xnatctl.inventory.files import scan_files
from xnatctl.inventory.sources import open_digesting, open_item
from xnatctl.inventory.walk import scan_path
from xnatctl.model.plan import UploadItem
from xnatctl.testing.exam import write_exam

FORMS = ["file", "zip", "tar", "tgz"]


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], tuple[UploadItem, Path, bytes]]:
    """An instance as a file, or as a member of an archive file: the item, the file on disk, and its bytes."""

    def make(form: str) -> tuple[UploadItem, Path, bytes]:
        exam = write_exam(tmp_path / "exam", series=1, instances=1, rows=64, seed=1, clutter=False)
        (instance,) = exam.instances.values()
        data = instance.path.read_bytes()
        if form == "file":
            path = instance.path
        elif form == "zip":
            path = tmp_path / "exam.zip"
            with zipfile.ZipFile(path, "w") as packed:
                packed.writestr("I1", data)
        else:
            path = tmp_path / "exam.tar"
            with tarfile.open(path, "w:gz" if form == "tgz" else "w") as tar:
                tar.add(instance.path, "I1")
        (item,) = scan_path(str(path)).items
        return item, path, data

    return make


def read_with(item: UploadItem, between: Callable[[], None]) -> tuple[bytes, list[str]]:
    told: list[str] = []
    with open_digesting(item, lambda _, digest: told.append(digest), "sha256") as reader:
        first = reader.read(item.size // 2)
        between()
        rest = b""
        while data := reader.read():
            rest += data
    return first + rest, told


def restoring(path: Path, change: Callable[[], object]) -> None:
    status = path.stat()
    change()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert path.stat().st_size == status.st_size


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place, os.SEEK_END if place < 0 else os.SEEK_SET)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("form", FORMS)
def test_a_chmod_or_a_hard_link_while_it_is_read_is_no_change(made, form, tmp_path: Path) -> None:
    item, path, data = made(form)

    def touch() -> None:
        os.chmod(path, 0o640)
        os.link(path, tmp_path / "backup")

    assert read_with(item, touch) == (data, [hashlib.sha256(data).hexdigest()])


@pytest.mark.parametrize("form", FORMS)
def test_a_chmod_after_planning_is_no_change(made, form) -> None:
    item, path, data = made(form)
    os.chmod(path, 0o640)
    assert read_with(item, lambda: None)[0] == data


@needs_change_times
@pytest.mark.parametrize("form", FORMS)
def test_bytes_that_change_under_way_are_noticed_although_the_time_is_restored(made, form) -> None:
    """Bytes that were read already: what was sent is neither what was there before nor what is there now."""
    item, path, _ = made(form)
    place = item.source.offset + 200 if form in ("file", "tar") else 60
    with pytest.raises(SourceChanged) as caught:
        read_with(item, lambda: restoring(path, lambda: flip(path, place)))
    assert caught.value.path == item.path


@pytest.mark.parametrize("hides", [False, True])
def test_an_attached_file_whose_change_time_is_unknown_is_sent_unless_it_hides_images(tmp_path, hides) -> None:
    """As on Windows. A plain image may be attached; a packed one never is."""
    exam = write_exam(tmp_path / "exam", series=1, instances=1, seed=1, clutter=False)
    (instance,) = exam.instances.values()
    with zipfile.ZipFile(tmp_path / "exam" / "packed.zip", "w") as packed:
        packed.writestr("notes.txt", "text")
    items = {item.path: item for item in scan_files(str(exam.directory)).items}
    assert len(items) == 2
    if hides:
        before = os.stat(tmp_path / "exam" / "packed.zip")
        with zipfile.ZipFile(tmp_path / "exam" / "packed.zip", "w") as packed:
            packed.write(instance.path, "notes.txt")
        os.utime(tmp_path / "exam" / "packed.zip", ns=(before.st_atime_ns, before.st_mtime_ns))
    for path, item in items.items():
        size = Path(item.file).stat().st_size
        unknown = replace(item, size=size, stamp=item.status._replace(ctime_ns=0).packed)
        if hides and path == "packed.zip":
            with pytest.raises(SourceChanged), open_item(unknown):
                pass
        else:
            with open_item(unknown) as reader:
                assert reader.read() == Path(item.file).read_bytes()


def test_the_same_inode_on_another_device_is_another_file(made) -> None:
    item, _, _ = made("file")
    with (
        pytest.raises(SourceChanged),
        open_item(replace(item, stamp=item.status._replace(device=item.status.device + 1).packed)),
    ):
        pass
    with open_item(replace(item, stamp=item.status._replace(device=0).packed)) as reader:
        assert len(reader.read()) == item.size
