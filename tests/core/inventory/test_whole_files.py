"""A file that ends too early is damaged, wherever it ends; a file that is whole, or longer, is not."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator

import pytest

from xnatctl.inventory import elements as elements_module
from xnatctl.inventory import odd_files, part10
from xnatctl.inventory.forward import Forward
from xnatctl.inventory.part10 import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, Header, Unreadable, read_header
from xnatctl.inventory.vr import LONG

JPEG = "1.2.840.10008.1.2.4.50"
UIDS = {
    0x00080016: "1.2.840.10008.5.1.4.1.1.4",
    0x00080018: "1.2.3.41.1",
    0x0020000D: "1.2.3.4",
    0x0020000E: "1.2.3.41",
}
UNDEFINED = b"\xff\xff\xff\xff"
PIXELS = 0x7FE00010

Element = tuple[int, bytes, bytes | None]


class Writer:
    """Writes elements in one encoding, and notes where each top-level element ends."""

    def __init__(self, order: str = "<", *, implicit: bool = False) -> None:
        self.order, self.implicit = order, implicit

    def head(self, tag: int, vr: bytes, length: bytes | int) -> bytes:
        start = struct.pack(f"{self.order}HH", tag >> 16, tag & 0xFFFF)
        if isinstance(length, bytes):
            return start + (length if self.implicit else vr + b"\0\0" + length)
        if self.implicit:
            return start + struct.pack(f"{self.order}I", length)
        if vr in LONG:
            return start + vr + struct.pack(f"{self.order}HI", 0, length)
        return start + vr + struct.pack(f"{self.order}H", length)

    def element(self, tag: int, vr: bytes, value: bytes) -> bytes:
        return self.head(tag, vr, len(value)) + value

    def item(self, content: bytes, *, undefined: bool) -> bytes:
        start = struct.pack(f"{self.order}HH", 0xFFFE, 0xE000)
        if not undefined:
            return start + struct.pack(f"{self.order}I", len(content)) + content
        return start + UNDEFINED + content + struct.pack(f"{self.order}HHI", 0xFFFE, 0xE00D, 0)

    def sequence(self, tag: int, items: bytes, *, undefined: bool, vr: bytes = b"SQ") -> bytes:
        if not undefined:
            return self.element(tag, vr, items)
        return self.head(tag, vr, UNDEFINED) + items + struct.pack(f"{self.order}HHI", 0xFFFE, 0xE0DD, 0)


def uid(tag: int) -> bytes:
    value = UIDS[tag].encode()
    return value + b"\0" * (len(value) % 2)


def elements(writer: Writer, *, undefined: bool, pixels: str = "native", tail: bytes = b"") -> list[bytes]:
    """The elements of a data set, with everything between them that has a length."""
    w = writer
    inner = w.element(0x00080018, b"UI", b"9.9.9\0") + w.element(0x0020000E, b"UI", b"8.8.8\0")
    deep = w.sequence(0x00081115, w.item(inner, undefined=undefined), undefined=undefined)
    private = w.item(w.element(0x00091002, b"OB", bytes(10)), undefined=False)
    found = [
        w.element(0x00080005, b"CS", b"ISO_IR 100"),
        w.element(0x00080016, b"UI", uid(0x00080016)),
        w.element(0x00080018, b"UI", uid(0x00080018)),
        w.element(0x00080060, b"CS", b"MR"),
        w.sequence(0x00081110, w.item(deep, undefined=undefined) + w.item(inner, undefined=False), undefined=undefined),
        w.element(0x00091001, b"OB", bytes(range(32))),
        w.sequence(0x00091002, private, undefined=undefined),
        w.element(0x00100020, b"LO", b"P1"),
        w.element(0x0020000D, b"UI", uid(0x0020000D)),
        w.element(0x0020000E, b"UI", uid(0x0020000E)),
        w.element(0x00200011, b"IS", b"1 "),
        w.element(0x00280010, b"US", struct.pack(f"{w.order}H", 4)),
        w.sequence(0x00400275, w.item(inner, undefined=undefined), undefined=undefined),
        w.element(0x00880140, b"UI", b"1.2\0"),
    ]
    if pixels == "native":
        found.append(w.element(PIXELS, b"OW", bytes(range(1, 65))))
    elif pixels == "fragments":
        fragments = (
            w.item(b"", undefined=False)
            + w.item(bytes(range(1, 31)), undefined=False)
            + w.item(b"\x05" * 12, undefined=False)
        )
        found.append(w.sequence(PIXELS, fragments, undefined=True, vr=b"OB"))
    if tail:
        found.append(w.element(0xFFFCFFFC, b"OB", tail))
    return found


def meta(syntax: str) -> bytes:
    w = Writer()
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    content = w.element(0x00020002, b"UI", uid(0x00080016)) + w.element(0x00020003, b"UI", uid(0x00080018))
    content += w.element(0x00020010, b"UI", value)
    return bytes(128) + b"DICM" + w.element(0x00020000, b"UL", struct.pack("<I", len(content))) + content


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(data) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)


def kinds() -> Iterator[tuple[str, bytes, list[int]]]:
    """Name, file, and the places where a cut leaves a valid file behind."""
    encodings = {
        "explicit": (EXPLICIT, Writer()),
        "implicit": (IMPLICIT, Writer(implicit=True)),
        "big": (BIG_ENDIAN, Writer(">")),
    }
    for name, (syntax, writer) in encodings.items():
        for undefined in (False, True):
            for pixels in ("native", "none"):
                for tail in (b"", bytes(6)):
                    for preamble in (True, False):
                        parts = elements(writer, undefined=undefined, pixels=pixels, tail=tail)
                        start = meta(syntax) if preamble else b""
                        yield (
                            f"{name} {undefined} {pixels} {len(tail)} {preamble}",
                            start + b"".join(parts),
                            ends(start, parts),
                        )
    for tail in (b"", bytes(6)):
        parts = elements(Writer(), undefined=True, pixels="fragments", tail=tail)
        yield f"fragments {len(tail)}", meta(JPEG) + b"".join(parts), ends(meta(JPEG), parts)


def ends(start: bytes, parts: list[bytes]) -> list[int]:
    """The ends of the elements from the last that is asked for on: a file that ends there has lost whole elements."""
    found, place = [], len(start)
    for part in parts:
        place += len(part)
        found.append(place)
    return found[9:]


KINDS = list(kinds())


def read(data: bytes) -> Header | str | None:
    try:
        return read_header(lambda count, offset=0: data[offset : offset + count], len(data))
    except Unreadable as problem:
        return str(problem)


def streamed(data: bytes) -> Header | str | None:
    """As from an archive file, which can be read forward only."""
    place = 0

    def more(count: int) -> bytes:
        nonlocal place
        piece = data[place : place + min(count, 77)]
        place += len(piece)
        return piece

    try:
        return read_header(Forward(more), len(data))
    except Unreadable as problem:
        return str(problem)


def check(header: Header | str | None) -> None:
    """No UID that was cut off ever appears."""
    if isinstance(header, Header):
        assert header.sop_instance_uid == UIDS[0x00080018]
        assert header.study_instance_uid == UIDS[0x0020000D]
        assert header.series_instance_uid == UIDS[0x0020000E]


@pytest.fixture(params=["with pydicom", "without"])
def with_pydicom(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param == "without":
        monkeypatch.setattr(part10, "ask_pydicom", lambda *_: None)
        monkeypatch.setattr(part10, "has_pydicom", lambda: False)
        return False
    pytest.importorskip("pydicom", reason="the dicom extra is not installed")
    return True


@pytest.mark.parametrize(
    ("data", "valid"), [(data, valid) for _, data, valid in KINDS], ids=[name for name, _, _ in KINDS]
)
def test_a_file_is_damaged_wherever_it_is_cut(data: bytes, valid: list[int], with_pydicom: bool) -> None:
    whole = read(data)
    assert isinstance(whole, Header), whole
    check(whole)
    assert streamed(data) == whole
    first = 132 if data[128:132] == b"DICM" else 16
    for cut in range(first, len(data)):
        found = read(data[:cut])
        check(found)
        assert streamed(data[:cut]) == found
        if cut in valid:
            assert isinstance(found, Header), (cut, found)
        else:
            assert isinstance(found, str), (cut, len(data))
            assert "before the end" in found or found.startswith("DICOM without a"), (cut, found)


def test_how_much_is_missing() -> None:
    data = meta(EXPLICIT) + b"".join(elements(Writer(), undefined=False))
    assert read(data[:-1]) == "damaged: ends 1 byte before the end of an element"
    assert read(data[:-64]) == "damaged: ends 64 bytes before the end of an element"
    assert read(data[:-65]) == "damaged: ends at least 1 byte before the end of an element"


@pytest.mark.parametrize("pad", [b"", bytes(1)])
@pytest.mark.parametrize("undefined", [False, True])
def test_a_deflated_data_set_has_an_end(undefined: bool, pad: bytes, with_pydicom: bool) -> None:
    content = b"".join(elements(Writer(), undefined=undefined)) + random.Random(7).randbytes(0)
    start, packed = meta(DEFLATED), deflate(content)
    whole = read(start + packed + pad)
    assert isinstance(whole, Header)
    assert whole.tail == 0
    assert streamed(start + packed + pad) == whole
    for cut in range(1, len(packed) - 1):
        found = read(start + packed[:cut])
        assert isinstance(found, str), cut
        assert "before the end" in found
        assert streamed(start + packed[:cut]) == found
    for cut in range(1, 64):  # cut first, deflated afterwards
        assert (
            read(start + deflate(content[:-cut]))
            == f"damaged: ends {cut} byte{'s' * (cut > 1)} before the end of an element"
        )
    assert "damaged" in str(read(start + packed[:20] + b"\xff\xff\xff" + packed[23:]))


@pytest.mark.parametrize("writer", [Writer(), Writer(implicit=True), Writer(">")], ids=["explicit", "implicit", "big"])
@pytest.mark.parametrize(
    "behind",
    [bytes(1), bytes(2), bytes(7), bytes(8), bytes(3000), b"\n", b"x", b"\r\n\x1a", b"tail of a text", b"\xff" * 100],
)
def test_bytes_behind_pixel_data_do_not_make_a_file_damaged(writer: Writer, behind: bytes) -> None:
    syntax = {"<": EXPLICIT, ">": BIG_ENDIAN}[writer.order] if not writer.implicit else IMPLICIT
    data = meta(syntax) + b"".join(elements(writer, undefined=True))
    found = read(data + behind)
    assert isinstance(found, Header), found
    assert found.tail == 64 + len(behind)


def test_zeros_behind_a_report_are_padding() -> None:
    parts = elements(Writer(), undefined=False, pixels="none")
    report = meta(EXPLICIT) + b"".join(part for part in parts if part[:4] != b"\x28\x00\x10\x00")
    for count in (1, 7, 8, 100, 512, 2048):
        assert isinstance(read(report + bytes(count)), Header), count


@pytest.mark.parametrize("writer", [Writer(), Writer(implicit=True), Writer(">")], ids=["explicit", "implicit", "big"])
def test_a_line_end_behind_a_report_is_no_damage(writer: Writer) -> None:
    syntax = {"<": EXPLICIT, ">": BIG_ENDIAN}[writer.order] if not writer.implicit else IMPLICIT
    report = meta(syntax) + b"".join(elements(writer, undefined=True, pixels="none"))
    for behind in (b"\n", b"\r\n"):
        assert isinstance(read(report + behind), Header)
    for behind in (b"\x20", b"\xfa\xff", b"\n\n"):
        assert "damaged" in str(read(report + behind)), behind


@pytest.mark.parametrize("first", ["native", "fragments", "none", "deflated"])
def test_a_file_that_follows_another_one_is_not_lost_silently(first: str, with_pydicom: bool) -> None:
    """As `cat I1 I2 > both` makes it: a server would store one instance."""
    if first == "deflated":
        one = meta(DEFLATED) + deflate(b"".join(elements(Writer(), undefined=True)))
    else:
        one = meta(EXPLICIT) + b"".join(elements(Writer(), undefined=True, pixels=first))
    other = meta(EXPLICIT) + b"".join(elements(Writer(), undefined=False))
    for padding in (0, 1, 2, 512):
        place = f"{len(one) + padding} bytes in"
        for found in (read(one + bytes(padding) + other), streamed(one + bytes(padding) + other)):
            assert "another DICOM file follows" in str(found), found
            assert place in str(found)


def test_pixel_data_that_a_server_provides_are_not_missing() -> None:
    """JPIP (PS3.5 A.6): the file has a URL in their place."""
    parts = elements(Writer(), undefined=True, pixels="none")
    url = Writer().element(0x00287FE0, b"UR", b"https://pacs/1 ")
    data = meta("1.2.840.10008.1.2.4.94") + b"".join([*parts[:12], url, *parts[12:]])
    for behind in (b"", bytes(512)):
        found = read(data + behind)
        assert isinstance(found, Header)
        assert not found.lacks_pixels


@pytest.mark.parametrize(
    "first",
    [
        (0x00080006, b"SQ", b""),
        (0x00080006, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 0)),
        (0x00080008, b"CS", b"\\".join([b"DERIVE"] * 51)),
        (0x00080010, b"SH", b"ACR-NEMA 2.0"),
        (0x00080015, b"DT", b"20200101120000"),
        (0x00080017, b"UI", b"1.2.3\0"),
    ],
)
@pytest.mark.parametrize("implicit", [False, True])
def test_a_data_set_alone_may_begin_with_any_of_its_first_elements(
    first: tuple[int, bytes, bytes], implicit: bool
) -> None:
    writer = Writer(implicit=implicit)
    parts = elements(writer, undefined=True)
    parts[0] = writer.element(*first)
    if first[0] > 0x00080016:
        del parts[1]
        parts.insert(0, writer.element(0x00080016, b"UI", uid(0x00080016)))
    assert isinstance(read(b"".join(parts)), Header)


def test_zeros_in_the_place_of_what_was_not_copied_yet() -> None:
    """Programs that copy files, and sparse files, have the right size before they have the content."""
    data = meta(EXPLICIT) + b"".join(elements(Writer(), undefined=True)) + bytes(6000)
    pixels = data.index(b"\xe0\x7f\x10\x00")
    for cut in range(200, pixels):
        found = read(data[:cut] + bytes(len(data) - cut))
        check(found)
        assert isinstance(found, str), cut


@pytest.mark.parametrize("undefined", [False, True])
def test_the_tail_is_what_a_server_keeps(undefined: bool) -> None:
    for writer, syntax in ((Writer(), EXPLICIT), (Writer(implicit=True), IMPLICIT), (Writer(">"), BIG_ENDIAN)):
        image = read(meta(syntax) + b"".join(elements(writer, undefined=undefined)))
        assert isinstance(image, Header)
        assert image.tail == 64
        assert not image.lacks_pixels
        parts = elements(writer, undefined=undefined, pixels="none")
        report = read(meta(syntax) + b"".join(parts))
        assert isinstance(report, Header)
        assert report.tail == len(b"".join(parts[12:]))
        assert report.lacks_pixels
    packed = elements(Writer(), undefined=undefined, pixels="fragments")
    found = read(meta(JPEG) + b"".join(packed))
    assert isinstance(found, Header)
    assert found.tail == len(packed[-1]) - 12


def test_pixels_are_not_read() -> None:
    w = Writer()
    parts = elements(w, undefined=False)[:-1]
    start = meta(EXPLICIT) + b"".join(parts) + w.head(0x00E11001, b"OB", 5_000_000)
    fragments = b"".join(w.head(0xFFFEE000, b"", b"")[:4] + struct.pack("<I", size) for size in (0,))
    native = w.head(PIXELS, b"OW", 2_000_000_000)
    files = {
        "native": (start, [(5_000_000, native), (2_000_000_000, b"")]),
        "with padding": (start, [(5_000_000, native), (2_000_000_000, w.element(0xFFFCFFFC, b"OB", bytes(20)))]),
        "fragments": (start, [
            (5_000_000, w.head(PIXELS, b"OB", UNDEFINED) + fragments + b"\xfe\xff\x00\xe0" + struct.pack("<I", 900_000_000)),
            (900_000_000, b"\xfe\xff\x00\xe0" + struct.pack("<I", 10)), (10, b"\xfe\xff\xdd\xe0\0\0\0\0"),
        ]),
    }  # fmt: skip
    for name, (beginning, pieces) in files.items():
        islands, place = {0: beginning}, len(beginning)
        for gap, piece in pieces:
            place += gap
            islands[place] = piece
            place += len(piece)
        asked: list[int] = []

        def at(
            count: int, offset: int = 0, islands: dict[int, bytes] = islands, asked: list[int] = asked, end: int = place
        ) -> bytes:
            asked.append(count)
            data = bytearray(max(0, min(count, end - offset)))
            for where, piece in islands.items():
                for n, byte in enumerate(piece):
                    if offset <= where + n < offset + len(data):
                        data[where + n - offset] = byte
            return bytes(data)

        found = read_header(at, place)
        assert found is not None, name
        assert len(asked) <= 8
        assert sum(asked) < 30_000, (name, asked)
        with pytest.raises(Unreadable, match="damaged: ends"):
            read_header(at, place - 1)


def test_fragments_that_are_none_are_damage() -> None:
    w = Writer()
    start = meta(JPEG) + b"".join(elements(w, undefined=True, pixels="none")) + w.head(PIXELS, b"OB", UNDEFINED)
    for content in (
        b"\xff\xd8\xff\xe0" + bytes(100),
        w.item(b"", undefined=False) + b"\xfe\xff\x00\xe0" + UNDEFINED + bytes(50),
    ):
        assert "damaged" in str(read(start + content))


def orders() -> Iterator[tuple[str, list[bytes]]]:
    """The elements of one data set in other orders; no class of the standard forbids a reader to go on."""
    parts = elements(Writer(), undefined=False)
    study = parts[8]
    long = [Writer().element(0x00091010, b"OB", bytes(9 << 20))]
    yield "first two", [parts[1], parts[0], *parts[2:]]
    yield "behind the last that is asked for", [*parts[:12], parts[13], parts[12], parts[14]]
    yield "study first", [study, *parts[:8], *parts[9:]]
    yield "study last", [*parts[:8], *parts[9:14], study, parts[14]]
    yield "study twice", [*parts[:8], study.replace(b"1.2.3.4", b"1.2.3.5"), *parts[9:14], study, parts[14]]
    yield "reversed", [*parts[13::-1], parts[14]]
    yield "a long private value", [*parts[:6], *long, *parts[6:]]
    yield "a long private value, reversed", [*parts[13:5:-1], *long, *parts[5::-1], parts[14]]


@pytest.mark.parametrize("parts", [pytest.param(parts, id=name) for name, parts in orders()])
def test_the_order_of_elements_and_their_length_do_not_matter(parts: list[bytes], with_pydicom: bool) -> None:
    data = meta(EXPLICIT) + b"".join(parts)
    for _ in range(40):  # the layout of a header is learned on the way
        found = read(data)
        check(found)
        assert isinstance(found, Header), found
    assert streamed(data) == found
    for cut in (len(data) - 1, len(data) - 70, len(data) - 100):
        assert "before the end" in str(read(data[:cut])), cut


@pytest.mark.parametrize(("order", "order_inside"), ["<<", "><", ">>"])
@pytest.mark.parametrize("undefined", [True, False])
def test_a_sequence_of_unknown_vr_is_in_implicit_vr(
    order: str, order_inside: str, undefined: bool, with_pydicom: bool
) -> None:
    """And in little endian, as PS3.5 6.2.2 says; some writers keep the byte order of the data set."""
    outer, inside = Writer(order), Writer(order_inside, implicit=True)
    inner = inside.element(0x00080018, b"UI", b"9.9.9\0") + inside.element(0x0020000D, b"UI", b"7.7.7\0")
    deep = inside.sequence(0x00081115, inside.item(inner, undefined=undefined), undefined=True)
    for items in (
        inside.item(inner, undefined=undefined),
        inside.item(deep, undefined=undefined) + inside.item(inner, undefined=True),
        inside.item(b"", undefined=undefined),
        inside.item(b"", undefined=undefined) + inside.item(deep + deep, undefined=True),
        b"",
    ):
        parts = elements(outer, undefined=undefined)
        end = inside.head(0xFFFEE0DD, b"", 0)
        known, private = (outer.head(tag, b"UN", UNDEFINED) + items + end for tag in (0x00081140, 0x00091003))
        within = outer.sequence(0x00081199, outer.item(known, undefined=undefined), undefined=undefined)
        whole = [*parts[:5], known, within, *parts[5:7], private, *parts[7:]]
        data = meta(BIG_ENDIAN if order == ">" else EXPLICIT) + b"".join(whole)
        found = read(data)
        check(found)
        assert isinstance(found, Header), found
        assert streamed(data) == found
        assert "before the end" in str(read(data[:-1]))


def test_what_this_reader_cannot_follow_pydicom_decides_on(with_pydicom: bool) -> None:
    parts = elements(Writer(), undefined=False)
    for number, tag in (7, 0x00091003), (9, 0x00171003), (12, 0x00291003):
        odd = Writer().element(tag, b"QQ", b"1234")
        data = meta(EXPLICIT) + b"".join([*parts[:number], odd, *parts[number:]])
        found = read(data)
        if with_pydicom or number == 12:  # all UIDs are known there
            check(found)
            assert isinstance(found, Header), found
        else:
            assert found == (
                "DICOM, but it holds an element without a known VR; install the extra dicom to have pydicom read it"
            )


def test_pydicom_is_not_overruled_where_a_file_is_short() -> None:
    pytest.importorskip("pydicom", reason="the dicom extra is not installed")
    parts = elements(Writer(), undefined=False)
    data = meta(EXPLICIT) + b"".join([*parts[:10], Writer().element(0x0021_1001, b"QQ", b"1234"), *parts[10:]])
    assert isinstance(read(data), Header), read(data)
    series = data.index(UIDS[0x0020000E].encode())
    for cut in (*range(series, series + 8), *range(len(data) - 70, len(data))):
        found = read(data[:cut])
        check(found)
        assert isinstance(found, str), cut


def test_pydicom_is_not_given_more_elements_than_memory_bears(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a kilobyte for each element of a sequence, and a file of 16 MB may have two million."""
    pytest.importorskip("pydicom", reason="the dicom extra is not installed")
    w = Writer()
    parts = elements(w, undefined=False)
    many = w.sequence(0x00091004, 2000 * w.item(b"", undefined=False), undefined=True)
    data = meta(EXPLICIT) + b"".join([*parts[:7], w.element(0x00091003, b"QQ", b"12"), many, *parts[7:]])
    assert isinstance(read(data), Header)
    monkeypatch.setattr(odd_files, "_MOST_READS", 1000)
    assert read(data) == "DICOM, but it holds an element without a known VR"


def test_uids_behind_the_pixel_data_are_not_said_to_be_missing() -> None:
    """A server does not read on there, so that nothing of such a file can be sent."""
    parts = elements(Writer(), undefined=False)
    data = meta(EXPLICIT) + b"".join([*parts[:8], parts[14], *parts[8:14]])
    assert read(data) == "DICOM whose UIDs do not stand before its Pixel Data"
    assert read(meta(EXPLICIT) + b"".join([*parts[:8], *parts[9:]])) == "DICOM without a Study Instance UID"


def test_a_layout_that_is_known_does_not_hide_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = part10.HeadLayouts(wanted=part10._WANTED, fixed=(part10._TRANSFER_SYNTAX,), last=part10._LAST)
    rests = part10.RestLayouts(last=0x7FE00007)
    monkeypatch.setattr(part10, "_layouts", fresh)
    monkeypatch.setattr(part10, "_rests", rests)
    data = meta(EXPLICIT) + b"".join(elements(Writer(), undefined=False))
    for _ in range(40):
        assert isinstance(read(data), Header)
    found = fresh.find(data)
    assert found is not None
    assert rests.find(data, found[2]) is not None
    for cut in range(200, len(data)):
        head = read(data[:cut])
        check(head)
        assert isinstance(head, str) or cut in ends(meta(EXPLICIT), elements(Writer(), undefined=False)), cut
    assert isinstance(read(data + bytes(3)), Header)


@pytest.mark.parametrize("make", [bytes, lambda n: b"DICM"[: n - 128].rjust(n, b"\0")])
def test_a_preamble_alone(make: Callable[[int], bytes]) -> None:
    for size in range(100, 132):
        found = read(make(size))
        assert found is None or "before the end" in str(found), size


def test_many_fragments_are_followed_by_their_headers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elements_module, "MOST_READ", 64 * 1024)
    w = Writer()
    start = meta(JPEG) + b"".join(elements(w, undefined=True, pixels="none")) + w.head(PIXELS, b"OB", UNDEFINED)
    fragment = w.item(bytes(9000), undefined=False)
    data = start + w.item(b"", undefined=False) + 500 * fragment + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    asked: list[int] = []

    def at(count: int, offset: int = 0) -> bytes:
        asked.append(count)
        return data[offset : offset + count]

    assert read_header(at, len(data)) is not None
    assert sum(asked) < 50_000
    small = start + 50_000 * w.item(bytes(2), undefined=False) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    assert isinstance(read(small), Header), read(small)


def test_an_image_that_ends_before_rows_is_said_to_lack_pixels() -> None:
    parts = elements(Writer(), undefined=False, pixels="none")
    found = read(meta(EXPLICIT) + b"".join(parts[:11]))
    assert isinstance(found, Header)
    assert found.lacks_pixels
    report = [part.replace(b"1.4.1.1.4", b"1.4.1.1.9") for part in parts[:11]]
    found = read(meta(EXPLICIT).replace(b"1.4.1.1.4", b"1.4.1.1.9") + b"".join(report))
    assert isinstance(found, Header)
    assert not found.lacks_pixels
