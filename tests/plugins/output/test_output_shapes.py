"""Formats read back; progress said as often as promised; spreadsheets not tricked."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys

import pytest
import yaml

from xnatctl.model.document import Column, Document
from xnatctl.model.events import Event, EventKind
from xnatctl.testing.contracts import FormatterContract, read_csv, read_json_lines
from xnatctl_output import progress
from xnatctl_output.separated import Csv, Tsv
from xnatctl_output.structured import Json, Ndjson, Yaml
from xnatctl_output.table import Table

ODD = FormatterContract.ODD


class Shape(FormatterContract):
    def __init__(self, factory):
        self.factory = factory

    def make(self):
        return self.factory()


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


def test_a_table_in_a_narrow_terminal_folds_and_loses_nothing(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    shape = Shape(Table)
    text = shape.render(shape.document("x" * 60))
    assert text.count("x") == 60


@pytest.mark.parametrize("width", [50, 60, 90])
def test_a_narrow_terminal_folds_values_and_not_the_words_of_a_header(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    columns = tuple(Column(key=key, title=key) for key in ("id", "series description", "modality", "uid"))
    row = {"id": "XNAT_E00001", "series description": "T1 3D", "modality": "MR", "uid": "9" * 64}
    text = Shape(Table).render(Document(schema="x/1", data={}, columns=columns, rows=(row,)))
    lines = text.splitlines()
    assert all(len(line) <= width for line in lines)
    for word in ("description", "modality", "XNAT_E00001"):
        assert word in text, "the widest column is folded first"
    assert text.count("9") == 64


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


def run_events(count, *, quiet=False, twice=False):
    progress.observe(Event(kind=EventKind.RUN_STARTED, data={"files": count, "bytes": count, "quiet": quiet}))
    for number in range(count):
        for again in (False, True) if twice else (False,):
            data = {"path": f"f{number}", "outcome": "accepted", "bytes": 1, "again": again}
            progress.observe(Event(kind=EventKind.ITEM_DONE, data=data))
    progress.observe(Event(kind=EventKind.RUN_DONE))


@pytest.mark.parametrize(("count", "lines"), [(50, 1), (100, 1), (101, 2), (350, 4)])
def test_a_line_every_hundred_files(capsys, count, lines):
    run_events(count)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == lines
    assert said[-1] == f"{count} of {count} files sent"


def test_a_file_that_was_sent_twice_counts_once(capsys):
    run_events(150, twice=True)
    assert capsys.readouterr().err.splitlines() == ["100 of 150 files sent", "150 of 150 files sent"]


def test_a_trouble_that_many_meet_is_said_once_and_again_when_it_lasts(capsys):
    def retry(message, seconds):
        progress.observe(Event(kind=EventKind.RETRY, message=message, data={"seconds": seconds}))

    def deliver(path):
        progress.observe(Event(kind=EventKind.ITEM_DONE, data={"path": path, "outcome": "accepted", "bytes": 1}))

    progress.observe(Event(kind=EventKind.RUN_STARTED, data={"files": 90, "bytes": 90}))
    for seconds in (0.8, 0.7, 0.8, 1.6, 1.5):
        retry("busy", seconds)
    for number in range(5):
        retry("too large", 0)
        deliver(f"f{number}")
    retry("busy", 0.9)
    progress.observe(Event(kind=EventKind.RUN_DONE))
    assert capsys.readouterr().err.splitlines() == [
        "sending a batch again in 0.8 s: busy",
        "sending a batch again in 1.6 s: busy",
        "sending a batch again: too large",
        "sending a batch again in 0.9 s: busy",
    ]


def test_quiet_is_quiet_but_warnings_are_said(capsys):
    run_events(250, quiet=True)
    assert capsys.readouterr().err == ""
    progress.observe(Event(kind=EventKind.RUN_STARTED, data={"files": 1, "quiet": True}))
    progress.observe(Event(kind=EventKind.WARNING, message="mind \x1b[31mthis"))
    progress.observe(Event(kind=EventKind.RUN_DONE))
    assert capsys.readouterr().err == "Warning: mind \\x1b[31mthis\n"


def test_a_bar_on_a_terminal():
    """In a real pseudo-terminal: the bar counts files and ends at all of them."""
    code = (
        "from xnatctl_output import progress\nfrom xnatctl.model.events import *\nimport time\n"
        "progress.observe(Event(kind=EventKind.RUN_STARTED, data={'files': 3, 'bytes': 3 << 20}))\n"
        "for n in range(3):\n"
        "    progress.observe(Event(kind=EventKind.ITEM_DONE, data={'path': str(n), 'outcome': 'accepted', 'bytes': 1 << 20}))\n"
        "    progress._current[0]._bar.refresh()\n"
        "progress.observe(Event(kind=EventKind.RUN_DONE))\n"
    )
    master, slave = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run([sys.executable, "-c", code], stderr=slave, env=env, timeout=60, check=False)
    os.close(slave)
    shown = b""
    try:
        while piece := os.read(master, 65536):
            shown += piece
    except OSError:
        pass  # Linux ends a pseudo-terminal this way
    os.close(master)
    assert done.returncode == 0
    assert b"3/3 files" in shown
    assert b"3.0/3.0 MiB" in shown


def test_progress_counts_what_turns_out_to_be_there_already(capsys):
    """Of a run that begins with images nobody knows yet which files of its resources are on the server."""
    from xnatctl.api import Event, EventKind
    from xnatctl_output.progress import observe

    def tell(kind, **data):
        observe(Event(kind=kind, data=data))

    tell(EventKind.RUN_STARTED, files=3, bytes=30)
    tell(EventKind.ITEM_DONE, path="a", outcome="accepted", bytes=10)
    tell(EventKind.STAGE_STARTED, stage="r", skipped=1, skipped_bytes=10)
    tell(EventKind.ITEM_DONE, path="b", outcome="accepted", bytes=10)
    tell(EventKind.RUN_DONE)
    assert capsys.readouterr().err == "2 of 2 files sent\n"
