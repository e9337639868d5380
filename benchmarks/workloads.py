"""Synthetic DICOM work-loads: invented values, no patient, standard library only.

`ct`: 1,000 slices of 525 KB in 4 series. `mr`: 10,000 slices of 35 KB in 20 series. `multiframe`: 20 files of 52 MB.
`small`: files of 2 KB, as many as wanted. `large`: one file of any size. Explicit VR little endian, names without a
suffix in nested folders. The pixels are a phantom under scanner-like noise, so that they pack as real ones do
(0.4 to 0.55); a few frames are made and turned row-wise, because compressors look no further than a few rows.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import struct
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

_ROOT = "1.2.826.0.1.3680043.8.498."
_CT, _MR, _MULTI = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7.3"
_EXPLICIT = "1.2.840.10008.1.2.1"
_WIDE = {"OB", "OW", "SQ", "UN", "UT"}
_FULL = {"ct": 1000, "mr": 10_000, "multiframe": 20, "small": 100_000, "large": 1}


@dataclass(frozen=True)
class Load:
    """A work-load on disk. `bytes` counts whole files, `datasets` what a C-STORE carries of them (no meta header)."""

    name: str
    path: str
    files: int
    bytes: int
    datasets: int


def element(tag: int, vr: str, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    if len(data) % 2:
        data += b"\0" if vr in ("UI", "OB") else b" "
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + (struct.pack("<HI", 0, len(data)) if vr in _WIDE else struct.pack("<H", len(data))) + data


def head(sop_class: str, study: str, series: str, number: int, instance: str, extra: list[bytes]) -> bytes:
    """Everything before the pixels of one instance, meta header first."""
    meta = b"".join([
        element(0x00020001, "OB", b"\0\1"), element(0x00020002, "UI", sop_class), element(0x00020003, "UI", instance),
        element(0x00020010, "UI", _EXPLICIT), element(0x00020012, "UI", _ROOT + "1"),
    ])  # fmt: skip
    dates = [element(tag, "DA", "20240105") for tag in (0x00080020, 0x00080021, 0x00080022, 0x00080023)]
    times = [element(tag, "TM", "101112.000000") for tag in (0x00080030, 0x00080031, 0x00080032, 0x00080033)]
    modality = {_CT: "CT", _MR: "MR"}.get(sop_class, "OT")
    fields = [
        element(0x00080005, "CS", "ISO_IR 100"), element(0x00080008, "CS", "ORIGINAL\\PRIMARY\\AXIAL"),
        element(0x00080016, "UI", sop_class), element(0x00080018, "UI", instance), *dates, *times,
        element(0x00080050, "SH", "A1"), element(0x00080060, "CS", modality),
        element(0x00080070, "LO", "Synthetic Devices"), element(0x00080080, "LO", "Nowhere"),
        element(0x00080090, "PN", "Doe^Jane"), element(0x00081030, "LO", "Synthetic study"),
        element(0x0008103E, "LO", f"Series {number}"), element(0x00081090, "LO", "Model 1"),
        element(0x00100010, "PN", "Synthetic^Subject"), element(0x00100020, "LO", "SYN001"),
        element(0x00100030, "DA", "19700101"), element(0x00100040, "CS", "O"),
        element(0x00180015, "CS", "HEAD"), element(0x00180050, "DS", "1.0"), element(0x00185100, "CS", "HFS"),
        element(0x0020000D, "UI", study), element(0x0020000E, "UI", series), element(0x00200010, "SH", "1"),
        element(0x00200011, "IS", str(number)), *extra,
    ]  # fmt: skip
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(meta))) + meta + b"".join(fields)


def picture(rows: int, columns: int, length: int, frames: int = 1) -> list[bytes]:
    """The image elements, the pixels' header last; `length` in bytes."""
    numbers = ((0x00280100, 16), (0x00280101, 12), (0x00280102, 11), (0x00280103, 0))
    return [
        element(0x00280002, "US", struct.pack("<H", 1)), element(0x00280004, "CS", "MONOCHROME2"),
        *([element(0x00280008, "IS", str(frames))] if frames > 1 else []),
        element(0x00280010, "US", struct.pack("<H", rows)), element(0x00280011, "US", struct.pack("<H", columns)),
        element(0x00280030, "DS", "0.5\\0.5"),
        *(element(tag, "US", struct.pack("<H", value)) for tag, value in numbers),
        element(0x00281050, "DS", "40"), element(0x00281051, "DS", "400"),
        struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, length),
    ]  # fmt: skip


def frame(side: int, seed: int, *, ct: bool) -> bytes:
    """One frame of a phantom with noise: smoothed and clipped as CT, Rician as MR."""
    chance = random.Random(seed)
    noise = [chance.gauss(0, 1) for _ in range(side * side)]
    spots = [(chance.uniform(-0.5, 0.5), chance.uniform(-0.4, 0.4), chance.uniform(0.004, 0.02)) for _ in range(10)]
    pixels = array("H")
    for row in range(side):
        y = 2 * row / side - 1
        for column in range(side):
            x = 2 * column / side - 1
            inside = x * x / 0.64 + y * y / 0.42 < 1
            level = (1024 if ct else 300) if inside else (24 if ct else 0)
            if inside:
                level += sum(60 + 20 * i for i, (cx, cy, r) in enumerate(spots) if (x - cx) ** 2 + (y - cy) ** 2 < r)
            at = row * side + column
            if not ct:
                level = math.hypot(level + 9 * noise[at], 9 * noise[at - 31])
            elif x * x + y * y > 1:
                level = 0
            else:
                grain = (noise[at] + noise[at - 1] + noise[at - side] + noise[at - side - 1]) / 2
                level += (12 if inside else 6) * grain
            pixels.append(min(4095, max(0, round(level))))
    return pixels.tobytes()


def frames(side: int, *, ct: bool, kinds: int = 8) -> Callable[[int], bytes]:
    """Frame number n: one of `kinds`, turned by some rows."""
    made = [frame(side, seed, ct=ct) for seed in range(kinds)]

    def nth(number: int) -> bytes:
        source, turn = made[number % kinds], 2 * side * (number // kinds * 7 % side)
        return source[turn:] + source[:turn]

    return nth


def _slices(sop_class: str, side: int, series_length: int, name: str, count: int) -> Iterator[tuple[str, bytes]]:
    nth = frames(side, ct=sop_class == _CT, kinds=min(8, count))
    study = _ROOT + str(zlib.crc32(name.encode()))
    tail = picture(side, side, 2 * side * side)
    private = random.Random(name).randbytes(900)
    for index in range(count):
        number, place = divmod(index, series_length)
        series = f"{study}.{number + 1}"
        extra = [element(0x00200013, "IS", str(place + 1)), element(0x00200032, "DS", f"0\\0\\{index}")]
        extra += [*tail[:-1], element(0x00290010, "LO", "SYNTH"), element(0x00291010, "OB", private), tail[-1]]
        data = head(sop_class, study, series, number + 1, f"{series}.{index + 1}", extra) + nth(index)
        yield f"ST0/SE{number:03d}/D{place // 100}/IM{place:06d}", data


def _multiframe(count: int) -> Iterator[tuple[str, list[bytes]]]:
    nth = frames(512, ct=True)
    study = _ROOT + str(zlib.crc32(b"multiframe"))
    for index in range(count):
        series = f"{study}.{index // 10 + 1}"
        extra = picture(512, 512, 100 * 2 * 512 * 512, frames=100)
        start = head(_MULTI, study, series, index // 10 + 1, f"{series}.{index + 1}", extra)
        yield f"ST0/SE{index // 10:03d}/IM{index:06d}", [start, *(nth(100 * index + number) for number in range(100))]


def _small(count: int) -> Iterator[tuple[str, bytes]]:
    study = _ROOT + "77"
    pixels = random.Random(7).randbytes(2 * 20 * 20)
    for index in range(count):
        series = f"{study}.{index // 1000 + 1}"
        extra = picture(20, 20, len(pixels))
        start = head(_MR, study, series, index // 1000 + 1, f"{series}.{index + 1}", extra)
        yield f"SE{index // 1000:03d}/IM{index:06d}", start + pixels


def _large(size: int) -> Iterator[tuple[str, list[bytes]]]:
    block = random.Random(5).randbytes(1 << 20)
    series = _ROOT + "78.1"
    start = head(_MULTI, _ROOT + "78", series, 1, f"{series}.1", picture(1024, 1024, size, frames=size >> 21))
    yield "IM0", [start, *(block for _ in range(size >> 20))]


def _files(name: str, count: int) -> Iterator[tuple[str, bytes | list[bytes]]]:
    match name:
        case "ct":
            yield from _slices(_CT, 512, 250, name, count)
        case "mr":
            yield from _slices(_MR, 128, 500, name, count)
        case "multiframe":
            yield from _multiframe(count)
        case "small":
            yield from _small(count)
        case "large":
            yield from _large(count)


def make(directory: Path, name: str, count: int | None = None) -> Load:
    """Write a work-load of `count` files (`large`: bytes), or use the one that is there already."""
    count = _FULL[name] if count is None else count
    root = directory / f"{name}-{count}"
    note = directory / f"{name}-{count}.json"
    if note.exists():
        return Load(**json.loads(note.read_text()))
    files = size = datasets = 0
    for path, content in _files(name, count):
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        pieces = [content] if isinstance(content, bytes) else content
        with target.open("wb") as out:
            out.writelines(pieces)
        meta = 144 + int.from_bytes(pieces[0][140:144], "little")
        written = sum(map(len, pieces))
        files, size, datasets = files + 1, size + written, datasets + written - meta
    load = Load(name=name, path=str(root), files=files, bytes=size, datasets=datasets)
    note.write_text(json.dumps(asdict(load)))
    return load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("name", choices=sorted(_FULL))
    parser.add_argument("--count", type=int, help="files; for `large` its size in bytes")
    arguments = parser.parse_args()
    print(json.dumps(asdict(make(arguments.directory, arguments.name, arguments.count))))


if __name__ == "__main__":
    main()
