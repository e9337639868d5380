"""Answers that are read as they come: cut anywhere, they say the same as the whole; what is none is refused."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from xnatctl.xnat.http.parsers import Catalog, CatalogEntry, Rows

TABLE = json.dumps(
    {
        "ResultSet": {
            "Columns": [{"key": "URI", "serverRoot": ""}],
            "title": 'Files of "Result": [',
            "Result": [
                {"Name": "å.dcm", "Size": 12, "URI": "/a/files/[1],{2}", "digest": None},
                {"Name": 'b"}]', "Size": "3", "URI": "", "digest": "x"},
            ],
            "totalRecords": "2",
        }
    },
    ensure_ascii=False,
).encode()
ROWS = [
    {"Name": "å.dcm", "Size": "12", "URI": "/a/files/[1],{2}", "digest": ""},
    {"Name": 'b"}]', "Size": "3", "URI": "", "digest": "x"},
]


def read(pieces: list[bytes]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    rows = Rows(lambda row: found.append(dict(row)))
    for piece in pieces:
        rows.feed(piece)
    rows.finish()
    return found


@pytest.mark.parametrize("step", [1, 2, 3, 7, 50, 10_000])
def test_rows_are_the_same_however_they_are_cut(step: int) -> None:
    assert read([TABLE[at : at + step] for at in range(0, len(TABLE), step)]) == ROWS


def test_every_single_cut() -> None:
    for at in range(len(TABLE)):
        assert read([TABLE[:at], TABLE[at:]]) == ROWS


def test_an_empty_table_is_one() -> None:
    assert read([b'{"ResultSet":{"Result":[ ]}}']) == []


@pytest.mark.parametrize(
    "text",
    ["", "{}", "<html>", '{"ResultSet":{}}', '{"ResultSet":{"Result":[{"a":1},', '{"ResultSet":{"Result":[1]}}',
     '{"ResultSet":{"Result":[[{}]]}}', '{"ResultSet":{"Result":[{"a":}]}}', '{"Result":"["}'],
)  # fmt: skip
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a table"):
        read([text.encode()])


def test_a_row_without_end_is_given_up() -> None:
    rows = Rows(lambda row: None)
    rows.feed(b'{"ResultSet":{"Result":[{"a":"')
    for _ in range(100):
        rows.feed(b"x" * 65536)
    assert len(rows._text) < 2 << 20
    with pytest.raises(ValueError, match="not a table"):
        rows.finish()


CATALOG = b"""<?xml version="1.0"?><cat:DCMCatalog UID="1.9" xmlns:cat="c" xmlns:xsi="x"><cat:entries>
<cat:entry xsi:type="cat:dcmEntry" UID="1.2.3" URI="a"/><cat:entry URI="b"/><cat:dcmEntry UID="1.2.4"/>
</cat:entries></cat:DCMCatalog>"""


@pytest.mark.parametrize("step", [1, 5, 10_000])
def test_a_catalog_however_it_is_cut(step: int) -> None:
    catalog = Catalog()
    for at in range(0, len(CATALOG), step):
        catalog.feed(CATALOG[at : at + step])
    catalog.finish()
    assert catalog.uids == {"1.2.3", "1.2.4"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (CATALOG[:-10], "not XML"),
        (b"", "not XML"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a/>', "document type"),
        (b"<html><p></html>", "not XML"),
    ],
)
def test_what_is_no_catalog_is_refused(text: bytes, problem: str) -> None:
    catalog = Catalog()
    catalog.feed(text)
    with pytest.raises(ValueError, match=problem):
        catalog.finish()


def test_a_catalog_keeps_what_is_wanted_and_counts_the_rest() -> None:
    other = CATALOG.replace(b'URI="b"/>', b'URI="b"/><cat:entry UID="1.2.3" URI="c"/><cat:entry UID="1.9"/>')
    catalog = Catalog({"1.2.3"})
    catalog.feed(other.replace(b'URI="a"', b'URI="d/a" digest="%s"' % (b"AB" * 16)))
    catalog.finish()
    assert catalog.entries == {"1.2.3": CatalogEntry(uid="1.2.3", path="d/a", digest="ab" * 16)}
    assert (catalog.others, catalog.nameless, catalog.repeated, catalog.total) == (2, 1, 1, 5)
    assert catalog.examples == ["1.9", "1.2.4"]
    both = Catalog({"1.2.3"})
    both.add(catalog)
    both.add(catalog)
    assert (len(both.entries), both.others, both.nameless, both.repeated) == (1, 4, 2, 3)


HEAD = b'<c:C xmlns:c="x"><c:entries>'
TABLE_HEAD = b'{"ResultSet":{"Result":['
PIECE = 65536


def counting(text: str) -> Callable[[int], bytes]:
    """Pieces of about 64 KiB in which nothing is there twice."""
    step = PIECE // len(text)
    return lambda number: "".join(text.replace("%", str(number * step + at)) for at in range(step)).encode()


@pytest.mark.once
@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (HEAD, counting('<c:entry UID="1.2.%" URI="a%"/>')),
        (HEAD + b'<c:entry UID="', b"1" * PIECE),
        (HEAD + b"<c:entry ", counting('a%="1" ')),
        (HEAD, counting("<a%/>")),
        (HEAD, b"<a>" * 20_000),
        (HEAD, counting('<a xmlns:b%="u"/>')),
        (HEAD, b"x" * PIECE),
        (HEAD + b"<!--", b"x" * PIECE),
        (HEAD + b"<![CDATA[", b"x" * PIECE),
        (HEAD + b"<?a ", b"x" * PIECE),
        (HEAD + b"<", b"x" * PIECE),
        (b'<!DOCTYPE a [<!ENTITY a "', b"x" * PIECE),
        (b"\xff\xfe<\0a\0", b"x\0" * (PIECE // 2)),
        (b"", b"\n" * PIECE),
    ],
)  # fmt: skip
def test_no_catalog_takes_memory_for_what_is_not_ours(head: bytes, piece: Any) -> None:
    catalog = Catalog(frozenset({"1.2.3"}))
    assert grown(catalog, head, piece, pieces=30) < 3 * 2**20
    with pytest.raises(ValueError, match=r"is not XML|holds "):
        catalog.finish()


@pytest.mark.once
@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (TABLE_HEAD, counting('{"a%":"%","b":"x"},')),
        (TABLE_HEAD + b'{"a":', b"[" * PIECE),
        (TABLE_HEAD + b'{"a":"', b"x" * PIECE),
        (TABLE_HEAD + b'{"a":', b"9" * PIECE),
        (TABLE_HEAD + b'{"a":{', counting('"b%":[],')),
        (TABLE_HEAD, b"," * PIECE),
        (b'{"a":"', b"x" * PIECE),
    ],
)  # fmt: skip
def test_no_table_takes_memory_for_what_is_not_ours(head: bytes, piece: Any) -> None:
    rows = Rows(lambda row: None)
    assert grown(rows, head, piece, pieces=30) < 8 * 2**20
    with pytest.raises(ValueError, match="not a table"):
        rows.finish()


def grown(reader: Catalog | Rows, head: bytes, piece: Any, *, pieces: int) -> int:
    """By how many bytes the memory grows at most while a reader gets an answer without end."""
    made = [piece(number) if callable(piece) else piece for number in range(pieces)]
    tracemalloc.start()
    try:
        begun = tracemalloc.get_traced_memory()[0]
        reader.feed(head)
        for one in made:
            reader.feed(one)
        return tracemalloc.get_traced_memory()[1] - begun
    finally:
        tracemalloc.stop()
