"""Ready-made archive files: all of their content counts, or the file is refused with the place of what does not fit."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from xnatctl.errors import Refused
from xnatctl.inventory import archives, streams
from xnatctl.inventory.packed import holds_dicom
from xnatctl.inventory.sources import content_hash
from xnatctl.inventory.walk import Inventory, scan_path
from xnatctl.testing import write_exam

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Eight instances of one study."""
    exam = write_exam(tmp_path_factory.mktemp("exam") / "exam", series=2, instances=4, seed=11, clutter=False)
    return [record.path.read_bytes() for record in exam.instances.values()]


def make_tar(files: Files, *links: tuple[str, bytes, str], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, kind, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return out.getvalue()


def make_zip(files: Files, *links: tuple[str, str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        for name, target in links:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o120777 << 16
            archive.writestr(info, target)
    return out.getvalue()


def streamed_zip(files: Files) -> bytes:
    """As a program makes it that writes to a pipe: sizes and checksums stand behind the data."""

    class Pipe(io.RawIOBase):
        data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object, /) -> int:
            self.data += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return pipe.data


def scan(path: Path, data: bytes) -> Inventory:
    path.write_bytes(data)
    return scan_path(str(path))


def contents(found: Inventory) -> list[str]:
    """Digests of everything that is sent, read as it is when it is sent, last first."""
    return sorted(content_hash(item) for item in reversed(found.items))


def digests(images: list[bytes]) -> list[str]:
    import hashlib

    return sorted(hashlib.sha256(image).hexdigest() for image in images)


def named(images: list[bytes], folder: str = "a") -> Files:
    return {f"{folder}/I{number}": image for number, image in enumerate(images)}


def with_zeros_inside(files: Files) -> bytes:
    """A tar with a block of zeros before each entry."""
    data = make_tar(files)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        places = [member.offset for member in archive.getmembers()]
    return b"".join(bytes(512) + data[at:end] for at, end in zip(places, [*places[1:], len(data)], strict=True))


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda a, b: make_tar(a) + make_tar(b), id="tar tar"),
        pytest.param(lambda a, b: make_tar(a) + bytes(512 * 9) + make_tar(b), id="zeros between"),
        pytest.param(lambda a, b: with_zeros_inside(a | b), id="zeros inside"),
        pytest.param(lambda a, b: gzip.compress(make_tar(a) + make_tar(b)), id="tar tar, gzip"),
        pytest.param(lambda a, b: gzip.compress(make_tar(a)) + gzip.compress(make_tar(b)), id="gzip gzip"),
        pytest.param(
            lambda a, b: gzip.compress(make_tar(a)) + bytes(700) + gzip.compress(make_tar(b)) + bytes(10240),
            id="gzip zeros gzip",
        ),
        pytest.param(
            lambda a, b: make_tar(a, form=tarfile.GNU_FORMAT) + make_tar(b, form=tarfile.USTAR_FORMAT), id="gnu"
        ),
        pytest.param(lambda a, b: make_tar(a | b) + bytes(1 << 17), id="padding"),
        pytest.param(lambda a, b: make_zip(a) + make_zip(b), id="zip zip"),
        pytest.param(lambda a, b: make_zip(a) + streamed_zip(b) + bytes(100), id="zip, streamed zip, zeros"),
        pytest.param(lambda a, b: b"MZ" + bytes(range(256)) * 9 + make_zip(a) + make_zip(b), id="program, zip, zip"),
        pytest.param(lambda a, b: b"PK00" + make_zip(a | b), id="could have been split"),
        pytest.param(lambda a, b: streamed_zip(a | b), id="streamed zip"),
        pytest.param(lambda a, b: make_zip(a | b, method=zipfile.ZIP_STORED), id="stored zip"),
    ],
)
def test_every_instance_counts_wherever_it_stands(images, tmp_path, build: Callable[[Files, Files], bytes]):
    data = build(named(images[:3]), named(images[3:], "b"))
    assert contents(scan(tmp_path / "x", data)) == digests(images)


def changed(data: bytes, *, flag_local: bool = False, flag_central: bool = False, zeros: slice | None = None) -> bytes:
    """A zip with bit 3 of the flags ("sizes stand behind the data") set, or a part of each local header zeroed."""
    out = bytearray(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries, place = archive.infolist(), archive.start_dir
    for entry in entries:
        if flag_local:
            out[entry.header_offset + 6] |= 8
        if zeros is not None:
            at = entry.header_offset
            out[at + zeros.start : at + zeros.stop] = bytes(zeros.stop - zeros.start)
    for _ in entries:
        if flag_central:
            out[place + 8] |= 8
        place += 46 + sum(struct.unpack_from("<HHH", out, place + 28))
    return bytes(out)


#: Checksum and sizes in a local header, and all between its mark and the lengths of name and extra field.
SIZES, FIELDS = slice(14, 26), slice(4, 26)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"flag_local": True, "flag_central": True}, id="bit 3 and no descriptor"),
        pytest.param({"flag_local": True, "flag_central": True, "zeros": SIZES}, id="bit 3, no sizes, no descriptor"),
        pytest.param({"flag_central": True}, id="bit 3 in the central directory alone"),
        pytest.param({"flag_local": True, "zeros": SIZES}, id="bit 3 in the local headers alone"),
        pytest.param({"zeros": SIZES}, id="no sizes in the local headers"),
        pytest.param({"zeros": FIELDS}, id="lengths alone in the local headers"),
        pytest.param({"zeros": slice(4, 30)}, id="nothing in the local headers"),
        pytest.param({"zeros": slice(0, 30)}, id="no local headers"),
    ],
)
def test_of_a_zip_the_central_directory_is_believed(images, tmp_path, method, change):
    data = changed(make_zip(named(images), method=method), **change)
    assert contents(scan(tmp_path / "x", data)) == digests(images)


@pytest.mark.parametrize(
    ("build", "place"),
    [
        pytest.param(lambda a: make_tar(a) + b"more" * 200, "data follow the end mark", id="tar, data"),
        pytest.param(lambda a: make_tar(a) + b"odd", "data follow the end mark", id="tar, few bytes"),
        pytest.param(lambda a: gzip.compress(make_tar(a)) + b"more", "data follow its end that are not gzip", id="tgz"),
        pytest.param(
            lambda a: bz2.compress(make_tar(a)) + b"more", "data follow its end that are not bzip2", id="tbz2"
        ),
        pytest.param(lambda a: lzma.compress(make_tar(a)) + b"more", "data follow its end that are not xz", id="txz"),
        pytest.param(lambda a: gzip.compress(make_tar(a) + b"more" * 200), "data follow the end mark", id="in gzip"),
        pytest.param(lambda a: make_tar(a) + gzip.compress(make_tar(a)), "data follow the end mark", id="tar, gzip"),
        pytest.param(lambda a: make_zip(a) + make_tar(a), "bytes follow its end, from byte", id="zip, tar"),
        pytest.param(lambda a: make_zip(a)[:-30] + make_zip({}), "belong to none of its entries", id="cut zip, zip"),
        pytest.param(lambda a: a["a/I0"][132:] + make_zip(a), "its first [0-9]+ bytes belong to none", id="data, zip"),
    ],
)
def test_what_belongs_to_nothing_refuses_the_file_and_says_where(images, tmp_path, build, place):
    data = build(named(images[:2]))
    with pytest.raises(Refused, match=place) as caught:
        scan(tmp_path / "x", data)
    assert any(character.isdigit() for character in caught.value.message.partition("damaged:")[2])


def test_an_entry_that_its_directory_forgot_refuses_the_zip(images, tmp_path):
    whole = make_zip(named(images[:3]))
    first, second = (whole.index(b"PK\x03\x04", at) for at in (1, whole.index(b"PK\x03\x04", 1) + 1))
    shorter = make_zip(named(images[:1]))
    directory = shorter.index(b"PK\x01\x02")
    hidden = whole[first:second]
    end = bytearray(shorter[directory:])
    at = end.index(b"PK\x05\x06")
    struct.pack_into("<I", end, at + 16, directory + len(hidden))
    with pytest.raises(Refused, match=f"{len(hidden)} bytes from byte {directory} on belong to none"):
        scan(tmp_path / "x", shorter[:directory] + hidden + bytes(end))


def test_names_of_windows_are_paths(images, tmp_path):
    found = scan(tmp_path / "x.zip", make_zip({".\\DICOM\\I1": images[0], "DICOM\\S2\\I2": images[1], "DICOM\\": b""}))
    assert [item.path for item in found.items] == ["DICOM/I1", "DICOM/S2/I2"]
    assert contents(found) == digests(images[:2])


# links


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress], ids=["tar", "tar.gz", "tar.xz"])
def test_a_link_to_what_is_left_out_by_its_name_brings_it_along(images, tmp_path, pack):
    """As git-annex keeps content: in a folder of version control, with links to it."""
    data = make_tar(
        {
            ".git/annex/objects/K1": images[0],
            ".git/annex/objects/K2": images[1],
            ".git/annex/objects/K3": images[3],
            "a/I2": images[2],
        },
        ("a/I0", tarfile.SYMTYPE, "../.git/annex/objects/K1"),
        ("a/I1", tarfile.LNKTYPE, ".git/annex/objects/K2"),
        ("a/again", tarfile.LNKTYPE, "a/I1"),
        ("a/same", tarfile.LNKTYPE, "./a/I2"),
        ("b", tarfile.SYMTYPE, "a"),
        (".git/way", tarfile.SYMTYPE, "annex/objects/K3"),
        ("a/I3", tarfile.SYMTYPE, "../.git/way"),
    )
    found = scan(tmp_path / "x", pack(data))
    assert {item.path for item in found.items} == {"a/I0", "a/I1", "a/I2", "a/I3"}
    assert contents(found) == digests(images[:4])
    assert found.unreadable == ()


def test_a_hard_link_to_nothing_is_content_that_is_missing(images, tmp_path):
    found = scan(tmp_path / "x", make_tar({"a/I0": images[0]}, ("a/I1", tarfile.LNKTYPE, "full/I1")))
    assert [(entry.path, entry.reason) for entry in found.unreadable] == [
        ("a/I1", "hard link to full/I1, which is not in the archive file")
    ]


def test_a_hard_link_that_brings_its_content_along_is_a_file(images, tmp_path):
    """As POSIX allows it, and as bsdtar and pax write it."""
    out = io.BytesIO(make_tar({"a/I0": images[0]})[: -(-len(images[0]) // 512) * 512 + 512])
    info = tarfile.TarInfo("a/I1")
    info.type, info.linkname, info.size = tarfile.LNKTYPE, "a/I0", len(images[1])
    data = out.getvalue() + info.tobuf() + images[1] + bytes(-len(images[1]) % 512) + bytes(1024)
    assert contents(scan(tmp_path / "x", data)) == digests(images[:2])


def test_times_in_a_header_of_gnu_tar_are_no_part_of_the_name(images, tmp_path):
    """`tar --listed-incremental` writes them where POSIX has the beginning of a long name."""
    data = bytearray(make_tar({"./a/I0": images[0]}, ("./a/I1", tarfile.LNKTYPE, "./a/I0"), form=tarfile.GNU_FORMAT))
    for place in (0, 512 + -(-len(images[0]) // 512) * 512):
        data[place + 345 : place + 369] = b"15303121553\0" * 2
        data[place + 148 : place + 156] = b" " * 8
        data[place + 148 : place + 156] = b"%06o\0 " % sum(data[place : place + 512])
    found = scan(tmp_path / "x", bytes(data))
    assert [item.path for item in found.items] == ["./a/I0"]
    assert not found.unreadable
    assert [entry.reason for entry in found.excluded] == ["hard link to a/I0"]


def test_loops_and_ways_out_are_named(images, tmp_path):
    links = [("a/one", tarfile.SYMTYPE, "two"), ("a/two", tarfile.SYMTYPE, "one"), ("a/up", tarfile.SYMTYPE, "../../x")]
    found = scan(tmp_path / "x", make_tar({"a/I0": images[0]}, *links))
    assert {entry.path for entry in found.excluded} == {"a/one", "a/two", "a/up"}
    (note,) = found.notes
    assert "3 symbolic links" in note


def test_links_of_a_zip_are_followed_as_well(images, tmp_path):
    data = make_zip({".git/I0": images[0], "a/I1": images[1]}, ("a/I0", "../.git/I0"), ("a/gone", "/srv/I9"))
    found = scan(tmp_path / "x", data)
    assert contents(found) == digests(images[:2])
    assert [entry.path for entry in found.excluded] == [".git", "a/gone"]
    assert len(found.notes) == 1


# packed files inside


def lzma_alone(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_ALONE)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lzma_alone,
    "zlib": zlib.compress,
    "tar": lambda data: make_tar({"x": data}),
    "zip": lambda data: make_zip({"x": data}),
    "stored zip": lambda data: make_zip({"x": data}, method=zipfile.ZIP_STORED),
    "program": lambda data: b"MZ" + bytes(3000) + make_zip({"x": data}),
}


def last_part(data: bytes) -> bytes:
    """The second of two parts of a zip file."""
    place = data.index(b"PK\x05\x06")
    return data[len(data) // 2 : place + 4] + struct.pack("<2H", 1, 1) + data[place + 8 :]


FOREIGN = {
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(600),
    "rar": b"Rar!\x1a\x07\x01\0" + bytes(600),
    "lz4": b"\x04\x22\x4d\x18" + bytes(600),
    "compress": b"\x1f\x9d\x90" + bytes(600),
    "cab": b"MSCF" + bytes(600),
    "cpio": b"070701" + b"0" * 104 + b"name\0",
    "cpio, binary": struct.pack("<13H", 0o070707, 1, 2, 0o100644, 4, 5, 6, 7, 8, 9, 5, 0, 9) + b"name\0" + bytes(600),
    "ar": b"!<arch>\n" + bytes(600),
    "iso": bytes(0x8001) + b"CD001" + bytes(600),
    "dmg": b"\1" * 900 + b"koly\0\0\0\4" + bytes(504),
    "split zip": b"PK\x07\x08" + make_zip({"x": b"x" * 900})[:-40],
    "last part of a split zip": last_part(make_zip({"x": bytes(range(256)) * 99, "y": b"x"})),
    "cut zip": make_zip({"x": b"x" * 900})[:-40],
    "self-extracting 7z": b"MZ" + bytes(200_000) + b"7z\xbc\xaf\x27\x1c" + bytes(600),
    "shell archive": b"#!/bin/sh\ntail -n +3 $0 | tar xz\nexit\n" + gzip.compress(b"x" * 900),
    "shell archive with text": b"#!/bin/sh\nuudecode << 'END'\nbegin 644 image.dcm\n" + b"M" + b" " * 60,
    "image behind a line": b"\n" * 9 + bytes(128) + b"DICM\2\0\0\0UL\4\0" + bytes(600),
    "image without preamble": b"DICM\2\0\0\0UL\4\0" + bytes(600),
    "arj": b"\x60\xea\x2b\0\x22" + bytes(600),
    "stuffit": b"StuffIt (c)1997-" + bytes(600),
    "zoo": b"ZOO 2.10 Archive.\x1a" + bytes(600),
    "lrzip": b"LRZI\0\6" + bytes(600),
    "warc": b"WARC/1.0\r\nWARC-Type: resource\r\n" + bytes(600),
    "FAT image": b"\xeb\x3c\x90mkfs.fat" + bytes(499) + b"\x55\xaa" + bytes(600),
    "GPT image": bytes(510) + b"\x55\xaaEFI PART" + bytes(600),
    "ext image": bytes(1080) + b"\x53\xef\1\0" + bytes(600),
    "btrfs image": bytes(65600) + b"_BHRfS_M" + bytes(600),
    "F2FS image": bytes(1024) + b"\x10\x20\xf5\xf2" + bytes(600),
    "JFS image": bytes(32768) + b"JFS1" + bytes(600),
    "ReiserFS image": bytes(65588) + b"ReIsEr2Fs" + bytes(600),
    "VHD": bytes(2000) + b"conectix\0\0\0\2" + bytes(500),
    "zip behind an image": b"\xff\xd8\xff\xe0" + bytes(range(256)) * 300 + make_zip({"x": b"x" * 900}),
    "XFS image": b"XFSB" + bytes(600),
    "encrypted disk": b"LUKS\xba\xbe\0\2" + bytes(600),
    "VDI": b"<<< Oracle VM VirtualBox Disk Image >>>\n" + bytes(600),
    "cramfs image": b"\x45\x3d\xcd\x28" + bytes(600),
    "uuencode": b"begin 644 image.dcm\n" + b"M" + b" " * 60,
}


OUTER = {
    **PACKERS,
    "tar.gz": lambda data: gzip.compress(make_tar({"x": data, "y": b"text"})),
    "zip in gzip": lambda data: gzip.compress(make_zip({"x": data})),
}


@pytest.mark.parametrize("outer", PACKERS)
@pytest.mark.parametrize("inner", [None, *PACKERS])
def test_packed_dicom_is_found_at_any_depth(images, tmp_path, outer, inner):
    deep = PACKERS[inner] if inner is not None else bytes
    path = tmp_path / "x"
    path.write_bytes(PACKERS[outer](deep(images[0])))
    held = holds_dicom(str(path))
    path.write_bytes(PACKERS[outer](deep(b"text" * 5000)))
    if inner == "program" and outer not in ("tar", "stored zip"):
        assert held is None, "its zip stands at the end of what can only be read forward"
        assert holds_dicom(str(path)) is None
    else:
        assert held is True
        assert holds_dicom(str(path)) is False


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("outer", [None, "gzip", "xz", "zip", "tar", "tar.gz", "zip in gzip"])
def test_what_no_one_can_look_into_may_hold_dicom(tmp_path, foreign, outer):
    path = tmp_path / "x"
    path.write_bytes(OUTER[outer](FOREIGN[foreign]) if outer else FOREIGN[foreign])
    assert holds_dicom(str(path)) is None


@pytest.mark.parametrize("foreign", ["dmg", "VHD", "last part of a split zip", "zip behind an image", "iso"])
@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_members_that_are_told_by_their_ends_are_no_plain_files(images, tmp_path, foreign, kind):
    """Also behind what is kept in memory of a member (8 MiB)."""
    make = {"zip": make_zip, "tar": make_tar, "tgz": lambda files: gzip.compress(make_tar(files))}[kind]
    files = {"a/I0": images[0], "small": FOREIGN[foreign]}
    if foreign != "iso":
        files["large"] = bytes(9 * 2**20) + FOREIGN[foreign]
    found = scan(tmp_path / "x", make({**files, "b/I1": images[1], "note": b"text" * 30_000}))
    assert contents(found) == digests(images[:2])
    assert {entry.path for entry in found.unreadable} == files.keys() - {"a/I0"}
    assert {entry.path for entry in found.excluded} == {"note"}


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_joined_file_is_told_by_its_end_as_well(tmp_path, pack):
    path = tmp_path / "x"
    path.write_bytes(pack(b"text" * 30_000) + pack(b"more" * 30_000) + pack(FOREIGN["dmg"]))
    assert holds_dicom(str(path)) is None
    path.write_bytes(pack(b"text" * 30_000) + pack(b"more" * 30_000))
    assert holds_dicom(str(path)) is False


@pytest.mark.parametrize("program", [b"MZ" + bytes(range(256)) * 999, b"#!/bin/sh\n" + b"echo tar xz; gunzip\n" * 99])
def test_programs_that_carry_nothing_are_harmless(images, tmp_path, program):
    path = tmp_path / "x"
    for data in (program, gzip.compress(program), make_zip({"x": program})):
        path.write_bytes(data)
        assert holds_dicom(str(path)) is False
    assert scan(path, program).items == ()
    assert contents(scan(path, make_zip({"a": images[0], "viewer.exe": program}))) == digests(images[:1])


def test_thousands_of_zip_files_in_one_are_refused(tmp_path):
    with pytest.raises(Refused, match="more than"):
        scan(tmp_path / "x", make_zip({}) * 5000)


def test_what_is_packed_too_deep_may_hold_dicom(images, tmp_path):
    data = images[0]
    for _ in range(10):
        data = gzip.compress(data)
    path = tmp_path / "x"
    path.write_bytes(data)
    assert holds_dicom(str(path)) is None


def test_text_in_base64_that_is_dicom_is_dicom(images, tmp_path):
    import base64

    path = tmp_path / "x"
    path.write_bytes(base64.encodebytes(images[0]))
    assert holds_dicom(str(path)) is True
    path.write_bytes(base64.encodebytes(bytes(1000)))
    assert holds_dicom(str(path)) is False


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_packed_members_are_looked_into(images, tmp_path, kind):
    files = {
        "a/I0": images[0],
        "a/I1.dcm.bz2": bz2.compress(images[1]),
        "a/more.tar.xz": lzma.compress(make_tar({"I2": images[2]})),
        "notes.zip": make_zip({"note": b"text"}),
        "raw.7z": FOREIGN["7z"],
    }
    make = {"zip": make_zip, "tar": make_tar, "tgz": lambda files: gzip.compress(make_tar(files))}[kind]
    found = scan(tmp_path / "x", make(files))
    assert contents(found) == digests(images[:1])
    assert {entry.path: entry.reason for entry in found.unreadable} == {
        "a/I1.dcm.bz2": "a packed file that holds DICOM",
        "a/more.tar.xz": "a packed file that holds DICOM",
        "raw.7z": "a packed file that may hold DICOM and cannot be inspected",
    }
    assert {entry.path for entry in found.excluded} == {"notes.zip"}


# limits


def test_a_directory_of_too_many_entries_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LIMITS", archives.Limits(members=50))
    with pytest.raises(Refused, match="more than 50 members"):
        scan(tmp_path / "x", make_zip({f"m{number}": b"" for number in range(51)}))
    with pytest.raises(Refused, match="more than 50 members"):
        scan(tmp_path / "x", make_tar({f"m{number}": b"" for number in range(51)}))
    with pytest.raises(Refused, match="more than 50 members"):
        scan(tmp_path / "x", make_zip({f"m{number}": b"" for number in range(30)}) * 2)


def test_members_that_are_not_dicom_are_limited_too(images, tmp_path, monkeypatch):
    """Each takes memory, and nothing is sent of any."""
    monkeypatch.setattr(archives, "LIMITS", archives.Limits(others=5))
    files = {"a/I0": images[0], **{f"m{number}": b"x" for number in range(6)}}
    for make in (make_zip, make_tar):
        with pytest.raises(Refused, match="more than 5 members that are not DICOM"):
            scan(tmp_path / "x", make(files))
        assert len(scan_path(str(tmp_path / "x"), large_archive=True).items) == 1
    del files["m5"]
    assert len(scan(tmp_path / "x", make_zip(files)).items) == 1


def test_a_large_dictionary_is_no_damage(images, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "_MEMORY", 1 << 20)
    with pytest.raises(Refused, match=r"x cannot be read: unpacking takes more than 1 MiB of memory\.") as error:
        scan(tmp_path / "x", lzma.compress(make_tar(named(images))))
    assert error.value.hint == "Unpack it, and name the directory."


# by chance


MAKERS: dict[str, Callable[[Files], bytes]] = {
    "tar": make_tar,
    "zip": make_zip,
    "streamed zip": streamed_zip,
    "stored zip": lambda files: make_zip(files, method=zipfile.ZIP_STORED),
    "tar.gz": lambda files: gzip.compress(make_tar(files), 1),
    "tar.bz2": lambda files: bz2.compress(make_tar(files)),
    "tar.xz": lambda files: lzma.compress(make_tar(files)),
}


def harmed(data: bytes, kind: str, chance: random.Random) -> bytes:
    """Cut, with bytes put in, or with one bit changed; in a tar, whose content has no checksum, in a header."""
    at = chance.randrange(1, len(data))
    harm = chance.randrange(3)
    if harm == 0:
        return data[:at]
    if kind == "tar":
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            at = chance.choice(archive.getmembers()).offset + chance.randrange(512)
    if harm == 1:
        return data[:at] + chance.randbytes(chance.choice([1, 7, 512, 4096])) + data[at:]
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def test_nothing_is_lost_by_chance(images, tmp_path):
    """Archive files of each kind are joined and harmed: each instance is sent, or something is said that is no success.

    What was put in is known from the making.
    """
    chance = random.Random(int(os.environ.get("XNATCTL_SEED", "10")))
    uids = {image: scan(tmp_path / "x", image).items[0].sop_instance_uid for image in images}
    complete = 0
    for number in range(3000 if os.environ.get("XNATCTL_LAB") == "full" else 150):
        chosen = chance.sample(images, 4)
        kind = chance.choice(list(MAKERS))
        first, second = MAKERS[kind](named(chosen[:2])), MAKERS[kind](named(chosen[2:], "b"))
        joint = chance.choice([b"", b"", bytes(chance.randrange(3000)), chance.randbytes(chance.randrange(1, 900))])
        match chance.randrange(4):
            case 0:
                first = harmed(first, kind, chance)
            case 1:
                second = harmed(second, kind, chance)
        try:
            found = scan(tmp_path / "x", first + joint + second)
        except Refused:
            continue
        if found.unreadable or found.invalid or not found.items:
            continue  # exit code 5, or "no DICOM"
        complete += 1
        assert {uids[image] for image in chosen} == {item.sop_instance_uid for item in found.items}, f"round {number}"
        contents(found)
    assert complete
