"""What is found on disk, and what is left out with which reason."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import socket
import subprocess
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest
from systems import needs_fifos, needs_links, needs_posix_modes

from xnatctl.errors import NotFound, PermissionDenied, Refused, SourceChanged
from xnatctl.inventory import archives
from xnatctl.inventory.sources import content_hash, open_item
from xnatctl.inventory.walk import scan_path
from xnatctl.operating_system import files
from xnatctl.testing import write_exam


@pytest.fixture
def exam(tmp_path):
    return write_exam(tmp_path / "exam", series=4, instances=5, seed=3)


def reasons(inventory):
    return {entry.path: entry.reason for entry in inventory.excluded}


def test_content_decides_whatever_the_names_are(exam):
    found = scan_path(str(exam.directory))
    assert {item.sop_instance_uid for item in found.items} == set(exam.instances)
    assert {content_hash(item) for item in found.items} == set(exam.digests.values())
    why = reasons(found)
    assert why["series 1/text.dcm"] == why["series 1/scan.img"] == "not DICOM"
    assert why["series 1/empty.dcm"] == "empty file"
    assert why[".DS_Store"] == why[".hidden"] == "hidden"
    assert why["__MACOSX"] == "left behind by an operating system"
    if os.name == "posix":
        assert why["dangling"] == "symbolic link to nothing"
        assert why["outside"].startswith("symbolic link that leads out")
        assert "not-utf8-\udcff\udcfe.txt" in why
    assert found.unreadable == ()


def test_images_are_found_at_any_depth(exam, tmp_path):
    deep = tmp_path.joinpath(*"abcdefgh")
    deep.parent.mkdir(parents=True)
    shutil.copytree(exam.directory, deep, symlinks=True)
    assert {item.sop_instance_uid for item in scan_path(str(tmp_path)).items} == set(exam.instances)


def test_the_order_is_always_the_same(exam):
    assert scan_path(str(exam.directory)).items == scan_path(str(exam.directory)).items


@needs_links
def test_a_path_that_is_a_link_gives_the_same_relative_names(exam, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(exam.directory)
    names = [item.path for item in scan_path(str(link)).items]
    assert names == [item.path for item in scan_path(str(exam.directory)).items]
    assert not any(name.startswith("..") for name in names)


@needs_links
def test_links_inside_are_followed_once_and_out_of_the_root_only_on_demand(exam, tmp_path):
    other = write_exam(tmp_path / "other", series=1, instances=2, seed=9, clutter=False)
    (exam.directory / "more").symlink_to(other.directory)
    (exam.directory / "again").symlink_to(exam.directory / "series 1")
    assert len(scan_path(str(exam.directory)).items) == 20
    assert len(scan_path(str(exam.directory), follow_symlinks=True).items) == 22


@needs_fifos
@pytest.mark.timeout(20)
def test_fifo_socket_and_device_are_never_opened(exam):
    os.mkfifo(exam.directory / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(exam.directory)
        try:
            server.bind("sock")
        finally:
            os.chdir(here)
    (exam.directory / "null").symlink_to("/dev/null")
    found = scan_path(str(exam.directory), follow_symlinks=True)
    why = reasons(found)
    assert why["pipe"] == why["sock"] == why["null"] == "not a regular file"
    assert len(found.items) == 20


@needs_posix_modes
def test_unreadable_files_and_directories_are_named(exam, monkeypatch):
    real = files.os.open
    target = next(iter(exam.instances.values())).path

    def refuse(path, flags, *more, **fields):
        if Path(os.fsdecode(path)) == target:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *more, **fields)

    monkeypatch.setattr(files.os, "open", refuse)
    found = scan_path(str(exam.directory))
    (entry,) = found.unreadable
    assert entry.path.endswith(target.name)
    assert "Permission denied" in entry.reason
    assert len(found.items) == 19


@pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() != 0, reason="as an ordinary user the mode alone is enough; see the next test"
)
def test_unreadable_as_an_ordinary_user(exam):
    """Root reads everything, so a child gives up its rights first."""
    target = next(iter(exam.instances.values())).path
    target.chmod(0)
    for path in (exam.directory, *exam.directory.parents):
        if path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        found = scan_path(str(exam.directory))
        os.write(writer, f"{len(found.items)} {len(found.unreadable)}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    assert os.read(reader, 100) == b"19 1"
    os.close(reader)


def test_the_same_instance_twice(exam):
    first = next(iter(exam.instances.values())).path
    shutil.copyfile(first, exam.directory / "zz-copy")
    found = scan_path(str(exam.directory))
    assert len(found.items) == 20
    assert [why for why in reasons(found).values() if why.startswith("duplicate of ")] == ["duplicate of zz-copy"]
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    (exam.directory / "zz-copy").write_bytes(data)
    (conflict,) = scan_path(str(exam.directory)).conflicts
    assert conflict.first != conflict.second
    assert conflict.sop_instance_uid in exam.instances


def test_one_uid_in_two_series_keeps_back_the_second_instance_alone(exam, tmp_path):
    """A session takes each SOP Instance UID once; so does an archive file."""
    one, *_, other = exam.instances.values()
    data = other.path.read_bytes()
    other.path.write_bytes(data.replace(padded(other.sop_instance_uid), padded(one.sop_instance_uid)))
    for path in (exam.directory, packed(exam, tmp_path / "x.zip", "zip")):
        found = scan_path(str(path))
        assert not found.conflicts
        ((_, reason),) = {entry.path: entry.reason for entry in found.invalid}.items()
        assert reason.startswith("has the SOP Instance UID of ")
        assert "in another series; give it a UID of its own, or upload its series alone" in reason
        assert len(found.items) == len(exam.instances) - 1


def padded(uid: str) -> bytes:
    """As in a file; UIDs of one length stand in for each other."""
    return uid.encode() + b"\0" * (len(uid) % 2)


def test_a_damaged_instance_is_not_left_out_like_a_text(exam):
    """It is DICOM and it is not whole: an upload without it is not complete."""
    records = list(exam.instances.values())
    whole = records[0].path.read_bytes()
    records[0].path.write_bytes(whole[:300])
    (exam.directory / "without preamble").write_bytes(whole[132:300])
    (exam.directory / "looks like it").write_bytes(b"\x08\x00\x10\x00CS\x20\x00not DICOM")
    found = scan_path(str(exam.directory))
    damaged = {entry.path: entry.reason for entry in found.invalid}
    assert damaged.keys() == {records[0].path.relative_to(exam.directory).as_posix(), "without preamble"}
    assert all(reason.startswith("damaged: ends ") for reason in damaged.values())
    assert len(found.items) == len(records) - 1
    assert "looks like it" in reasons(found)


def test_a_single_file_and_wrong_paths(exam, tmp_path):
    record = next(iter(exam.instances.values()))
    (item,) = scan_path(str(record.path)).items
    assert item.sop_instance_uid == record.sop_instance_uid
    text = tmp_path / "text.zip"
    text.write_text("hello")
    assert scan_path(str(text)).items == ()
    with pytest.raises(NotFound):
        scan_path(str(tmp_path / "nothing"))


def test_dicomdir_is_no_instance():
    pydicom = pytest.importorskip("pydicom", reason="the dicom extra is not installed")
    found = scan_path(str(Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests"))
    assert "DICOMDIR" in set(reasons(found).values())
    assert not [item for item in found.items if "DICOMDIR" in item.path]


# sources that change


@pytest.mark.parametrize("change", ["grow", "shrink", "replace", "remove", "touch"])
def test_a_changed_file_is_noticed_before_it_is_sent(exam, change):
    item = scan_path(str(exam.directory)).items[0]
    path = Path(item.file)
    data = path.read_bytes()
    match change:
        case "grow":
            path.write_bytes(data + b"x")
        case "shrink":
            path.write_bytes(data[:-10])
        case "replace":
            other = path.with_suffix(".new")
            other.write_bytes(data)
            os.utime(other, ns=(item.status.mtime_ns, item.status.mtime_ns))
            other.replace(path)
        case "remove":
            path.unlink()
        case "touch":
            os.utime(path, ns=(1, 1))
    with pytest.raises(SourceChanged) as caught, open_item(item) as reader:
        while reader.read(4096):
            pass
    assert caught.value.path == item.path


def test_a_file_that_changes_while_it_is_read_is_noticed(exam):
    item = scan_path(str(exam.directory)).items[0]
    with pytest.raises(SourceChanged), open_item(item) as reader:
        reader.read(100)
        with open(item.file, "r+b") as file:
            file.seek(0)
            file.write(b"x")
        os.utime(item.file, ns=(5, 5))
        while reader.read(4096):
            pass


# ready-made archives


def packed(exam, path: Path, kind: str) -> Path:
    records = list(exam.instances.values())
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            for record in records:
                out.write(record.path, f"a/{record.path.name}-{record.sop_instance_uid}")
    else:
        with tarfile.open(path, f"w:{kind}") as out:
            for record in records:
                out.add(record.path, f"a/{record.path.name}-{record.sop_instance_uid}")
    return path


@pytest.mark.parametrize("kind", ["zip", "", "gz", "bz2", "xz"])
def test_members_are_read_at_random_and_by_many(exam, tmp_path, kind):
    from concurrent.futures import ThreadPoolExecutor

    found = scan_path(str(packed(exam, tmp_path / "x.DAT", kind)))
    assert found.kind == "archive"
    backwards = list(reversed(found.items))
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(content_hash, backwards))
    assert {i.sop_instance_uid: d for i, d in zip(backwards, digests, strict=True)} == exam.digests


@pytest.mark.parametrize("kind", ["zip", "", "gz", "bz2", "xz"])
def test_a_truncated_archive_is_refused(exam, tmp_path, kind):
    path = packed(exam, tmp_path / "x", kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(Refused) as caught:
        scan_path(str(path))
    assert str(path) in caught.value.message


def _tar(exam, path: Path) -> tuple[bytes, list[tarfile.TarInfo]]:
    """A plain tar as bytes, and where its members are."""
    packed(exam, path, "")
    with tarfile.open(path) as archive:
        return path.read_bytes(), archive.getmembers()


@pytest.mark.parametrize("kind", ["", "gz"])
@pytest.mark.parametrize("keep", [0, 100, 512 + 100])
def test_a_tar_that_ends_without_its_end_mark_is_refused(exam, tmp_path, kind, keep):
    """At a border of two members nothing looks wrong but the missing mark, and tarfile takes it for the end."""
    data, entries = _tar(exam, tmp_path / "whole")
    cut = data[: entries[len(entries) // 2].offset + keep]
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(cut) if kind else cut)
    with pytest.raises(Refused, match=r"cut off|unexpected end"):
        scan_path(str(path))


@pytest.mark.parametrize("kind", ["", "gz"])
def test_a_tar_with_a_damaged_header_is_refused(exam, tmp_path, kind):
    data, entries = _tar(exam, tmp_path / "whole")
    at = entries[len(entries) // 2].offset
    damaged = data[:at] + b"?" * 100 + data[at + 100 :]
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(damaged) if kind else damaged)
    with pytest.raises(Refused, match=f"no header {at} bytes in"):
        scan_path(str(path))


def test_a_gzip_of_several_members_is_read_to_its_end(exam, tmp_path):
    """What pigz, bgzip and `cat` make; padding behind it is passed over, as gzip does."""
    data, entries = _tar(exam, tmp_path / "whole")
    middle = entries[len(entries) // 2].offset + 700
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(data[:middle]) + gzip.compress(data[middle:]) + bytes(1024))
    found = scan_path(str(path))
    assert {item.sop_instance_uid: content_hash(item) for item in found.items} == exam.digests


@pytest.mark.parametrize("damage", ["content", "checksum cut off"])
def test_a_gzip_whose_checksum_is_wrong_is_refused(exam, tmp_path, damage):
    data, entries = _tar(exam, tmp_path / "whole")
    stored = bytearray(gzip.compress(data, compresslevel=0))
    if damage == "content":
        stored[stored.index(data[entries[1].offset_data + 1000 : entries[1].offset_data + 1100])] ^= 1
    else:
        del stored[-6:]
    path = tmp_path / "x"
    path.write_bytes(stored)
    with pytest.raises(Refused, match="damaged"):
        scan_path(str(path))


def test_a_damaged_member_of_a_zip_written_as_a_stream_is_noticed(exam, tmp_path):
    """Its checksum stands behind the data."""

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def tell(self):
            raise io.UnsupportedOperation

    record = max(exam.instances.values(), key=lambda record: record.size)
    large = record.path.read_bytes() + bytes(10_000)
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as out:
        out.writestr("large", large)
    data = bytearray(pipe.getvalue())
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    assert content_hash(scan_path(str(path)).items[0]) == hashlib.sha256(large).hexdigest()
    data[len(large) - 5000] ^= 1
    path.write_bytes(data)
    found = scan_path(str(path))
    assert [(entry.path, entry.reason) for entry in found.invalid] == [("large", "damaged: its checksum is wrong")]


def tar_member(name, kind=tarfile.REGTYPE, target="", data=b""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(data)
    return info, io.BytesIO(data)


#: Names that an archive file may hold, and under which path the member is sent; None = its name leads out.
ODD_NAMES = {
    "/absolute/I": "absolute/I",
    "C:\\exam\\I": "exam/I",
    "C:/exam/other/I": "exam/other/I",
    "\\\\server\\share\\I": "server/share/I",
    "a/..I": "a/..I",
    "../../up": None,
    "a/../../up": None,
    "/../up": None,
    "..\\up": None,
}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_absolute_names_are_names_and_those_that_lead_out_are_not_sent(exam, tmp_path, kind):
    """Nothing is written by the name of a member, and whoever packs with `tar -P` has absolute ones."""
    path = tmp_path / "x"
    members = list(zip(ODD_NAMES, exam.instances.values(), strict=False))
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as out:
            for name, record in members:
                info = zipfile.ZipInfo("x")
                info.filename = name  # its constructor would change it
                out.writestr(info, record.path.read_bytes())
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as out:
            for name, record in members:
                out.addfile(*tar_member(name, data=record.path.read_bytes()))
            out.addfile(*tar_member("../directory", tarfile.DIRTYPE))
            out.addfile(*tar_member("device", tarfile.CHRTYPE))
            out.addfile(*tar_member("/more/hard", tarfile.LNKTYPE, "/absolute/I"))
            out.addfile(*tar_member("/more/soft", tarfile.SYMTYPE, "/absolute/I"))
    found = scan_path(str(path))
    paths = list(ODD_NAMES.values())
    if kind != "zip":  # where a backslash may be part of a name
        paths = [path and path.replace("/", "\\") if "\\" in name else path for name, path in ODD_NAMES.items()]
    assert [item.path for item in found.items] == [path for path in paths if path]
    sent = {record.sop_instance_uid for (_, record), path in zip(members, paths, strict=True) if path}
    assert {item.sop_instance_uid: content_hash(item) for item in found.items} == {
        uid: digest for uid, digest in exam.digests.items() if uid in sent
    }
    assert len(found.unreadable) == paths.count(None)
    assert {entry.reason for entry in found.unreadable} == {
        "its name leads out of the archive file; pack it again from inside its directory"
    }
    if kind != "zip":
        assert reasons(found) == {
            "device": "not a regular file",
            "more/hard": "hard link to absolute/I",
            "more/soft": "symbolic link to absolute/I",
        }
    assert {entry.name for entry in tmp_path.iterdir()} == {"exam", "x"}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_links_and_names_of_windows_are_no_harm(exam, tmp_path, mode):
    record, other, *_ = exam.instances.values()
    path = tmp_path / "x.tar"
    with tarfile.open(path, mode) as out:
        out.addfile(*tar_member("a/one", data=record.path.read_bytes()))
        out.addfile(*tar_member("win\\dows", data=other.path.read_bytes()))
        out.addfile(*tar_member("b/link", tarfile.SYMTYPE, "../a/one"))
        out.addfile(*tar_member("b/twin", tarfile.LNKTYPE, "a/one"))
        out.addfile(*tar_member("b/out", tarfile.SYMTYPE, "/etc/passwd"))
        out.addfile(*tar_member("b/pipe", tarfile.FIFOTYPE))
    found = scan_path(str(path))
    assert [item.path for item in found.items] == ["a/one", "win\\dows"], "a separator of Windows leads nowhere"
    assert reasons(found) == {
        "b/link": "symbolic link to a/one",
        "b/twin": "hard link to a/one",
        "b/out": "symbolic link to /etc/passwd, which is not in the archive file",
        "b/pipe": "not a regular file",
    }
    (note,) = found.notes
    assert "first b/out" in note


@pytest.mark.parametrize("kind", ["zip", "", "gz"])
def test_members_of_one_name_are_all_taken(exam, tmp_path, kind):
    """`tar -r` appends; every member is a file of its own, with a path of its own."""
    path = tmp_path / "x"
    if kind == "zip":
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as out:
            warnings.simplefilter("ignore")
            for record in exam.instances.values():
                out.write(record.path, "a/image")
    else:
        with tarfile.open(path, f"w:{kind}") as out:
            for record in exam.instances.values():
                out.add(record.path, "a/image")
    found = scan_path(str(path))
    assert {item.sop_instance_uid: content_hash(item) for item in found.items} == exam.digests
    assert len({item.path for item in found.items}) == len(exam.digests)
    assert [item.path for item in found.items][:2] == ["a/image", "a/image [2]"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_what_unpacks_to_too_much_is_refused_whatever_its_ratio(exam, tmp_path, monkeypatch, kind):
    """Masks of zeros are packed a thousandfold: size alone tells a bomb, and a flag lifts the limit."""
    record, *_ = exam.instances.values()
    whole = record.path.read_bytes()
    path = tmp_path / "x"
    zeros = {"image": whole, "zeros": bytes(30 << 20)}
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            for name, data in zeros.items():
                out.writestr(name, data)
    else:
        with tarfile.open(path, f"w:{kind[4:]}") as out:
            for name, data in zeros.items():
                out.addfile(*tar_member(name, data=data))
    assert path.stat().st_size < 1 << 20
    assert [item.path for item in scan_path(str(path)).items] == ["image"]
    monkeypatch.setattr(archives, "LIMITS", archives.Limits(total_bytes=10 << 20))
    with pytest.raises(Refused, match=r"unpacks to more than 10.0 MiB.") as error:
        scan_path(str(path))
    assert "add --large-archive" in (error.value.hint or "")
    monkeypatch.setattr(archives, "LIMITS", archives.Limits(member_bytes=10 << 20))
    assert [entry.reason for entry in scan_path(str(path)).unreadable] == [
        "larger than 10.0 MiB (--large-archive takes it)"
    ]
    assert [item.path for item in scan_path(str(path), large_archive=True).items] == ["image"]


def test_what_is_as_large_itself_is_not_limited(exam, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LIMITS", archives.Limits(total_bytes=1000))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as out:
        for number, record in enumerate(exam.instances.values()):
            out.write(record.path, f"{number}")
    for path in (tmp_path / "x.zip", packed(exam, tmp_path / "x.tar", "")):
        assert len(scan_path(str(path)).items) == len(exam.instances)


def test_overlaps_are_refused(tmp_path):
    overlap = tmp_path / "overlap.zip"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(overlap, "w") as out:
            out.writestr("a", b"x" * 1000)
            entry = out.infolist()[0]
            twin = zipfile.ZipInfo("b")
            twin.header_offset, twin.file_size, twin.compress_size, twin.CRC = 0, 1000, 1000, entry.CRC
            out.filelist.append(twin)
            out.NameToInfo["b"] = twin
    with pytest.raises(Refused):
        scan_path(str(overlap))


def test_an_encrypted_member_may_be_an_instance(exam, tmp_path):
    path = packed(exam, tmp_path / "x.zip", "zip")
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02")
    data[place + 8] |= 1
    path.write_bytes(data)
    found = scan_path(str(path))
    assert [entry.reason for entry in found.unreadable] == ["encrypted"]
    assert len(found.items) == len(exam.instances) - 1


def test_a_member_packed_by_another_method_may_be_an_instance(exam, tmp_path):
    first, second, *_ = exam.instances.values()
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.write(first.path, "one")
        out.write(second.path, "two", compress_type=zipfile.ZIP_BZIP2)
    found = scan_path(str(path))
    assert [item.path for item in found.items] == ["one"]
    assert [(entry.path, entry.reason) for entry in found.unreadable] == [
        ("two", "compressed by method 12, which xnatctl does not read")
    ]


@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")
def test_a_sparse_member_may_be_an_instance(exam, tmp_path):
    """What `tar --sparse` makes of images with much black in them."""
    first, second, *_ = exam.instances.values()
    shutil.copyfile(first.path, tmp_path / "one")
    with (tmp_path / "two").open("wb") as hollow:
        hollow.write(second.path.read_bytes())
        hollow.truncate(10 * 2**20)
    path = tmp_path / "x.tar"
    subprocess.run(["tar", "--sparse", "-cf", path, "-C", tmp_path, "one", "two"], check=True)
    found = scan_path(str(path))
    assert [item.path for item in found.items] == ["one"]
    assert [entry.path for entry in found.unreadable] == ["two"]
    assert "sparse" in found.unreadable[0].reason


def test_a_gzip_that_is_no_tar_is_refused(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"hello" * 1000))
    with pytest.raises(Refused, match="holds no tar"):
        scan_path(str(path))


def test_an_unreadable_path_is_said(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"data")

    def refuse(*arguments, **fields):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("xnatctl.inventory.archives.open_to_read", refuse)
    with pytest.raises(PermissionDenied):
        scan_path(str(path))
