"""Exit codes, one document on stdout whatever happens, suggestions, safe text."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import xnatctl.errors as errors
from xnatctl.cli.console import printable
from xnatctl.cli.main import _early_output
from xnatctl.cli.uploading import command_line

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["sesion", "list"], 2),
        (["session", "uplaod"], 2),
        (["session", "list"], 2),
        (["session", "upload", "x", "-P", "p", "-S", "s", "-E", "e", "--workers", "0"], 2),
        (["session", "upload", "x", "-P", "p", "-S", "s", "-E", "e", "--workers", "-3"], 2),
        (["session", "upload", "x", "-P", "p", "-S", "s", "-E", "e", "--mode", "zap"], 2),
        (["session", "upload", "x", "-P", "p", "-S", "s", "-E", "e", "--overwrite", "maybe"], 2),
        (["session", "list", "-P", "DEMO"], 2),
        (["plugins", "show", "nobody"], 2),
    ],
)
def test_errors_are_one_document_and_one_message(xnatctl, arguments, code):
    done = xnatctl(*arguments, "-o", "json")
    assert done.code == code, done.err
    assert done.document["error"]["exit_code"] == code
    assert done.document["error"]["message"] in done.err
    assert "Traceback" not in done.err
    plain = xnatctl(*arguments)
    assert plain.code == code
    assert plain.out == ""


@pytest.mark.parametrize("fmt", ["yaml", "ndjson", "csv", "tsv"])
def test_errors_come_in_the_format_that_was_asked_for(xnatctl, fmt):
    done = xnatctl("session", "list", "-P", "DEMO", "-o", fmt)
    assert done.code == 2
    assert "config" in done.out


def test_an_unknown_format_is_refused_with_what_there_is(xnatctl):
    done = xnatctl("plugins", "list", "-o", "jsn")
    assert done.code == 2
    assert "Did you mean json?" in done.err


@pytest.mark.parametrize(
    ("arguments", "found"),
    [(["-o", "json"], "json"), (["--output=yaml"], "yaml"), (["-ojson"], "json"), (["a", "--output", "csv"], "csv"), (["-o"], None), ([], None)],
)  # fmt: skip
def test_the_format_is_known_even_if_parsing_fails(arguments, found):
    assert _early_output(arguments) == found


def test_the_command_to_run_again_holds_no_secret():
    line = command_line(["session", "upload", "my dir", "--password", "s3cret", "--dry-run", "-P", "P"])
    assert line == "xnatctl session upload 'my dir' -P P"
    assert "s3cret" not in command_line(["--password=s3cret"])


def test_terminal_text_is_shown_not_obeyed():
    assert printable("a\x1b[31mb\r\udcff\u202e") == "a\\x1b[31mb\\x0d\\xff\\u202e"
    assert printable("Größe 日本\nline") == "Größe 日本\nline"


def test_the_table_of_exit_codes_is_what_the_errors_say():
    page = (DOCS / "reference" / "exit-codes.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", page, re.MULTILINE))
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.XnatctlError)]
    assert {name: int(code) for name, code in rows.items()} == {c.code: c.exit_code for c in classes}


def test_quiet_prints_identifiers_only(xnatctl):
    done = xnatctl("plugins", "list", "-q")
    assert "zip" in done.out.split()
    assert all(" " not in line for line in done.out.splitlines())


def test_a_reader_that_leaves_is_no_error(xnatctl, environment, tmp_path):
    import subprocess
    import sys

    line = f"{sys.executable} -m xnatctl plugins list -o json | head -c 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], env=environment, capture_output=True, timeout=60, check=False
    )
    assert done.stderr == b""
