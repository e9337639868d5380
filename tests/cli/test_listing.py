"""The rows and columns of a list: `--columns`, `--filter`, `--sort-by`, `--limit`."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from xnatctl.cli.listing import Listing, parse_condition, parse_sort
from xnatctl.errors import UsageError, XnatctlError
from xnatctl.model.document import Column, Document
from xnatctl.model.words import shown_of

COLUMNS = (
    Column(key="id"),
    Column(key="series_description", title="Description", drop=1),
    Column(key="files", numeric=True),
    Column(key="bytes", title="Size", numeric=True, size=True, drop=2),
    Column(key="usable"),
    Column(key="updated", time=True, detail=True),
)
ROWS = [
    {"id": "10", "series_description": "T1 MPRAGE", "files": 176, "bytes": 20 << 20, "usable": True,
     "updated": "2026-03-02T10:00:00+01:00"},
    {"id": "9", "series_description": "localizer", "files": 3, "bytes": 900, "usable": False,
     "updated": "2026-03-01T23:30:00+00:00"},
    {"id": "1-MR2", "series_description": "", "files": None, "bytes": None, "usable": None, "updated": ""},
    {"id": "2", "series_description": "T1 map [b]", "files": 30, "bytes": 10 << 20, "usable": True,
     "updated": "2026-02-28T00:00:00Z"},
]  # fmt: skip


def document(rows=ROWS):
    return Document(
        schema="x/1",
        data={"schema": "x/1", "of": "s01", "scans": [{**row, "more": [1]} for row in rows]},
        columns=COLUMNS,
        rows=rows,
        identifiers=tuple(row["id"] for row in rows),
        listed="scans",
        drawing=("drawn",),
    )


def of(*filters, columns=(), sort=(), limit=None):
    listing = Listing(
        columns=columns, conditions=tuple(map(parse_condition, filters)), sort=tuple(map(parse_sort, sort)), limit=limit
    )
    return listing.of(document())


def ids(*filters, **more):
    shown, _ = of(*filters, **more)
    found = [row["id"] for row in shown.rows]
    assert list(shown.identifiers) == [entry["id"] for entry in shown.data["scans"]] == found
    return found


@pytest.fixture
def greenwich(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    tzset = getattr(time, "tzset", lambda: None)
    tzset()
    yield
    monkeypatch.undo()
    tzset()


@pytest.mark.usefixtures("greenwich")
@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("id=9", ["9"]),
        ("ID != 9", ["10", "1-MR2", "2"]),
        ("updated=2026-03-02 09:00:00", ["10"]),  # as the table shows it
        ("updated=2026-03-02 09:00", ["10"]),
        ("updated>2026-03-01 23:29:59", ["10", "9"]),
        ("description=LOCALIZER", ["9"]),  # by title, without regard to case
        ("Series-Description=t1*", ["10", "2"]),
        ("description=*[b]", ["2"]),  # nothing but * and ? is special
        ("description~map [", ["2"]),
        ("description=T1", []),
        ("description=", ["1-MR2"]),
        ("description!=", ["10", "9", "2"]),
        ("files>30", ["10"]),
        ("files>=30", ["10", "2"]),
        ("files = 30.0", ["2"]),
        ("files!=30", ["10", "9", "1-MR2"]),
        ("files<=0", []),
        ("size>10MiB", ["10"]),
        ("size>=10 MiB", ["10", "2"]),
        ("bytes<1k", ["9"]),
        ("usable=yes", ["10", "2"]),
        ("usable=False", ["9"]),
        ("id>9", ["10"]),  # natural order: 1-MR2 is before 9
        ("updated>2026-02-28", ["10", "9"]),
        ("updated>=2026-02-28", ["10", "9", "2"]),
        ("updated=2026-03-02T09:00:00Z", ["10"]),
        ("updated=2026-03-0?T*", ["10", "9"]),
        ("updated>=2026-03", ["10", "9"]),
    ],
)
def test_a_filter_compares_by_the_type_of_the_column(condition, expected):
    assert ids(condition) == expected


def test_conditions_hold_together():
    assert ids("description~t1", "files<100") == ["2"]


def test_a_value_may_hold_what_an_operator_consists_of():
    condition = parse_condition(" path = a=b<c ")
    assert (condition.column, condition.operator, condition.wanted) == ("path", "=", "a=b<c")
    assert parse_condition("id==9") == parse_condition("id=9")


@pytest.mark.parametrize("text", ["path=~a", "id", "=9", "id!9", "", "files<"])
def test_what_is_no_condition_is_refused(text):
    with pytest.raises(UsageError):
        parse_condition(text)


@pytest.mark.parametrize("condition", ["files>many", "size=10XB", "usable=perhaps", "updated=yesterday"])
def test_a_value_of_another_type_is_refused(condition):
    with pytest.raises(UsageError, match="the value is not"):
        of(condition)


@pytest.mark.parametrize(
    "asked", [{"columns": ("id", "fils")}, {"sort": ("-fils",)}, {"columns": ("id", "")}, {"columns": ("",)}]
)
def test_an_unknown_column_is_refused_with_those_that_there_are(asked):
    with pytest.raises(UsageError) as error:
        of(**asked)
    assert "id, series_description, files, bytes, usable, updated" in str(error.value.hint)


def test_a_time_is_compared_with_a_time_alone():
    for sign in ("<", ">", "<=", ">="):
        with pytest.raises(UsageError, match="the value is not a day or a time such as"):
            of(f"updated{sign}yesterday")


def test_rows_are_sorted_by_type_and_those_without_a_value_come_last():
    assert ids(sort=("id",)) == ["1-MR2", "2", "9", "10"]
    assert ids(sort=("files",)) == ["9", "2", "10", "1-MR2"]
    assert ids(sort=("-files",)) == ["10", "2", "9", "1-MR2"]
    assert ids(sort=("updated:desc",)) == ["10", "9", "2", "1-MR2"]
    assert ids(sort=("usable:desc", "size")) == ["2", "10", "9", "1-MR2"]


def test_a_limit_applies_last_and_says_what_it_left_out():
    shown, line = of("files>1", sort=("id",), limit=1)
    assert [row["id"] for row in shown.rows] == ["2"]
    assert line == "Left out 3 of 4 rows: 1 by --filter, 2 by --limit."
    assert of(limit=4)[1] == ""
    assert of("files>999999")[1] == "No row matches --filter. Left out 4 of 4 rows: 4 by --filter."


def test_what_is_said_below_a_list_is_about_the_rows_that_are_shown():
    def lines(rows, total):
        return [f"{shown_of(len(rows), total, 'scan')}: {', '.join(row['id'] for row in rows)}"]

    whole = replace(document(), summary=tuple(lines(ROWS, 4)), summarize=lines)
    assert Listing().of(whole)[0].summary == ("4 scans: 10, 9, 1-MR2, 2",)
    assert Listing(sort=(("id", False),), limit=2).of(whole)[0].summary == ("2 of 4 scans: 1-MR2, 2",)
    none = Listing(conditions=(parse_condition("files>999"),)).of(whole)[0]
    assert none.summary == ("0 of 4 scans: ",)


def test_columns_are_chosen_and_ordered_in_every_part_of_the_document():
    shown, _ = of(columns=("Size", "updated", "ID"), limit=1)
    assert [column.key for column in shown.columns] == ["bytes", "updated", "id"]
    assert not any(column.detail or column.drop for column in shown.columns)
    assert [list(row) for row in shown.rows] == [["bytes", "updated", "id"]]
    assert shown.data["scans"] == [{"bytes": 20 << 20, "updated": ROWS[0]["updated"], "id": "10"}]
    assert shown.data["of"] == "s01"
    assert shown.drawing == ()


def test_the_columns_of_a_document_that_is_no_list():
    whole = Document(
        schema="x/1", data={"schema": "x/1", "user": None, "state": "on"}, columns=(Column(key="user"), Column(key="state")),
        rows=[{"user": "", "state": "on"}], identifiers=("me",),
    )  # fmt: skip
    shown, _ = Listing(columns=("user",)).of(whole)
    assert shown.data == {"schema": "x/1", "user": None}
    assert shown.identifiers == ("me",)


def test_a_document_that_does_not_name_its_list_is_not_printed_unfiltered():
    unnamed = Document(schema="x/1", data={"scans": ROWS}, columns=COLUMNS, rows=ROWS, identifiers=("a", "b", "c", "d"))
    with pytest.raises(XnatctlError, match="listed"):
        Listing(limit=1).of(unnamed)


def test_without_rows_every_column_can_be_named():
    shown, line = Listing(columns=("files",), conditions=(parse_condition("files>1"),)).of(document([]))
    assert (list(shown.rows), line, shown.data["scans"]) == ([], "", [])
