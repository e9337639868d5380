"""Answers that are read as they come: cut anywhere, they say the same as the whole; what is none is refused."""

from __future__ import annotations

import json

import pytest

from xnatctl.xnat.rows import CatalogUids, Rows

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
    catalog = CatalogUids()
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
    catalog = CatalogUids()
    catalog.feed(text)
    with pytest.raises(ValueError, match=problem):
        catalog.finish()
