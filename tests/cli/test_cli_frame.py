"""Exit codes, one document on stdout whatever happens, suggestions, safe text."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from systems import needs_bash

import xnatctl.errors as errors
from xnatctl.cli.console import printable
from xnatctl.cli.main import _early_output
from xnatctl.model.commands import Commands
from xnatctl.model.refs import PrearchiveRef
from xnatctl.operating_system.command_line import quote_word

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
    given = ["session", "upload", "my dir", "--password", "s3cret", "--dry-run", "-P", "P"]
    assert Commands(arguments=given).rerun() == f"xnatctl session upload {quote_word('my dir')} -P P"
    assert "s3cret" not in Commands(arguments=["--password=s3cret"]).rerun()


def test_flags_of_a_command_to_run_again_precede_its_paths():
    """After `--` they would be paths."""
    made = Commands(arguments=["upload", "--dry-run", "--", "-d", "--no-resume"], server=[["--url", "http://x"]])
    assert made.rerun() == "xnatctl upload --url http://x -- -d --no-resume"


def test_a_row_of_the_prearchive_can_be_pasted_into_a_shell():
    assert (
        str(PrearchiveRef(project="DEMO", timestamp="20240115_120000", folder="a b"))
        == f"DEMO 20240115_120000 {quote_word('a b')}"
    )


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


@pytest.mark.parametrize("arguments", [(), ("session",), ("plugins",)])
def test_a_group_alone_says_what_there_is(xnatctl, arguments):
    done = xnatctl(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: xnatctl")
    assert "Commands:" in done.err
    assert "Error" not in done.err


def test_an_option_before_its_command_is_told_its_place(xnatctl):
    done = xnatctl("-o", "json", "session", "list")
    assert "xnatctl COMMAND -o" in done.document["error"]["hint"]


@pytest.mark.parametrize("option", ["-P", "-S", "-E"])
def test_an_empty_name_is_an_unset_variable_of_a_script(xnatctl, option):
    names = {"-P": "p", "-S": "s", "-E": "e", option: ""}
    done = xnatctl("session", "upload", "x", *[word for pair in names.items() for word in pair])
    assert done.code == 2
    assert "is empty" in done.err


def run(environment, redirection, *arguments, **variables):
    """The command behind a shell redirection."""
    line = f'exec "$0" -m xnatctl "$@" {redirection}'
    return subprocess.run(
        ["bash", "-c", line, sys.executable, *arguments],
        env={**environment, **variables}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip


@needs_bash
@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_end_in_silence(environment, redirection):
    done = run(environment, redirection, "plugins", "list")
    assert done.returncode == 0
    assert done.stderr == b""
    assert (b"zip" in done.stdout) == (">&-" not in redirection.replace("2>&-", ""))


@needs_bash
def test_with_stderr_closed_stdout_is_still_one_document(environment):
    done = run(environment, "2>&-", "plugins", "show", "nobody", "-o", "json")
    assert json.loads(done.stdout)["error"]["code"] == "not-found"


@needs_bash
def test_a_full_disk_behind_stdout_is_said(environment):
    done = run(environment, "> /dev/full", "plugins", "list")
    assert done.returncode == 1
    assert done.stderr.decode().strip() == "Error: Cannot write to standard output: No space left on device."


@needs_bash
def test_an_encoding_without_our_characters_is_no_failure(environment, install):
    env = install("größe", "")
    done = run({**environment, **env}, "", "plugins", "list", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert b"gr\\xf6\\xdfe" in done.stdout
    assert b"----" in done.stdout


@needs_bash
def test_a_reader_that_leaves_is_no_error(xnatctl, environment, tmp_path):
    line = f"{sys.executable} -m xnatctl plugins list -o json | head -c 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], env=environment, capture_output=True, timeout=60, check=False
    )
    assert done.stderr == b""


def test_a_format_that_is_not_there_is_said_once(xnatctl):
    done = xnatctl("plugins", "list", "-o", "xml")
    assert done.code == 2
    assert done.err.count("There is no output format 'xml'") == 1


@pytest.mark.parametrize("given", [("--password", "c4n4ry-pass"), ("--password=c4n4ry-pass",)])
def test_an_error_of_parsing_repeats_no_password(xnatctl, given):
    done = xnatctl("session", "list", *given, "--timeout", "c4n4ry-pass", "-o", "json")
    assert done.code == 2
    assert "[secret]" in done.err
    assert "c4n4ry" not in done.out + done.err


@pytest.mark.parametrize("module", ["click", "xnatctl.cli.app", "xnatctl.inventory.progress"])
def test_an_interrupt_during_the_imports_prints_no_traceback(environment, module):
    program = (
        "import sys, runpy\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "runpy.run_module('xnatctl', run_name='__main__')\n"
    )
    command = [sys.executable, "-c", program, "plugins", "list"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Error: Interrupted.\n")
