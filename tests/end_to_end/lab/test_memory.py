"""How much memory an upload takes: little for each file, and nothing for its size."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ports import await_port, free_port
from programs import system_program

SUPPORT = Path(__file__).parents[2] / "support"
STUDY = "2.25.4711"
MIB = 1024  # VmHWM is in KiB

pytestmark = [pytest.mark.once, pytest.mark.timeout(3600)]


def _element(group: int, number: int, vr: str, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    data += (b"\0" if vr == "UI" else b" ") * (len(data) % 2)
    return struct.pack("<HH2sH", group, number, vr.encode(), len(data)) + data


def _instance(series: int, number: int) -> bytes:
    """Explicit VR little endian, without pixels (PS3.10 section 7.1)."""
    uid = f"{STUDY}.{series}.{number}"
    kind = "1.2.840.10008.5.1.4.1.1.4"
    meta = _element(2, 2, "UI", kind) + _element(2, 3, "UI", uid) + _element(2, 0x10, "UI", "1.2.840.10008.1.2.1")
    head = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta))
    body = _element(8, 0x16, "UI", kind) + _element(8, 0x18, "UI", uid) + _element(8, 0x60, "CS", "MR")
    body += _element(0x10, 0x20, "LO", "P1") + _element(0x20, 0xD, "UI", STUDY)
    body += _element(0x20, 0xE, "UI", f"{STUDY}.{series}") + _element(0x20, 0x11, "IS", str(series))
    return bytes(128) + b"DICM" + head + meta + body


@pytest.fixture
def weigh(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., int]]:
    """Upload a directory to a server that keeps names only, in a process of its own; returns the peak in KiB.

    Over the DICOM network to DCMTK's receiver, which keeps nothing.
    """
    sinks: list[subprocess.Popen[bytes]] = []
    ports: list[int] = []

    def http() -> int:
        sink = subprocess.Popen([sys.executable, SUPPORT / "sink.py"], stdout=subprocess.PIPE)
        sinks.append(sink)
        assert sink.stdout is not None
        return int(sink.stdout.readline())

    def dicom() -> int:
        port = free_port()
        program = system_program("storescp")
        assert program, "dcmtk is not installed"
        sinks.append(subprocess.Popen([program, "--ignore", "--fork", str(port)], stderr=subprocess.DEVNULL))
        await_port(sinks[-1], port)
        return port

    def run(folder: Path, files: int, mode: str, *options: str, anew: bool = True) -> int:
        cstore = mode == "cstore"
        if anew:
            ports.append(dicom() if cstore else http())
        where = ("--host", "127.0.0.1", "--port", ports[-1], "--called-aet", "ANY")
        http_where = ("-P", "DEMO", "-S", "s", "-E", folder.name, "--mode", mode)
        peak = tmp_path / "peak"
        temporary = tmp_path / "temporary"
        temporary.mkdir(exist_ok=True)
        login = {} if cstore else {"XNAT_URL": f"http://127.0.0.1:{ports[-1]}", "XNAT_USER": "alice", "XNAT_PASS": "a"}
        done = subprocess.run(
            [
                *(sys.executable, SUPPORT / "weighed.py", peak, "session"),
                *("upload-dicom" if cstore else "upload", folder, "--workers", "8"),
                *map(str, where if cstore else http_where),
                *options,
            ],
            env={**environment, **login, "TMPDIR": str(temporary)},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, (done.stdout[-500:], done.stderr[-500:])
        if "json" in options:
            report = json.loads(done.stdout)
            counts = report["counts"]
            assert len(report["items"]) == counts["sent"] + counts["skipped"] == files
            assert cstore or counts["verified"] == files
        else:
            said = f"{files:,} of {files:,} instance{'s' * (files > 1)} {'accepted' if cstore else 'archived'}"
            assert said.encode() in done.stdout
        assert not list(temporary.iterdir()), "no temporary file"
        return int(peak.read_text())

    yield run
    for sink in sinks:
        sink.kill()
        sink.communicate()


@pytest.fixture
def many(tmp_path: Path) -> Callable[[str, int], Path]:
    def make(name: str, files: int) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number in range(files):
            (folder / f"{number:06}").write_bytes(_instance(number % 20, number))
        return folder

    return make


FULL = os.environ.get("XNATCTL_LAB") == "full"
#: Bytes that an upload may take: so many, and so many for each file.
BASE, EACH = 70_000_000, 512
TABLE, JSON = (), ("-o", "json")
MODES = ("tar", "zip", "gradual", "cstore")
WEIGHED = [(mode, form) for mode in MODES for form in (TABLE, JSON)] if FULL else [("tar", TABLE)]


@pytest.mark.lab
@pytest.mark.parametrize(
    ("mode", "options"), WEIGHED, ids=lambda value: value if isinstance(value, str) else value[-1:]
)
def test_memory_is_flat_in_the_number_of_files(weigh: Any, many: Any, mode: str, options: tuple[str, ...]) -> None:
    some_files, more_files = (20_000, 100_000) if FULL else (10_000, 20_000)
    some_folder, more_folder = many("some", some_files), many("more", more_files)
    some = weigh(some_folder, some_files, mode, *options)
    more = weigh(more_folder, more_files, mode, *options)
    again = weigh(more_folder, more_files, mode, *options, anew=False)
    for weight, files in ((some, some_files), (more, more_files), (again, more_files)):
        assert weight * 1024 < BASE + EACH * files, (some, more, again)


def test_a_very_large_object_is_never_whole_in_memory(weigh: Any, many: Any) -> None:
    folder = many("large", 1)
    size = 4 * 2**30 if FULL else 300 * 2**20
    with (folder / "000000").open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, size - file.tell() - 12))
        file.truncate(size)  # sparse: it takes no room on the disk
    assert weigh(folder, 1, "tar", "--compress", "never") < 120 * MIB


#: Members of an archive file that nobody would make of images; the suite makes fewer of them, above the same limits.
MANY = 1_000_000 if os.environ.get("XNATCTL_LAB") == "full" else 120_000


def _zip_of_empty_members(path: Path, count: int) -> None:
    """Written piece by piece, because the standard library needs half a gigabyte for a million."""
    with path.open("wb") as out:
        for number in range(count):
            out.write(struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, 0, 0, 0, 8, 0) + b"%08d" % number)
        start = out.tell()
        for number in range(count):
            fields = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, number * 38)
            out.write(fields + b"%08d" % number)
        end = out.tell()
        out.write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, end - start, start))
        out.write(struct.pack("<4sIQI", b"PK\6\7", 0, end, 1))
        out.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))


def _tar_of_empty_members(path: Path, count: int) -> None:
    with path.open("wb") as out:
        for number in range(count):
            out.write(tarfile.TarInfo(f"{number:08}").tobuf(tarfile.USTAR_FORMAT))
        out.write(bytes(1024))


@pytest.mark.lab
@pytest.mark.parametrize("make", [_zip_of_empty_members, _tar_of_empty_members])
def test_an_archive_file_of_a_million_members_takes_no_memory(tmp_path, environment, make):
    """It is refused beyond the limit, and what was read of it until then takes less than 20 MiB."""

    def peak(count: int) -> int:
        make(tmp_path / "x", count)
        done = subprocess.run(
            [
                *(sys.executable, SUPPORT / "weighed.py", tmp_path / "peak", "session", "upload", tmp_path / "x"),
                *("-P", "DEMO", "-S", "s", "-E", "e", "--dry-run", "--url", "http://127.0.0.1:9"),
            ],
            env=environment, check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == (7 if count > 1000 else 2), done.stderr
        assert ("holds more than" in done.stderr) == (count > 1000)
        return int((tmp_path / "peak").read_text())

    assert peak(MANY) < peak(10) + 20 * MIB
