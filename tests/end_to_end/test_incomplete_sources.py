"""Exit code 0 is not given while an instance on disk is damaged, or its content is elsewhere."""

from __future__ import annotations

import os
import re
import socket
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.once

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
    assert reason == "damaged: ends 100 bytes before the end of an element"
    assert done.document["error"]["hint"].startswith("Repair the files or move them away, then run")
    assert set(stored(sandbox)) == {record.sop_instance_uid for record in records} - {
        in_pixels.sop_instance_uid,
        in_header.sop_instance_uid,
    }


def test_a_cut_file_alone_is_not_sent(xnatctl: Any, sandbox: Any, alice: dict[str, str], own_exam: Any) -> None:
    record = next(iter(own_exam.instances.values()))
    record.path.write_bytes(record.path.read_bytes()[:-1])
    done = xnatctl("session", "upload", record.path, *NAMES, env=alice)
    assert done.code == 5
    assert "damaged: ends 1 byte before the end of an element" in done.err
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
        "series 1/I3": f"its content is not on this disk; fetch it with: git -C '{folder}' annex get I3",
        "series 1/I4": f"its content is not on this disk; fetch it with: git -C '{folder}' annex get I4",
        "series 1/I5": f"its content is not on this disk; fetch it with: git -C '{folder}' lfs pull",
    }
    assert any("leads to nothing, first dangling" in warning for warning in done.document["warnings"])
    for name in reasons:
        (own_exam.directory / name).unlink()
    again = xnatctl(*upload, "-o", "json", env=alice)
    assert again.code == 0, again.err
    assert any("leads to nothing, first dangling" in warning for warning in again.document["warnings"])


# files that appear or change while the upload runs


@pytest.fixture
def meanwhile(sandbox: Any) -> Iterator[Callable[..., None]]:
    """Do something on the disk while the server holds back the answer to a request, as a scanner would."""
    threads: list[threading.Thread] = []

    def plan(action: Callable[[], object], match: dict[str, str]) -> None:
        sandbox.faults.load([{"match": match, "nth": 1, "action": "delay", "seconds": 1000}])

        def act() -> None:
            while not any(re.search(match["path"], request["path"]) for request in sandbox.requests):
                time.sleep(0.01)
            action()
            sandbox.faults.end()

        threads.append(threading.Thread(target=act))
        threads[-1].start()

    yield plan
    for thread in threads:
        thread.join()


def test_what_appears_and_changes_during_an_upload_is_named_and_sent_by_the_next(
    xnatctl: Any, sandbox: Any, alice: dict[str, str], own_exam: Any, stored: Any, digest: Any, meanwhile: Any
) -> None:
    """Everything was sent, and is being compared, when one file appears, one changes and one vanishes."""
    late, changed, gone, *_ = own_exam.instances.values()
    aside = own_exam.directory.parent / "aside"
    late.path.rename(aside)

    def scanner_writes() -> None:
        aside.rename(late.path)
        changed.path.write_bytes(changed.path.read_bytes()[:-1] + b"!")
        gone.path.unlink()
        (own_exam.directory / "upload.log").write_text("no DICOM")

    meanwhile(scanner_writes, {"path": r"/experiments/\w+/scans$"})
    upload = ("session", "upload", own_exam.directory, *NAMES, "-o", "json")
    done = xnatctl(*upload, env=alice)
    assert done.code == 5, done.err
    report = done.document
    name, other = (str(record.path.relative_to(own_exam.directory)) for record in (late, changed))
    assert [e for e in report["excluded"] if "while" in e["reason"]] == [
        {"path": name, "reason": "it appeared while the upload ran"}
    ]
    (item,) = (item for item in report["items"] if item["outcome"] == "changed")
    assert (item["path"], item["reason"]) == (other, "it changed while the upload ran")
    assert report["counts"]["found"] == report["counts"]["sent"] + report["counts"]["failed"]
    assert report["status"] == "partial"
    assert "2 files below" in report["error"]["message"]
    assert report["next"]
    again = xnatctl(*upload, env=alice)
    assert again.code == 0, again.err
    assert again.document["counts"]["sent"] == 2
    expected = own_exam.digests | {changed.sop_instance_uid: digest(changed.path)}
    assert {uid: copies[-1]["sha256"] for uid, copies in stored(sandbox).items()} == expected


@pytest.mark.parametrize("kind", ["prearchive", "exam", "resource", "split", "archive file"])
def test_every_upload_looks_at_the_disk_again(
    xnatctl: Any, sandbox: Any, alice: dict[str, str], own_exam: Any, meanwhile: Any, kind: str
) -> None:
    root, late = own_exam.directory, own_exam.directory / "series 1" / "late"
    for path in root.glob("not-utf8*"):
        path.unlink()
    aside = next(iter(own_exam.instances.values())).path.rename(root.parent / "aside")
    upload: tuple[Any, ...] = ("session", "upload", root, *NAMES)
    point, action = {"path": "/services/import"}, lambda: aside.rename(late)
    if kind == "prearchive":
        upload = (*upload, "--prearchive")
    elif kind == "exam":
        upload = ("session", "upload-exam", root, *NAMES)
        action = lambda: (root / "series 1.log").write_text("any file counts")  # noqa: E731
    elif kind == "resource":
        assert xnatctl(*upload, env=alice).code == 0
        upload = ("resource", "upload", "e", "RAW", root, "-P", "DEMO")
        point = {"path": r"/resources/\w+/files"}
    elif kind == "split":
        upload = (*upload, "--split-studies")
    else:
        upload = ("session", "upload", pack(root, "tar"), *NAMES)
        action = lambda: os.utime(upload[2], ns=(1, 1))  # noqa: E731
        point = {"path": r"/experiments/\w+/scans$"}
    meanwhile(action, point)
    done = xnatctl(*upload, "-o", "json", env=alice)
    assert done.code == 5, done.err
    assert "appeared or changed while the upload ran" in done.document["error"]["message"]
    assert done.document["status"] == "partial"
    again = xnatctl(*upload, "-o", "json", env=alice)
    assert again.code == 0, again.err


# files that are no longer there, or no files, when their turn comes


def spoil(paths: list[Path]) -> dict[str, str]:
    """Make something else of six files; returns what is to be said of each, by name."""
    vanished, pipe, directory, device, loop, server = paths
    for path in paths:
        path.unlink()
    os.mkfifo(pipe)
    directory.mkdir()
    device.symlink_to("/dev/zero")
    loop.symlink_to(loop.name)
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(server.parent)
        try:
            listener.bind(server.name)
        finally:
            os.chdir(here)
    is_no_file = "is no longer a regular file"
    said = [
        "has vanished",
        is_no_file,
        is_no_file,
        is_no_file,
        "cannot be opened any more",
        "cannot be opened any more",
    ]
    return dict(zip((path.name for path in paths), said, strict=True))


@pytest.mark.parametrize("kind", ["tar", "zip", "gradual", "exam", "resource"])
def test_what_is_no_file_any_more_is_named_and_holds_up_nothing(
    hasty: Any,
    sandbox: Any,
    alice: dict[str, str],
    own_exam: Any,
    stored: Any,
    attached: Any,
    meanwhile: Any,
    kind: str,
) -> None:
    """It was planned, and changes before anything is sent."""
    root = own_exam.directory
    for path in root.glob("not-utf8*"):
        path.unlink()
    notes = root / "Notes"
    notes.mkdir()
    for number in range(10):
        (notes / f"{number}.txt").write_text(f"note {number}")
    victims = sorted(record.path for record in own_exam.instances.values())[10:50:7]
    upload: tuple[Any, ...] = ("session", "upload", root, *NAMES, "--mode", kind)
    if kind == "exam":
        upload = ("session", "upload-exam", root, *NAMES)
        victims = [notes / f"{number}.txt" for number in range(6)]
    elif kind == "resource":
        assert hasty("session", "upload", root, *NAMES, env=alice).code == 0
        upload = ("resource", "upload", "e", "RAW", notes, "-P", "DEMO")
        victims = [notes / f"{number}.txt" for number in range(6)]
        sandbox.requests.clear()
    said: dict[str, str] = {}
    meanwhile(lambda: said.update(spoil(victims)), {"path": "/data/projects/DEMO"})
    done = hasty(*upload, "-o", "json", env=alice)
    assert done.code == 5, done.err
    report = done.document
    changed = {Path(item["path"]).name: item["reason"] for item in report["items"] if item["outcome"] == "changed"}
    assert changed.keys() == said.keys()
    for name, words in said.items():
        assert words in changed[name]
    assert report["counts"]["failed"] == 6
    if kind in ("exam", "resource"):
        label = "Notes" if kind == "exam" else "RAW"
        assert set(attached(sandbox, "e")[label]) == {"6.txt", "7.txt", "8.txt", "9.txt"}
    else:
        lost = {record.sop_instance_uid for record in own_exam.instances.values() if record.path in victims}
        assert set(stored(sandbox)) == set(own_exam.instances) - lost
