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


@pytest.mark.parametrize("kind", ["directory", "zip"])
def test_images_under_hidden_names_arrive(
    xnatctl: Any, sandbox: Any, alice: dict[str, str], own_exam: Any, assert_exactly: Any, kind: str
) -> None:
    folder = own_exam.directory / "series 2"
    folder.rename(folder.with_name(".T2_FLAIR"))
    first = next(record.path for record in own_exam.instances.values() if record.path.parent.name == "series 1")
    first.rename(first.with_name(".1.2.840.dcm"))
    done = xnatctl("session", "upload", pack(own_exam.directory, kind), *NAMES, "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert_exactly(sandbox, own_exam.digests, place="archive", label="e")


@pytest.mark.parametrize("command", ["upload", "upload-exam", "resource"])
def test_content_that_is_elsewhere_is_named_with_what_fetches_it(
    xnatctl: Any, alice: dict[str, str], own_exam: Any, command: str
) -> None:
    folder = own_exam.directory / "series 1"
    for path in own_exam.directory.glob("not-utf8*"):
        path.unlink()
    (folder / "I3").symlink_to("../.git/annex/objects/aa/bb/K.dcm/K.dcm")
    (folder / "I4").write_bytes(b"/annex/objects/SHA256E-s33000--11.dcm\n")
    (folder / "I5").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 33000\n")
    upload = ("session", "upload", own_exam.directory, *NAMES)
    if command == "resource":
        assert xnatctl("session", "upload", own_exam.directory / "series 2", *NAMES, env=alice).code == 0
        upload = ("resource", "upload", "e", "RAW", own_exam.directory, "-P", "DEMO")
    elif command == "upload-exam":
        upload = ("session", "upload-exam", own_exam.directory, *NAMES)
    done = xnatctl(*upload, "-o", "json", env=alice)
    assert done.code == 5, done.err
    reasons = {item["path"]: item["reason"] for item in done.document["items"] if item["outcome"] == "failed"}
    assert reasons == {
        "series 1/I3": f"its content is not on this disk; fetch it with: cd '{folder}' && git annex get I3",
        "series 1/I4": f"its content is not on this disk; fetch it with: cd '{folder}' && git annex get I4",
        "series 1/I5": f"its content is not on this disk; fetch it with: cd '{folder}' && git lfs pull",
    }
    assert any("leads to nothing, first dangling" in warning for warning in done.document["warnings"])
    for name in reasons:
        (own_exam.directory / name).unlink()
    again = xnatctl(*upload, "-o", "json", env=alice)
    assert again.code == 0, again.err
    assert any("leads to nothing, first dangling" in warning for warning in again.document["warnings"])
