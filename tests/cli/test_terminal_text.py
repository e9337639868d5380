"""Prose on a terminal breaks between words, commands do not break; numbers are written as people write them."""

from __future__ import annotations

import importlib.util
import io
import re
import sys

import pytest

from xnatctl.cli.console import say
from xnatctl.cli.wrap import wrapped
from xnatctl.redaction import Redactor


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def shown(monkeypatch):
    def lines(width, text):
        monkeypatch.setenv("COLUMNS", str(width))
        return wrapped(text, Screen()).split("\n")

    return lines


PROSE = "Error: Session sess01 of project DEMO differs from what is on disk: 3 differences, first: series 1/im-0001 is missing."


@pytest.mark.parametrize("width", [40, 80, 120])
def test_prose_breaks_between_words_and_goes_on_indented(shown, width):
    lines = shown(width, PROSE)
    assert " ".join(line.strip() for line in lines) == PROSE
    assert max(map(len, lines)) <= width
    assert all(line.startswith("  ") for line in lines[1:])


COMMAND = "xnatctl session upload '/data/my exams, of 2024' -P DEMO -S subj01 -E sess01 --url http://127.0.0.1:8080"


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize(
    "text",
    [
        f"Next: {COMMAND}",
        f"Hint: The report names each one. To send what is missing: {COMMAND}",
        f"Hint: Show it with: {COMMAND} or replace existing files and add the rest with: {COMMAND}",
        f"Hint: Run {COMMAND}, then run the same command once more, as often as it is needed.",
        f"Hint: Finish it ({COMMAND}). Nothing that the server took so far is sent again.",
    ],
)
def test_a_command_stays_on_one_line(shown, width, text):
    lines = shown(width, text)
    assert sum(COMMAND in line for line in lines) == text.count(COMMAND)
    assert all(len(line) <= width or COMMAND in line for line in lines)
    assert " ".join(line.strip() for line in lines) == text


def test_paths_and_uids_stay_whole(shown):
    assert "  series 1/2.25.6707217" in shown(
        60, "invalid: 1 of 60 files was not delivered, namely series 1/2.25.6707217"
    )
    path = "/data/" + "very-long-name-of-a-folder/" * 4 + "im-0001.dcm"
    assert any(path in line for line in shown(40, f"Error: {path} cannot be read: permission denied."))


TREE = [
    "├── series 2/                 -> session s01_exam (120 files, 356.8 KiB, 1 MR series)",
    "│   └── skipped: 6 x not DICOM, in a folder with DICOM (--attach-nested LABEL attaches it): notes.txt",
    "├── Stimulus presentation and behavioural logs/  -> resource Stimulus_presentation_and_behavioural_logs (2 files)",
    "└── not text                  cannot be sent: its name is not text that XNAT's catalog can hold (control characters)",
]


def test_a_tree_goes_on_in_its_column_and_keeps_its_branches(shown):
    assert [line for node in TREE for line in shown(80, node)] == [
        "├── series 2/                 -> session s01_exam (120 files, 356.8 KiB, 1 MR",
        "│                             series)",
        "│   └── skipped: 6 x not DICOM, in a folder with DICOM (--attach-nested LABEL",
        "│         attaches it): notes.txt",
        "├── Stimulus presentation and behavioural logs/  -> resource",
        "│     Stimulus_presentation_and_behavioural_logs (2 files)",
        "└── not text                  cannot be sent: its name is not text that XNAT's",
        "                              catalog can hold (control characters)",
    ]
    assert [line for node in TREE for line in shown(160, node)] == TREE


def test_what_is_no_terminal_gets_lines_as_they_are():
    assert wrapped(PROSE, io.StringIO()) == PROSE


def test_a_name_cannot_pass_for_a_line_of_ours(shown):
    lines = shown(40, "Error: Cannot read the file 12345678901234 Error: all is well, really, and it is.")
    assert [line for line in lines if line.startswith("Error")] == [lines[0]]


def test_help_says_no_mathematics(xnatctl):
    for command in (
        ["session", "upload"],
        ["session", "upload-dicom"],
        ["sandbox", "start"],
        ["config", "set-profile"],
    ):
        out = xnatctl(*command, "--help").out
        assert not re.search(r"\bx[<>]|[<>]=?x|RANGE|default: \d+\.0\b", out), out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["session", "upload", ".", "--workers", "0"], "0 is not at least 1."),
        (["session", "upload", ".", "--timeout", "0"], "0 is not more than 0."),
        (["session", "upload", ".", "--workers", "1.5"], "'1.5' is not a whole number."),
        pytest.param(
            ["sandbox", "start", "--port", "70000"],
            "70000 is more than 65535.",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("werkzeug") is None, reason="the sandbox extra is not installed"
            ),
        ),
    ],
)
def test_a_number_beyond_its_limits_says_the_limit(xnatctl, arguments, message):
    assert message in xnatctl(*arguments).err


def test_settings_are_printed_as_they_are_written(xnatctl):
    done = xnatctl("config", "set-profile", "a", "--url", "http://127.0.0.1:9", "--timeout", "43200")
    assert "43200" in done.out.split()
    shown = xnatctl("config", "show")
    assert [line.split()[1:3] for line in shown.out.splitlines() if line.startswith("timeout")] == [["12", "h"]]
    assert "timeout,43200,12 h," in xnatctl("config", "show", "-o", "csv").out
    assert ".0 " not in shown.out


RED, YELLOW, BOLD = "\x1b[1;38;5;160m", "\x1b[1;38;5;130m", "\x1b[1m"


@pytest.fixture
def said(monkeypatch):
    """What `say` prints on a screen, with these variables."""

    def printed(text, *, plain=False, screen=Screen, **variables):
        for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("COLUMNS", "40")
        monkeypatch.setattr(sys, "stderr", screen())
        say(text, Redactor(), plain=plain)
        return sys.stderr.getvalue()

    return printed


@pytest.mark.parametrize(
    ("label", "code"), [("Error", RED), ("Warning", YELLOW), ("Hint", BOLD), ("More", BOLD), ("Next", BOLD)]
)
def test_a_label_has_a_colour_and_the_text_is_the_same(said, label, code):
    text = f"{label}: Cannot reach the server. Error: this is no label, and the line is long."
    plain = said(text, NO_COLOR="1")
    assert said(text) == f"{code}{label}:\x1b[0m{plain.removeprefix(f'{label}:')}"
    assert max(map(len, plain.splitlines())) <= 40, "codes take no room"


def test_a_label_whose_text_begins_in_the_next_line_has_its_colour(said):
    assert said(f"More: https://{'x' * 40}").startswith(f"{BOLD}More:\x1b[0m\n  https://")


def test_colours_can_be_switched_off_and_on(said):
    text = "Error: Interrupted."
    for plain in (
        said(text, NO_COLOR="1", FORCE_COLOR="1"),
        said(text, TERM="dumb"),
        said(text, plain=True),
        said(text, screen=io.StringIO),
    ):
        assert plain == f"{text}\n"
    assert said(text, screen=io.StringIO, FORCE_COLOR="1").startswith(RED)
    assert said("Errors: 3") == "Errors: 3\n"
    assert said("  Error: of another") == "  Error: of another\n"


def test_a_table_has_the_labels_of_its_lines_in_bold(xnatctl):
    forced, forbidden = {"FORCE_COLOR": "1", "NO_COLOR": ""}, {"FORCE_COLOR": "1", "NO_COLOR": "1"}
    command = ("config", "set-profile", "a", "--url", "http://127.0.0.1:9")
    assert f"{BOLD}Next:\x1b[0m xnatctl auth login" in xnatctl(*command, env=forced).out
    assert "\x1b" not in xnatctl(*command, env=forbidden).out
    refused = ("session", "nothing", "--no-color")
    assert xnatctl(*refused, env=forced).err.startswith("Error: ")
    assert xnatctl(*refused[:2], env=forced).err.startswith(f"{RED}Error:")
