"""Every ```console block of a page is run in its order, at a terminal, and what is printed is compared with the page.

In a block a line that begins with `$ ` is a command, and the lines below it are what it prints, without progress. `...`
stands for anything: as a line for any number of lines, within a line for the rest of a word or more. Use it for what
differs between machines, and for a list that the reader has just seen. A command with nothing below it may print anything.
A command fails only where the page shows its `Error:`, or prints its exit code by `echo $?`. Values that differ from run to
run are declared in `VARIES`; a command further down that repeats one gets the real value.

HTML comments, which readers do not see, tell the test the rest. A block inside of a comment is run like the others. One line
before a block holds for this block, or for the rest of the page where that is said:

    <!-- not run: REASON -->
    <!-- needs: PROGRAM -->             the block is left out where PROGRAM is not installed
    <!-- types: ANSWER -->              the answer to a question of the block
    <!-- file: PATH -->                 the next block, of any language, is the content of this file; PATH is relative to
                                        the folder where the page begins
    <!-- follows: PAGE, up to ## N -->  begin where the reader of that page is before its section N
    <!-- for: TEXT, read: TEXT -->      in each command of the rest of the page
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from programs import system_program
from terminal import COLUMNS, Terminal

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
#: How to work on the repository itself: their blocks run the test suite, or benchmarks.
FOR_DEVELOPERS = {ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"}
PAGES = [
    page
    for page in sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md")])
    if page not in FOR_DEVELOPERS and "```console\n" in page.read_text()
]
VARIES = {
    "port": r"(?<=127\.0\.0\.1[: ])\d+|(?<=--port )\d+|(?<=_PORT=)\d+",
    "row": r"\d{8}_\d{9}",
    "instant": r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[+-]\d\d:\d\d|Z)?",
    "duration": r"\d+\.\d s",
    "upload": r"\b[0-9a-f]{16}\b",
}
_VARYING = re.compile("|".join(f"(?P<{kind}>{form})" for kind, form in VARIES.items()))
_PIECE = re.compile(
    r"^<!-- (not run|needs|types|follows|for): ([^\n]*) -->$|^```console\n(.*?)^```$"
    r"|^<!-- file: (?P<file>[^\n]*) -->\n```\w+\n(?P<content>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
#: Progress. A terminal that can move its cursor shows one line in their place, and erases it at the end.
_PROGRESS = re.compile(
    r"^(?:\d+ of \d+ files? sent, .*|\d+ of \d+ rows proven,(?: \d+ failed,)? \d+ of \d+ files, .*|"
    r"(?:the server is|comparing resource|waiting until|waiting for|archiving as) .*)\n",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Command:
    line: str
    shown: str  # what the page shows below it
    fails: bool


@dataclass(frozen=True)
class Block:
    commands: tuple[Command, ...]
    at: int  # where in the text
    typed: tuple[str, ...] = ()
    file: str = ""  # what is written in place of commands
    content: str = ""


@dataclass
class Script:
    """What a page asks of the test."""

    blocks: list[Block] = field(default_factory=list)
    not_run: list[tuple[str, str]] = field(default_factory=list)  # (first command, reason)
    follows: tuple[Path, str] | None = None
    instead: list[tuple[str, str]] = field(default_factory=list)


def commands(text: str) -> Iterator[Command]:
    pieces = re.split(r"^\$ ", text.replace("\\\n", ""), flags=re.MULTILINE)
    assert not pieces[0].strip(), f"a block begins with a command: {text}"
    parts = [piece.partition("\n") for piece in pieces[1:]]
    for (line, _, shown), (following, _, _) in zip(parts, [*parts[1:], ("", "", "")], strict=True):
        yield Command(line, shown, "Error:" in shown or following == "echo $?")


def script_of(page: Path) -> Script:
    script, typed, left_out = Script(), [], ""
    for piece in _PIECE.finditer(text := page.read_text()):
        if piece["file"] is not None:
            script.blocks.append(Block((), piece.start(), file=piece["file"], content=piece["content"]))
            continue
        match piece[1]:
            case None if left_out:
                script.not_run.append((piece[3].splitlines()[0], left_out))
                left_out, typed = "", []
            case None:
                script.blocks.append(Block(tuple(commands(piece[3])), piece.start(), tuple(typed)))
                typed = []
            case "not run":
                left_out = piece[2]
            case "needs" if shutil.which(piece[2]) is None and not os.environ.get("CI"):
                left_out = f"{piece[2]} is not installed"
            case "types":
                typed.append(piece[2])
            case "follows":
                other, _, section = piece[2].partition(", up to ")
                script.follows = (page.parent / other, section)
            case "for":
                old, _, new = piece[2].partition(", read:")
                script.instead.append((old, new.strip()))
    run = [block for block in script.blocks if not block.file]
    assert text.count("```console\n") == len(run) + len(script.not_run), f"a block is not closed: {page}"
    return script


class Reader:
    """Types what pages show."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._place = (directory, environment)
        self._terminal = Terminal(directory, environment)
        self._servers: list[Terminal] = []
        self._values: dict[str, str] = {}  # as the page has it -> as it was printed

    def follow(self, page: Path, until: str = "", *, goes_on: bool = False) -> None:
        """`goes_on`: the reader has done what the page follows, and more."""
        script = script_of(page)
        if script.follows is not None and not goes_on:
            self.follow(*script.follows)
        end = page.read_text().index(until) if until else None
        for block in script.blocks:
            if end is None or block.at < end:
                if block.file:
                    (self._place[0] / block.file).write_text(block.content)
                for command in block.commands:
                    self.type(command, script.instead, block.typed)

    def type(self, command: Command, instead: list[tuple[str, str]], typed: tuple[str, ...]) -> None:
        line = command.line
        for old, new in instead:
            line = line.replace(old, new)
        line = _VARYING.sub(lambda value: self._values.get(value[0], value[0]), line)
        expected = pattern(command.shown)
        if line.startswith("xnatctl sandbox start"):
            self._serve(f"{line} --port 0 --dicom-port 0", expected, command.shown)
            return
        out, code = self._terminal.run(line, typed)
        said = f"$ {line}\n{out}[exit code {code}]"
        assert "Traceback" not in out, said
        assert command.fails or code == 0, said
        if command.shown.strip():
            found = expected.fullmatch(plain(unwrapped(out)))
            assert found, f"The page shows\n$ {command.line}\n{plain(command.shown)}\nand the program prints\n{said}"
            self._remember(command.shown, found.groups())

    def _serve(self, line: str, expected: re.Pattern[str], shown: str) -> None:
        server = Terminal(*self._place)
        self._servers.append(server)
        assert shown, "a page shows what a server prints when it is ready"
        out = server.begin(line, lambda text: bool(expected.fullmatch(plain(unwrapped(text)))))
        found = expected.fullmatch(plain(unwrapped(out)))
        assert found is not None
        self._remember(shown, found.groups())

    def _remember(self, shown: str, printed: tuple[str, ...]) -> None:
        self._values.update(zip((value[0] for value in _VARYING.finditer(shown)), printed, strict=True))

    def close(self) -> list[tuple[str, int]]:
        """Ends the servers by Ctrl-C; what each printed in the end, and its exit code."""
        try:
            return [server.interrupt() for server in self._servers]
        finally:
            for terminal in (self._terminal, *self._servers):
                terminal.close()


#: A command, a relative path with a space, or a word.
_UNBROKEN = re.compile(r"xnatctl .*|\S*[^\s.,:;)] [^\s/(:]+/\S+|\S+")


def unwrapped(text: str) -> str:
    """Prose as a page has it: a line that goes on below, indented, because its next word or command has no room."""
    whole, before = [], ""
    for line in text.replace("\r", "").split("\n"):
        more = line.strip()
        first = _UNBROKEN.match(more)
        if line.startswith("  ") and first is not None and len(before) + 1 + len(first[0]) > COLUMNS:
            whole[-1] += f" {more}"
        else:
            whole.append(line)
        before = line
    return "\n".join(whole)


def plain(text: str) -> str:
    """Without what depends on the width of values: runs of spaces and of lines of tables."""
    text = _PROGRESS.sub("", text.replace("\r", ""))
    return re.sub(r" *\n", "\n", re.sub(r"─+", "─", re.sub(r" +", " ", text))).strip("\n") + "\n"


def pattern(shown: str) -> re.Pattern[str]:
    """An expression for what a page shows, with a group for each value that varies."""
    lines = []
    for line in plain(shown).splitlines():
        if line.strip() == "...":
            lines.append(r"(?:.*\n)*?")
            continue
        written, at = "", 0
        for value in _VARYING.finditer(line):
            written += re.escape(line[at : value.start()]) + f"({VARIES[str(value.lastgroup)]})"
            at = value.end()
        lines.append((written + re.escape(line[at:])).replace(r"\.\.\.", ".*") + r"\n")
    return re.compile("".join(lines))


@pytest.fixture
def reader(tmp_path, tmp_path_factory, environment):
    """At a terminal, in a directory like the repository's after the installation: `.venv` is this test's environment."""
    directory = tmp_path / "reader"
    directory.mkdir()
    (directory / ".venv").symlink_to(sys.prefix)
    (directory / "docs").symlink_to(DOCS)
    for name in ("COLUMNS", "PYTHON_KEYRING_BACKEND"):
        environment.pop(name)
    dcmtk = tmp_path / "dcmtk"
    dcmtk.mkdir()
    for name in ("echoscu", "storescu"):  # pynetdicom puts programs of these names beside the interpreter
        if (program := system_program(name)) is not None:
            (dcmtk / name).symlink_to(program)
    path = f"{dcmtk}:{Path(sys.executable).parent}:{environment['PATH']}"
    types = tmp_path_factory.getbasetemp().parent / "mypy"  # what mypy knows of xnatctl, once for all pages
    found = Reader(directory, {**environment, "TERM": "dumb", "PATH": path, "MYPY_CACHE_DIR": str(types)})
    yield found
    for out, code in found.close():
        assert "Traceback" not in out
        assert code == 0, out


#: Pages with nearly the same steps as others, so they are for the laboratory.
LONG = {
    DOCS / "how-to" / "run-on-a-cluster.md",
    DOCS / "how-to" / "find-missing-data.md",
    DOCS / "how-to" / "verify-an-upload.md",
    DOCS / "how-to" / "watch-an-inbox.md",
    DOCS / "how-to" / "plan-a-campaign.md",
    DOCS / "how-to" / "report-on-a-campaign.md",
    DOCS / "how-to" / "run-a-campaign.md",
    DOCS / "tutorial" / "a-data-managers-day.md",
    DOCS / "tutorial" / "write-a-credential-provider.md",
    *(DOCS / "examples" / name / "README.md" for name in ("xnatctl-series", "xnatctl-stow", "xnatctl-usercache")),
    DOCS / "tutorial" / "write-a-transport.md",
}


@pytest.mark.once
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.lab) if page in LONG else page for page in PAGES],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_the_program_prints_what_the_page_shows(reader, page):
    reader.follow(page)


@pytest.mark.once
@pytest.mark.lab
def test_the_tutorials_can_be_followed_one_after_the_other_on_one_server(reader):
    tutorial = DOCS / "tutorial"
    reader.follow(tutorial / "a-data-managers-day.md")
    reader.follow(tutorial / "first-campaign.md", goes_on=True)


def test_what_is_not_run_as_it_stands():
    """The whole list: what installs from a package index, what runs this suite, and names of other servers."""
    left_out = {(page.name, reason) for page in PAGES for _, reason in script_of(page).not_run}
    left_out = {(page, reason) for page, reason in left_out if not reason.endswith("is not installed")}
    assert left_out == {
        ("install.md", "test_install.py runs it in the laboratory"),
        ("install.md", "it needs a container engine"),
        ("install.md", "it needs conda's tools"),
    }
    assert {old for page in PAGES for old, _ in script_of(page).instead} == {
        'python3 -m venv .venv && .venv/bin/pip install -e ".[all]" tox &&',
        "python3 -m venv .venv",
        '.venv/bin/pip install -e ".[all]"',
        '.venv/bin/pip install "../xnatctl[all,testing]" mypy ruff',
        "pip install -e ./xnatctl-inbox",
        "pip install -e ./xnatctl-mounted",
        "pip install -e ./xnatctl-parcel",
        "pip wheel --no-deps",
        "xnatctl session upload exam --mode inbox --inbox-folder slow --inbox-pause 1",
        "pip install ./docs/examples/xnatctl-inbox",
        "pip install ./docs/examples/xnatctl-series",
        "pip install ./docs/examples/xnatctl-stow",
        "pip install ./docs/examples/xnatctl-usercache",
        "pip install ./docs/examples/xnatctl-vault",
        ".venv/bin/tox",
        "https://xnat.example.org",
        "-P PROJECT",
        "/shared",
        "dask scheduler",
        "dask worker",
        "# on one machine",
        "# on each of the others",
    }


def test_a_page_that_shows_something_else_fails(reader, tmp_path):
    page = tmp_path / "page.md"
    for text, wrong in [
        ("$ echo one\nonly\n", "only"),
        ("$ printf 'a\\nb\\n'\na\n", "exit code 0"),
        ("$ false\n", "exit code 1"),
        ("$ (exit 3)\n$ echo $?\n4\n", "4"),
    ]:
        page.write_text(f"```console\n{text}```\n")
        with pytest.raises(AssertionError, match=re.escape(wrong)):
            reader.follow(page)
    page.write_text(
        "<!-- for: NAME, read: world -->\n<!-- types: yes -->\n```console\n$ echo hello NAME\nhello w...\n"
        "$ read -p 'sure: ' answer; echo $answer; (exit 3)\n...yes\n$ echo $?\n3\n$ export A=20240115_120000123\n"
        "$ echo $A took 3.2 s\n20240115_120000124 took 1.1 s\n$ test $A = 20240115_120000124\n```\n"
    )
    reader.follow(page)
