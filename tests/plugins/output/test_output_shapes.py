"""Formats read back; spreadsheets not tricked."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from dataclasses import replace

import pytest
import yaml

from xnatctl.model.document import Column, Document
from xnatctl.model.words import counted, listed, part_of
from xnatctl.testing import FormatterContract
from xnatctl_output.separated import Csv, Tsv
from xnatctl_output.states import GREEN, RED, YELLOW
from xnatctl_output.structured import Json, Ndjson, Yaml
from xnatctl_output.table import Table

ODD = FormatterContract.ODD


def read_csv(text, delimiter=","):
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


def read_json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


class Shape(FormatterContract):
    def __init__(self, factory):
        self.factory = factory

    def make(self):
        return self.factory()

    def render(self, document):
        """Without the watch of the contract, which replaces the terminal that a test is about."""
        out = io.StringIO()
        self.make().render(document, out)
        return out.getvalue()


def test_json_keeps_names_that_are_not_utf8():
    shape = Shape(Json)
    assert json.loads(shape.render(shape.document(ODD)))["files"][0]["name"] == ODD


def test_ndjson_is_one_value_per_line():
    shape = Shape(Ndjson)
    assert [row["name"] for row in read_json_lines(shape.render(shape.document(ODD, "b")))] == [ODD, "b"]
    assert read_json_lines(shape.render(Document(schema="x/1", data={"a": 1}))) == [{"a": 1}]


def test_yaml_is_plain():
    shape = Shape(Yaml)
    assert yaml.safe_load(shape.render(shape.document("ü日", "1.2.840")))["files"][1]["name"] == "1.2.840"


@pytest.mark.parametrize(("factory", "delimiter"), [(Csv, ","), (Tsv, "\t")])
def test_separated_values_run_no_formula(factory, delimiter):
    shape = Shape(factory)
    names = ("=cmd()", "+1", "-1", "@x", 'a"b', "a,b", "a\tb", "plain")
    rows = read_csv(shape.render(shape.document(*names)), delimiter)
    assert [row["name"] for row in rows][:4] == ["'=cmd()", "'+1", "'-1", "'@x"]
    assert [row["name"] for row in rows][4:6] == ['a"b', "a,b"]
    assert rows[-1]["name"] == "plain"
    assert rows[7]["size"] == "7"


@pytest.mark.parametrize("factory", [Csv, Tsv])
def test_separated_values_leave_no_cr_in_a_shell_variable(factory):
    shape = Shape(factory)
    text = shape.render(shape.document("one\rtwo", "three\r\nfour", "five"))
    assert "\r" not in text
    assert [row["name"] for row in read_csv(text, "," if factory is Csv else "\t")] == [
        "one\\x0dtwo",
        "three\\x0d\nfour",
        "five",
    ]


class Screen(io.StringIO):
    """A terminal, as far as a formatter looks at it."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def draw(monkeypatch):
    """Draws columns and rows on a terminal of some width, or without one; returns the lines."""

    def drawn(width, columns, *rows, **more):
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("COLUMNS", str(width or 40))
        monkeypatch.setattr(sys, "stdout", Screen() if width else io.StringIO())
        document = Document(schema="x/1", data={}, columns=columns, rows=rows, **more)
        text = Shape(Table).render(document)
        monkeypatch.undo()
        return [line.rstrip() for line in text.splitlines()]

    return drawn


UID = "1.2.826.0.1.3680043.8.498." + "9" * 30
SCANS = (
    Column(key="id"),
    Column(key="label"),
    Column(key="description", fit="cut"),
    Column(key="quality", drop=1),
    Column(key="uid", drop=2),
)
SCAN = {
    "id": "XNAT_E00001",
    "label": "日本語_session_1",
    "description": "t1_mprage_sag_p2_iso_1.0",
    "quality": "usable",
    "uid": UID,
}


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200, None])
def test_a_table_fits_and_identifiers_stay_whole(draw, width):
    lines = draw(width, SCANS, SCAN, {**SCAN, "label": "b"}, title=f"{UID} and what it holds", summary=(UID,))
    head = lines[1].split()
    (row,) = [line for line in lines if "日本語" in line]
    assert row.split()[:2] == [SCAN["id"], SCAN["label"]]
    shown = {40: [], 60: ["Quality"], 80: ["Quality"]}.get(width, ["Quality", "UID"])
    assert head == ["ID", "Label", "Description", *shown]
    assert (UID in row) == ("UID" in head)
    assert lines[0].startswith(UID), "a title is not broken"
    assert lines[-1] == UID, "nor is a summary"
    left_out = [name for name in ("Quality", "UID") if name not in head]
    said = f"Not shown: {', '.join(left_out)} (-o csv has all columns)."
    assert (said in " ".join(line.strip() for line in lines)) == bool(left_out)
    assert len(row) + len("日本語") <= max(width or 1000, 45), "a wide character takes two cells"
    assert (SCAN["description"] in row) == (width in (80, 200, None))
    assert ("…" in row) == (width in (40, 60, 120))


def test_states_are_broken_before_a_table_with_long_identifiers_is_too_wide(draw):
    uids = [f"2.25.{digit * 58}" for digit in "12"]
    columns = (
        Column(key="series"),
        Column(key="files", drop=2),
        Column(key="size", drop=3),
        Column(key="state", fit="wrap"),
    )
    rows = [{"series": uid, "files": 60, "size": 9, "state": "1 ambiguous, 58 verified, 1 not sent"} for uid in uids]
    lines = draw(80, columns, *rows)
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if line.startswith("2.25.")] == uids
    words = " ".join(line.removeprefix(uids[0]).strip() for line in lines[2:])
    assert words.startswith("1 ambiguous, 58 verified, 1 not sent")


def test_what_must_stay_may_be_longer_than_the_screen(draw):
    lines = draw(40, (Column(key="uid"), Column(key="path")), *({"uid": UID, "path": "a b/c"} for _ in range(2)))
    assert lines[2:] == [f"{UID}   a b/c"] * 2


def test_a_message_goes_on_below_between_words(draw):
    columns = (Column(key="check"), Column(key="message", fit="wrap"))
    row = {"check": "server", "message": "Cannot reach https://xnat.example.org/a/long/path/to/it: no route to host."}
    lines = draw(60, columns, row, row)
    assert lines[2:4] == [
        "server   Cannot reach",
        "         https://xnat.example.org/a/long/path/to/it: no",
    ]


def test_a_single_row_of_which_nothing_may_be_left_out_is_a_list(draw):
    columns = (Column(key="profile_name"), Column(key="url"), Column(key="note"))
    row = {"profile_name": "lab", "url": "https://xnat.example.org", "note": None}
    assert draw(30, columns, row) == ["Profile name   lab", "URL            https://xnat.example.org"]
    assert draw(80, columns, row)[0].split() == ["Profile", "name", "URL", "Note"]


def test_an_empty_column_that_may_be_left_out_is_not_shown_on_a_terminal(draw):
    columns = (Column(key="name"), Column(key="reason", drop=1))
    assert draw(80, columns, {"name": "a", "reason": None})[0] == "Name"
    assert draw(None, columns, {"name": "a", "reason": None})[0].split() == ["Name", "Reason"]
    assert draw(10, (Column(key="uid", drop=1), Column(key="b", drop=2)), {"uid": UID, "b": 1})[2] == UID


def test_a_variable_that_is_no_number_does_not_matter(monkeypatch):
    monkeypatch.setenv("COLUMNS", "wide")
    shape = Shape(Table)
    assert "x" * 60 in shape.render(shape.document("x" * 60))


def test_a_warning_that_stderr_showed_is_not_repeated():
    lines = ("Warning: mind: this", "Warning: sess_2: mind: this", "Warning: mind: that", "mind: this")
    text = Shape(Table).render(Document(schema="x/1", data={}, summary=lines, announced=frozenset({"mind: this"})))
    assert text.splitlines() == ["Warning: mind: that", "mind: this"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_table_for_another_encoding_is_ruled_in_ascii(monkeypatch, encoding):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    document = Document(schema="x/1", data={}, columns=(Column(key="a", title="A"),), rows=({"a": 1},))
    text = Shape(Table).render(document)
    assert text.splitlines()[1] == "-"
    assert text.encode(encoding)


def test_summary_lines_follow_the_table():
    document = Document(
        schema="x/1", data={}, columns=(Column(key="a", title="A"),), rows=({"a": 1},), summary=("the end",)
    )
    text = Shape(Table).render(document)
    assert text.rstrip().endswith("the end")


STATES = (Column(key="name"), Column(key="state"))


_COLOURS_OF_WINDOWS = pytest.mark.skipif(sys.platform == "win32", reason="Windows says how many colours a console has")


@pytest.mark.parametrize("terminal", [pytest.param(True, marks=_COLOURS_OF_WINDOWS), False])
def test_states_are_coloured_and_nothing_but_states(monkeypatch, terminal):
    """Also without a terminal, where FORCE_COLOR asks for it; the words stay."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stdout", Screen() if terminal else io.StringIO())
    rows = [{"name": "failed", "state": "3 failed, 97 verified, 2 not sent"}, {"name": "b", "state": "UNVERIFIED"}]
    document = Document(schema="x/1", data={}, columns=STATES, rows=rows, color=True)
    text = Shape(Table).render(document)
    plain = Shape(Table).render(replace(document, color=False))
    for number, words in ((RED, "3 failed"), (GREEN, "97 verified"), (YELLOW, "2 not sent")):
        assert f"\x1b[38;5;{number}m{words}\x1b[" in text
    assert text.count("\x1b[38") == 3
    assert re.sub("\x1b\\[[0-9;]*m", "", text) == plain
    assert "\x1b" not in plain


@pytest.mark.parametrize("color", [GREEN, YELLOW, RED])
def test_colours_of_states_can_be_read_on_black_and_on_white(color):
    """The contrast of WCAG 2, as large text needs it."""
    levels = (0, 95, 135, 175, 215, 255)
    code = color - 16
    linear = [
        (value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4)
        for value in (levels[code // 36], levels[code // 6 % 6], levels[code % 6])
    ]
    bright = sum(share * value for share, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    assert (bright + 0.05) / 0.05 > 3.8
    assert 1.05 / (bright + 0.05) > 3.8


def test_counts_have_separators_for_people_alone():
    """A number that names something, such as that of a row, has none."""
    row = {"row": 2001, "files": 1001, "frames": "1500", "state": "1001 verified, 12000 failed", "name": "1001 nights"}
    columns = (
        Column(key="row", numeric=True), Column(key="files", numeric=True, count=True),
        Column(key="frames", count=True), Column(key="state"), Column(key="name"),
    )  # fmt: skip
    document = Document(schema="x/1", data={"rows": [row]}, listed="rows", columns=columns, rows=[row])
    table = Shape(Table).render(document).splitlines()[-1]
    assert re.split(r"   +", table.strip()) == [
        "2001",
        "1,001",
        "1,500",
        "1,001 verified, 12,000 failed",
        "1001 nights",
    ]
    assert read_csv(Shape(Csv).render(document)) == [{key: str(value) for key, value in row.items()}]
    assert json.loads(Shape(Json).render(document))["rows"] == [row]
    assert yaml.safe_load(Shape(Yaml).render(document))["rows"] == [row]


def test_words_count_with_separators():
    assert [counted(number, "file") for number in (0, 1, 999, 1000)] == [
        "0 files",
        "1 file",
        "999 files",
        "1,000 files",
    ]
    assert part_of(1001, 12000, "file") == "1,001 of 12,000 files"
    assert listed(["a"] * 2000) == "a, a, a and 1,997 more"
