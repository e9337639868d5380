"""Compressed streams joined in one file: DICOM in any of them is found, and nothing else is called DICOM."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from xnatctl.inventory.packed import holds_dicom
from xnatctl.testing import write_exam

PACKERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    exam = write_exam(tmp_path_factory.mktemp("exam") / "exam", series=1, instances=1, seed=3, clutter=False)
    return next(iter(exam.instances.values())).path.read_bytes()


def tar_of(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
@pytest.mark.parametrize("size", [0, 10, 5000, 40_000, 400_000])
def test_dicom_in_a_later_stream_is_found(tmp_path: Path, instance: bytes, pack: Callable, size: int) -> None:
    text = (b"plain text\n" * (size // 11 + 1))[:size]
    path = tmp_path / "joined"
    for streams, holds in (
        ((text, instance), True),
        ((text, b"more text", instance), True),
        ((text, tar_of("I1", instance)), True),
        ((text, gzip.compress(instance)), True),
        ((text, b"more text", b"and more"), False),
        ((text,), False),
    ):
        path.write_bytes(b"".join(map(pack, streams)))
        found = holds_dicom(str(path))  # None: it may hold DICOM, which is named as well
        assert (found is not False) is holds


def test_a_tar_in_blocks_is_one_tar(tmp_path: Path, instance: bytes) -> None:
    """As bgzip and pigz write it: the streams follow each other at any place."""
    data = tar_of("notes.txt", b"x" * 70_000) + tar_of("I1", instance)
    path = tmp_path / "blocks.tar.gz"
    for size in (512, 60_000):
        path.write_bytes(b"".join(gzip.compress(data[at : at + size]) for at in range(0, len(data), size)))
        assert holds_dicom(str(path)) is True


def test_what_only_looks_like_another_stream_is_none(tmp_path: Path) -> None:
    path = tmp_path / "image.nii.gz"
    inside = b"".join(b"voxels" + gzip.compress(bytes([number]) * 100) for number in range(50))
    path.write_bytes(gzip.compress(inside, compresslevel=0))
    assert holds_dicom(str(path)) is False
