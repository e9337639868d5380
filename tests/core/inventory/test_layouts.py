"""A header that is laid out like an earlier one comes to the same as one that is read element by element."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import pytest

from xnatctl.inventory import layouts, part10
from xnatctl.inventory.layouts import HeadLayouts
from xnatctl.inventory.part10 import EXPLICIT, read_header
from xnatctl.inventory.vr import LONG

WANTED = (0x00020002, 0x00020010, 0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00200011)


class Nothing(HeadLayouts):
    """Never knows a layout: everything is read element by element."""

    def __init__(self) -> None:
        super().__init__(wanted=(), fixed=(), last=0)

    def find(self, head: bytes) -> None:
        return None

    def missed(self, head: bytes) -> None:
        return None


def fresh() -> HeadLayouts:
    """As the reader has it, learning from the first header on."""
    made = HeadLayouts(wanted=part10._WANTED, fixed=(part10._TRANSFER_SYNTAX,), last=part10._LAST)
    made._patience = 1
    return made


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return head + (struct.pack("<HI", 0, len(value)) if vr in LONG else struct.pack("<H", len(value))) + value


def even(text: str, fill: bytes = b"\0") -> bytes:
    data = text.encode()
    return data + fill * (len(data) % 2)


def instance(
    number: int, *, position: str = "0", syntax: str = EXPLICIT, private: int = 40, extra: bytes = b""
) -> bytes:
    """A file with what varies from slice to slice."""
    meta = b"".join([
        element(0x00020002, b"UI", even("1.2.840.10008.5.1.4.1.1.4")),
        element(0x00020003, b"UI", even(f"1.2.3.{number}")),
        element(0x00020010, b"UI", even(syntax)),
    ])  # fmt: skip
    data = b"".join([
        element(0x00080016, b"UI", even("1.2.840.10008.5.1.4.1.1.4")), element(0x00080018, b"UI", even(f"1.2.3.{number}")),
        element(0x00080060, b"CS", b"MR"), element(0x00091001, b"OB", bytes(private)), extra,
        element(0x00100020, b"LO", b"P1"), element(0x0020000D, b"UI", even("1.2.3")),
        element(0x0020000E, b"UI", even("1.2.3.4")), element(0x00200011, b"IS", even(str(number % 7), b" ")),
        element(0x00200032, b"DS", even(position, b" ")), element(0x00280010, b"US", b"\4\0"),
        element(0x7FE00010, b"OW", bytes(64)),
    ])  # fmt: skip
    return bytes(128) + b"DICM" + element(0x00020000, b"UL", struct.pack("<I", len(meta))) + meta + data


def read(data: bytes) -> Any:
    try:
        return read_header(lambda count, offset=0: data[offset : offset + count], len(data))
    except part10.Unreadable as problem:
        return str(problem)


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads in both ways and compares; says what a layout was found for."""
    learning = fresh()
    monkeypatch.setattr(part10, "ask_pydicom", lambda *_: None)

    def compare(data: bytes) -> bool:
        monkeypatch.setattr(part10, "_layouts", learning)
        known = learning.find(data) is not None
        mine = read(data)
        monkeypatch.setattr(part10, "_layouts", Nothing())
        assert mine == read(data)
        return known

    compare.learning = learning  # type: ignore[attr-defined]
    return compare


def test_a_series_is_known_after_a_few(both: Any) -> None:
    dice = random.Random(5)
    known = [
        both(instance(10 ** dice.randint(0, 20), position=f"{dice.random():.{dice.randint(1, 16)}f}"))
        for _ in range(100)
    ]
    assert not known[0]
    assert all(known[40:])


def test_what_is_laid_out_differently_is_not_taken_for_the_same(both: Any) -> None:
    for _ in range(3):
        both(instance(1))
    assert both(instance(2))
    assert not both(instance(2, private=42))
    assert not both(instance(2, extra=element(0x00091002, b"UN", b"xx")))
    assert not both(instance(2, syntax="1.2.840.10008.1.2.4.50"))
    assert not both(instance(2)[:300])
    assert not both(instance(2)[132:])


def test_a_few_layouts_are_kept_and_the_last_used_is_tried_first(both: Any) -> None:
    for private in (2, 4, 6, 8, 10):
        for _ in range(2):
            both.learning._patience = 1
            both(instance(1, private=private))
    assert len(both.learning._known) == layouts._MOST
    assert [both(instance(2, private=private)) for private in (4, 6, 8, 10)] == [True] * 4
    assert not both(instance(2, private=2))


@pytest.mark.parametrize(
    "extra",
    [
        element(0x00091003, b"SQ", b"")[:-4] + b"\xff\xff\xff\xff" + b"\xfe\xff\xdd\xe0\0\0\0\0",
        b"".join(element(0x000A0000 + number, b"CS", b"") for number in range(500)),
    ],
    ids=["an undefined length", "too many elements"],
)
def test_what_cannot_be_told_by_lengths_alone_is_not_learned(extra: bytes, both: Any) -> None:
    for number in range(20):
        both.learning._patience = 1
        assert not both(instance(number, extra=extra))
    assert both.learning._known == ()


def test_broken_headers_come_to_the_same(both: Any) -> None:
    """Whatever is changed in a header whose layout is known, and wherever it is cut."""
    dice = random.Random(20261125)
    for number in (1, 10, 100, 10**9):
        both.learning._patience = 1
        both(instance(number, position="1.5"))
    whole = instance(12, position="2.25")
    end = whole.index(b"\xe0\x7f\x10\x00")
    known = 0
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 3)):
            place = dice.randrange(100, max(101, min(end + 8, len(data) - 1)))
            match dice.randrange(4):
                case 0:
                    data[place] = dice.randrange(256)
                case 1:
                    data[place : place + 2] = dice.choice([b"SQ", b"OB", b"UN", b"UI", b"\0\0", b"\xff\xff"])
                case 2:
                    data[place:place] = data[place : place + dice.randint(1, 16)]
                case _:
                    del data[dice.randrange(place, len(data)) :]
        known += both(bytes(data))
    assert known > 150


def test_real_files_come_to_the_same(both: Any) -> None:
    pydicom = pytest.importorskip("pydicom", reason="the dicom extra is not installed")
    files = (Path(pydicom.__file__).parent / "data" / "test_files").rglob("*")
    heads = [path.read_bytes() for path in sorted(files) if path.is_file()]
    known = 0
    for head in heads:
        for _ in range(3):
            both.learning._patience = 1
            known += both(head)
    assert known > 80
