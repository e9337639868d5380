"""Exit code 0 is not given while an instance on disk is damaged, or its content is elsewhere."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

NAMES = ("-P", "DEMO", "-S", "s", "-E", "e")


def pack(directory: Path, kind: str) -> Path:
    """The directory as it is, or packed."""
    target = directory.with_name(f"packed.{kind}")
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    match kind:
        case "directory":
            return directory
        case "zip":
            with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in paths:
                    if path.name.isascii():
                        archive.write(path, path.relative_to(directory))
        case _:
            with tarfile.open(target, "w:gz" if kind == "tar.gz" else "w") as tar:
                for path in paths:
                    tar.add(path, path.relative_to(directory))
    return target


@pytest.mark.parametrize("kind", ["directory", "tar", "tar.gz", "zip"])
def test_a_cut_file_is_named_and_the_others_arrive(
    xnatctl: Any, sandbox: Any, alice: dict[str, str], own_exam: Any, stored: Any, kind: str
) -> None:
    records = sorted(own_exam.instances.values(), key=lambda record: record.sop_instance_uid)
    in_pixels, in_header = records[3], records[30]
    in_pixels.path.write_bytes(in_pixels.path.read_bytes()[:-100])
    in_header.path.write_bytes(in_header.path.read_bytes()[:520])
    path = pack(own_exam.directory, kind)
    done = xnatctl("session", "upload", path, *NAMES, "-o", "json", env=alice)
    assert done.code == 5, done.err
    named = {item["path"]: item for item in done.document["items"] if item["outcome"] == "invalid"}
    assert named.keys() == {str(each.path.relative_to(own_exam.directory)) for each in (in_pixels, in_header)}
    reason = named[str(in_pixels.path.relative_to(own_exam.directory))]["reason"]
    assert reason == "damaged: ends 100 bytes too early"
    assert set(stored(sandbox)) == {record.sop_instance_uid for record in records} - {
        in_pixels.sop_instance_uid,
        in_header.sop_instance_uid,
    }


def test_a_cut_file_alone_is_not_sent(xnatctl: Any, sandbox: Any, alice: dict[str, str], own_exam: Any) -> None:
    record = next(iter(own_exam.instances.values()))
    record.path.write_bytes(record.path.read_bytes()[:-1])
    done = xnatctl("session", "upload", record.path, *NAMES, env=alice)
    assert done.code == 5
    assert "damaged: ends 1 byte too early" in done.err
    assert sandbox.instances() == []
