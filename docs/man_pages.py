"""Makes man pages of the command reference when a wheel is built; pyproject.toml names this build hook.

`docs/reference/commands.md` is generated from the commands, and a test keeps it current. A build has none of our
dependencies, so the pages are made of that file, with the standard library. Try one: `python docs/man_pages.py FOLDER`,
then `man -l FOLDER/xnatctl.1`.
"""

# hatchling runs this file without making a module of it, so a dataclass cannot look up annotations that are text.

import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parents[1]
REFERENCE = Path("docs") / "reference" / "commands.md"
#: What the reference says of commands that take less, or more, than the options that it lists for them.
PAGE = re.compile(r"Page: \[.*\]\(\.\./(.*)\)\.")
NO_SHARED, OF_A_SERVER = "Takes none of the shared options.", "Talks to a server."
#: Sections of the reference that are no command.
SHARED, PROGRAM = "Shared options", "xnatctl itself"
ABOUT = "Upload medical imaging data to XNAT, and verify that it arrived."

Options = list[tuple[str, list[tuple[str, str]]]]  # by heading: flags, and what they do


@dataclass
class Section:
    """A section of the reference: what it says of one command."""

    synopsis: str = ""
    text: list[str] = field(default_factory=list)
    examples: str = ""
    options: Options = field(default_factory=list)
    server: bool = False
    shared: bool = True
    page: str = ""


class ManPages(BuildHookInterface):
    """Adds the pages to the data of the wheel, so that installing it puts them beside the interpreter's own."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self._folder = TemporaryDirectory()
        for path in write(Path(self._folder.name), Path(self.root), self.metadata.version):
            build_data["shared_data"][str(path)] = f"share/man/man1/{path.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._folder.cleanup()


def write(folder: Path, root: Path, version: str) -> Iterator[Path]:
    """Write a page for each command, and one for the program; returns their paths."""
    found = sections((root / REFERENCE).read_text(encoding="utf-8"))
    shared, program = found.pop(SHARED), found.pop(PROGRAM)
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pages = {name: command_page(name, section, shared.options) for name, section in found.items()}
    pages["xnatctl"] = program_page(program, found)
    for name, page in pages.items():
        path = folder / f"{dashed(name)}.1"
        page_of = f"/{found[name].page}" if name in found else ""
        # An address begins at the left, because it is about as long as a line and cannot be broken.
        end = f"Documentation:\n.nf\n.in 0\n{roff(project['urls']['Documentation'] + page_of)}\n.fi\n"
        path.write_text(f"{title(name, version)}\n{page}\n{end}", encoding="utf-8")
        yield path


def sections(markdown: str) -> dict[str, Section]:
    """The sections of the reference, by their heading."""
    found = {}
    for part in re.split(r"^## ", markdown, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        found[title] = section = Section()
        for block in filter(None, map(str.strip, body.split("\n\n"))):
            add(section, block)
    return found


def add(section: Section, block: str) -> None:
    """Put one block of the reference where it belongs."""
    lines = block.split("\n")
    if lines[0] == "```":
        section.synopsis = lines[1]
    elif lines[0] == "```sh":
        section.examples = "\n".join(lines[1:-1])
    elif lines[0].startswith("|"):
        rows = [re.fullmatch(r"\| `(.*)` \| (.*) \|", line.replace(r"\|", "\0")) for line in lines[2:]]
        pairs = [(row[1].replace("\0", "|"), row[2].replace("\0", "|")) for row in rows if row]
        section.options.append((lines[0].strip("| "), pairs))
    elif page := PAGE.fullmatch(block):
        section.page = page[1]
    elif block == OF_A_SERVER:
        section.server = True
    elif block == NO_SHARED:
        section.shared = False
    else:
        section.text.append(block)


def command_page(name: str, section: Section, shared: Options) -> str:
    """The page of a command."""
    summary, *_ = re.split(r"(?<=\.)\s|[;:]", section.text[0], maxsplit=1)
    options = [*section.options]
    if section.shared:
        options += [(heading, pairs) for heading, pairs in shared if section.server or heading == "Output"]
    return "\n".join([
        *name_lines(name, summary),
        ".SH SYNOPSIS",
        *synopsis(section.synopsis),
        ".SH DESCRIPTION",
        *paragraphs(section.text),
        *option_lines(options),
        *example_lines(section.examples),
        ".SH SEE ALSO",
        ".BR xnatctl (1)",
        ".PP",
    ])  # fmt: skip


def program_page(program: Section, commands: dict[str, Section]) -> str:
    """The page of the program, which names all others."""
    lines = [
        *name_lines("xnatctl", ABOUT),
        ".SH SYNOPSIS",
        *synopsis("xnatctl [OPTIONS] COMMAND [ARGS]..."),
        ".SH DESCRIPTION",
        ".B xnatctl",
        roff("uploads DICOM sessions, whole exams and other files to an XNAT server. Exit code 0 means that every"),
        roff("file arrived in the place that was named, and that this was checked."),
        *option_lines(program.options),
        ".SH COMMANDS",
        "Each has a page of its own, and a help with",
        r".BR \-h .",
    ]
    for name, section in commands.items():
        summary, *_ = re.split(r"(?<=\.)\s", " ".join(section.text[0].split()), maxsplit=1)
        lines += [".TP", f".BR {dashed(name, escaped=True)} (1)", roff(summary)]
    return "\n".join([*lines, ".SH SEE ALSO"])


def title(name: str, version: str) -> str:
    """The title, and lines that are not justified: an option broken by a hyphen would be another option."""
    return f'.TH {dashed(name, escaped=True).upper()} 1 "" "xnatctl {version}" "xnatctl"\n.nh\n.ad l'


def name_lines(name: str, summary: str) -> list[str]:
    """What `whatis` shows."""
    return [".SH NAME", rf"{dashed(name, escaped=True)} \- {roff(' '.join(summary.split()).rstrip('.'))}"]


def synopsis(usage: str) -> list[str]:
    """The command in bold, and its arguments."""
    words = usage.split(" ")
    at = next((number for number, word in enumerate(words) if word.startswith("[")), len(words))
    return [f".B {roff(' '.join(words[:at]))}", roff(" ".join(words[at:]))]


def paragraphs(text: list[str]) -> Iterator[str]:
    """Prose. What click calls a block keeps its lines."""
    for number, block in enumerate(text):
        if number:
            yield ".PP"
        if block.startswith("\b"):
            yield from (".nf", *map(roff, block.lstrip("\b\n").split("\n")), ".fi")
        else:
            yield roff(" ".join(block.split()))


def option_lines(options: Options) -> Iterator[str]:
    """Options below their headings."""
    if options:
        yield ".SH OPTIONS"
    for heading, pairs in options:
        if heading.casefold() not in ("option", "options"):
            yield f".SS {roff(heading)}"
        for flags, text in pairs:
            yield from (".TP", f".B {roff(flags)}", roff(text))


def example_lines(examples: str) -> Iterator[str]:
    """Examples as they are typed."""
    if examples:
        yield from (".SH EXAMPLES", ".nf", *map(roff, examples.split("\n")), ".fi")


def dashed(name: str, *, escaped: bool = False) -> str:
    """The name of a page: `session upload` is xnatctl-session-upload."""
    return name.replace(" ", r"\-" if escaped else "-")


def roff(text: str) -> str:
    """One line of text in the language of man pages; Markdown for code becomes bold."""
    text = (
        text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("^", r"\(ha").replace("~", r"\(ti")
    )
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)
    return rf"\&{text}" if text.startswith((".", " ")) else text


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for made in write(target, ROOT, "0.0.0"):
        print(made)
