"""Archive files and packed files end to end: what the server holds afterwards, and what the command says of the rest."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Iterable
from typing import Any

import pytest

from xnatctl.testing import write_exam

pytestmark = pytest.mark.once

NAMES = ("-P", "DEMO", "-S", "subj", "-E", "e", "-o", "json")


def tar_of(members: Iterable[tuple[str, bytes]], *hard_links: tuple[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in hard_links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.LNKTYPE, target
            archive.addfile(info)
    return out.getvalue()


def zip_of(members: Iterable[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


@pytest.fixture
def files(exam: Any) -> list[tuple[str, bytes]]:
    """The instances of `exam`, each under a name."""
    return [(f"a/I{number}", record.path.read_bytes()) for number, record in enumerate(exam.instances.values())]


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_all_of_two_archive_files_in_one_arrives(xnatctl, sandbox, alice, exam, files, tmp_path, assert_exactly, kind):
    path = tmp_path / f"two.{kind}"
    make = {"tar": tar_of, "zip": zip_of, "tar.gz": lambda members: gzip.compress(tar_of(members))}[kind]
    path.write_bytes(make(files[:25]) + make(files[25:]))
    done = xnatctl("session", "upload", path, *NAMES, env=alice)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


def test_data_behind_the_end_are_named_and_nothing_is_sent(xnatctl, sandbox, alice, files, tmp_path):
    path = tmp_path / "x.tar"
    whole = tar_of(files)
    path.write_bytes(whole + bytes(512) + files[0][1][100:])
    done = xnatctl("session", "upload", path, *NAMES, env=alice)
    assert done.code == 7
    assert f"{len(whole) + 512} bytes in, data follow the end mark" in done.document["error"]["message"]
    assert not sandbox.instances()


def test_what_an_archive_file_holds_in_other_ways(xnatctl, sandbox, alice, exam, files, tmp_path, assert_exactly):
    """Names of Windows, links to what is left out, packed members: whatever is not sent is named, with exit code 5."""
    path = tmp_path / "x.tar"
    (_, first), *rest = files
    path.write_bytes(
        tar_of([(".git/annex/objects/K", first), *rest], ("T1/I", ".git/annex/objects/K"), ("T1/gone", "elsewhere/I"))
    )
    done = xnatctl("session", "upload", path, *NAMES, env=alice)
    assert done.code == 5
    assert "T1/gone (hard link to elsewhere/I, which is not in the archive file)" in done.err
    assert {copy["sha256"] for copy in sandbox.instances()} == set(exam.digests.values())
    packed = [
        ("more.zip", zip_of(files[:2])),
        ("scan.dcm.gz", gzip.compress(files[0][1])),
        ("x.7z", b"7z\xbc\xaf\x27\x1c"),
    ]
    path.write_bytes(zip_of([(".\\" + name.replace("/", "\\"), data) for name, data in [*files, *packed]]))
    done = xnatctl("session", "upload", path, *NAMES, env=alice)
    assert done.code == 5
    left = {
        item["path"]: item["outcome"]
        for item in done.document["items"]
        if item["outcome"] not in ("verified", "accepted")
    }
    assert set(left) == {"more.zip", "scan.dcm.gz", "x.7z"}
    path.write_bytes(zip_of([(".\\" + name.replace("/", "\\"), data) for name, data in files]))
    done = xnatctl("session", "upload", path, *NAMES, env=alice)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


def test_absolute_names_and_well_packed_masks(xnatctl, sandbox, alice, exam, files, tmp_path, assert_exactly):
    """What Windows programs and `tar -P` make; a mask of zeros beside it is packed a thousandfold."""
    path = tmp_path / "x.zip"
    renamed = [(f"C:\\exam\\I{number}", data) for number, (_, data) in enumerate(files[:30])]
    renamed += [(f"/exam/more/I{number}", data) for number, (_, data) in enumerate(files[30:])]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in [*renamed, ("mask.raw", bytes(20 << 20))]:
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    done = xnatctl("session", "upload", path, *NAMES, "--large-archive", env=alice)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    assert {item["path"] for item in done.document["items"]} >= {"exam/I0", "exam/more/I29"}
    done = xnatctl("session", "verify", path, *NAMES, "--large-archive", env=alice)
    assert done.code == 0, done.err
    path.write_bytes(tar_of([*files[1:], ("../I", files[0][1])]))
    done = xnatctl("session", "upload", path, *NAMES, env=alice)
    assert done.code == 5
    assert "../I" in done.err


def test_packed_images_of_an_exam_are_never_attached(xnatctl, sandbox, alice, root, assert_exactly, attached):
    image = next(path for path in sorted((root.directory / "series 1").iterdir())).read_bytes()
    for name, content in {
        "raw/I3.dcm.bz2": bz2.compress(image),
        "Physio/more.tar.xz": lzma.compress(tar_of([("I", image)])),
        "Physio/locked.7z": b"7z\xbc\xaf\x27\x1c" + bytes(100),
        "half.zip": zip_of([("I", image)])[:-9],
        "self-extracting.exe": b"MZ" + bytes(999) + zip_of([("I", image)]),
    }.items():
        (root.directory / name).parent.mkdir(exist_ok=True)
        (root.directory / name).write_bytes(content)
    root.add("Notes/notes.zip", zip_of([("note", b"text"), ("inner.zip", zip_of([("note", b"text")]))]))
    root.add("Notes/scan.nii.gz", gzip.compress(b"nifti"))
    command = ("session", "upload-exam", root.directory, *NAMES)
    done = xnatctl(*command, env=alice)
    assert done.code == 5, done.err
    assert {copy["sha256"] for copy in sandbox.instances()} == set(root.digests.values())
    assert not sandbox.state.experiments, "a session that is not complete waits"
    packed = {"raw/I3.dcm.bz2", "Physio/more.tar.xz", "self-extracting.exe"}
    left = {item["path"] for item in done.document["items"] if item["outcome"] not in ("verified", "accepted")}
    assert packed | {"Physio/locked.7z", "half.zip"} <= left
    assert any("raw/I3.dcm.bz2" in line and "Unpack" in line for line in done.document["warnings"])
    assert any("half.zip" in line and "--attach-unknown" in line for line in done.document["warnings"])

    # Without images in packed files: only what may hold some stays behind.
    for path in (*packed, "half.zip"):
        (root.directory / path).unlink()
    done = xnatctl(*command, env=alice)
    assert done.code == 5
    assert_exactly(sandbox, root.digests, place="archive", label="e")
    assert attached(sandbox) == root.files

    # Whoever knows that it holds none says so.
    root.add("Physio/locked.7z", (root.directory / "Physio" / "locked.7z").read_bytes())
    done = xnatctl(*command, "--attach-unknown", env=alice)
    assert done.code == 0, done.err
    assert attached(sandbox) == root.files


def test_packed_images_are_no_resource(xnatctl, sandbox, alice, exam, files, tmp_path, attached):
    done = xnatctl("session", "upload", exam.directory, *NAMES, env=alice)
    assert done.code == 0
    bids = tmp_path / "bids"
    bids.mkdir()
    (bids / "scan.nii.gz").write_bytes(gzip.compress(b"nifti"))
    (bids / "source.tar.gz").write_bytes(gzip.compress(tar_of(files[:1])))
    (bids / "disk.iso").write_bytes(bytes(0x8001) + b"CD001" + bytes(100))
    command = ("resource", "upload", "-P", "DEMO", "e", "BIDS", bids, "-o", "json")
    done = xnatctl(*command, env=alice)
    assert done.code == 5
    assert set(attached(sandbox)["BIDS"]) == {"scan.nii.gz"}
    assert "source.tar.gz" in done.err
    assert "disk.iso" in done.err
    done = xnatctl(*command, "--attach-unknown", env=alice)
    assert done.code == 5
    assert set(attached(sandbox)["BIDS"]) == {"scan.nii.gz", "disk.iso"}


def test_no_command_calls_packed_images_complete(xnatctl, sandbox, alice, exam, files, tmp_path):
    """Two studies and a packed image beside them: neither split nor compared nor continued is that a success."""
    other = write_exam(tmp_path / "root" / "other", series=1, instances=2, seed=40, clutter=False)
    for number, (_, data) in enumerate(files[:3]):
        (tmp_path / "root" / f"I{number}").write_bytes(data)
    packed = tmp_path / "root" / "I9.dcm.bz2"
    packed.write_bytes(bz2.compress(files[9][1]))
    one = ("-P", "DEMO", "-S", "subj", "-E", "e", "--split-studies", "--same-patient", "-o", "json")
    done = xnatctl("session", "upload", tmp_path / "root", *one, env=alice)
    assert done.code == 5, done.err
    assert "I9.dcm.bz2" in done.err
    done = xnatctl(
        "session", "verify", tmp_path / "root", *(word for word in one if word != "--same-patient"), env=alice
    )
    assert done.code not in (0, 1), done.err
    packed.unlink()
    done = xnatctl("session", "upload", tmp_path / "root", *one, env=alice)
    assert done.code == 0, done.err
    assert {copy["sop_instance_uid"] for copy in sandbox.instances()} >= set(other.instances)
    bids = tmp_path / "bids"
    bids.mkdir()
    (bids / "raw.rar").write_bytes(b"Rar!\x1a\x07\x01\0" + bytes(100))
    (bids / "table.tsv").write_bytes(b"1\t2\n")
    done = xnatctl("resource", "upload", "-P", "DEMO", "e", "BIDS", bids, "--attach-unknown", "-o", "json", env=alice)
    assert done.code == 0, done.err
    (bids / "more.rar").write_bytes(b"Rar!\x1a\x07\x01\0" + bytes(200))
    done = xnatctl("upload", "resume", "e/BIDS", "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert {item["path"] for item in done.document["items"]} == {"raw.rar", "table.tsv", "more.rar"}
