"""Writes the distribution of a new plugin from templates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xnatctl.api import Refused, UsageError

_TEMPLATES = Path(__file__).parent / "templates"
#: Ends the name of a template, so that no tool takes it for code.
_SUFFIX = ".in"
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_LONGEST = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of plugin: `purpose` is for the choice of a kind, `example` says what the templates do.

    `module` is the module that does the work.
    """

    purpose: str
    module: str
    example: str


KINDS: Mapping[str, Kind] = {
    "transport": Kind(
        purpose="sends DICOM files to XNAT; a value of --mode",
        module="transport",
        example="a transport that sends tar files of a limited number of instances",
    ),
    "receiver-transport": Kind(
        purpose="sends DICOM files to another system; a value of --mode",
        module="transport",
        example="a transport that delivers DICOM files to a folder",
    ),
    "resource-transport": Kind(
        purpose="sends the files of a resource; a value of --mode",
        module="transport",
        example="a transport that sends the files of a resource one by one",
    ),
    "credential-source": Kind(
        purpose="finds the credential for a server",
        module="source",
        example="a credential source that reads a mounted secret",
    ),
    "formatter": Kind(
        purpose="an output format; a value of -o",
        module="formatter",
        example="an output format that writes Markdown",
    ),
    "stage": Kind(
        purpose="a step of an upload, before or after sending",
        module="stage",
        example="a step of an upload that writes a receipt",
    ),
    "executor": Kind(
        purpose="runs the rows of campaigns in another way",
        module="executor",
        example="an executor that runs one row after the other",
    ),
    "report-writer": Kind(
        purpose="keeps the report of each upload",
        module="writer",
        example="a report writer that adds a line to a file",
    ),
    "planner": Kind(
        purpose="plans uploads by the rules of a site",
        module="planner",
        example="a rule for the labels of sessions",
    ),
    "command": Kind(
        purpose="a command",
        module="cli",
        example="a command that counts sessions by modality",
    ),
    "check": Kind(
        purpose="a line of xnatctl doctor",
        module="check",
        example="a check of free disk space",
    ),
    "observer": Kind(
        purpose="gets the events of each run",
        module="observer",
        example="a log with one line of JSON for each upload",
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NewFile:
    """A file of the new distribution: `path` is relative to its folder."""

    path: str
    content: str
    purpose: str


def distribution_of(name: str) -> str:
    """The name of the distribution of a plugin, which is also that of its folder."""
    return f"xnatctl-{name}"


def package_of(name: str) -> str:
    """The import package of a plugin."""
    return distribution_of(name).replace("-", "_")


def check_name(name: str) -> None:
    """Raise UsageError for a name that does not fit an entry point, a package, a class and a flag."""
    if name.startswith(("xnatctl-", "xnatctl_")):
        raise UsageError(
            f"The name {name} begins with the name of the program.",
            hint=f"The distribution is called xnatctl-NAME anyway: name the plugin {name[8:] or 'site-inbox'}.",
        )
    if len(name) > _LONGEST or not _NAME.fullmatch(name):
        raise UsageError(
            f"A plugin cannot be named {name!r}.",
            hint="Begin with a letter, and use lower-case letters, digits and single hyphens, such as site-inbox; at "
            f"most {_LONGEST} characters.",
        )


def new_files(kind: str, name: str) -> list[NewFile]:
    """The files of the distribution, in the order in which an author reads them."""
    own = KINDS[kind]
    values = {
        "__NAME__": name,
        "__DISTRIBUTION__": distribution_of(name),
        "__PACKAGE__": package_of(name),
        "__MODULE__": own.module,
        "__CLASS__": "".join(word.capitalize() for word in name.split("-")),
        "__OPTION__": name.replace("-", "_"),
        "__VARIABLE__": name.replace("-", "_").upper(),
        "__EXAMPLE__": own.example,
    }
    values["__USE__"] = _filled(_text(f"{kind}/use.md"), values).strip()
    package = package_of(name)
    return [
        NewFile(path=path, content=_filled(_text(template), values), purpose=purpose)
        for path, template, purpose in (
            ("pyproject.toml", "common/pyproject.toml", "metadata, and the entry point that xnatctl finds"),
            ("README.md", "common/README.md", "how to install, use and change the plugin"),
            (f"{package}/__init__.py", "common/init.py", "makes the package"),
            (f"{package}/py.typed", "common/py.typed", "says that the package has types"),
            (f"{package}/plugin.py", f"{kind}/plugin.py", "declares what the plugin provides"),
            (f"{package}/{own.module}.py", f"{kind}/{own.module}.py", own.example),
            (f"tests/test_{own.module}.py", f"{kind}/test.py", "the contract, and tests of the plugin itself"),
        )
    ]


def write_files(folder: Path, made: list[NewFile]) -> None:
    """Make the folder and write the files. Raises Refused for a folder that exists, UsageError where none can be."""
    try:
        folder.mkdir()
        for file in made:
            path = folder / file.path
            path.parent.mkdir(exist_ok=True)
            path.write_text(file.content, encoding="utf-8")
    except FileExistsError as error:
        raise Refused(
            f"{folder} exists already, and nothing was changed.",
            hint="Choose another name, another folder with --dir, or move the folder away.",
        ) from error
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror}.", hint="Name a folder of yours with --dir."
        ) from error


def _text(template: str) -> str:
    return (_TEMPLATES / f"{template}{_SUFFIX}").read_text(encoding="utf-8")


def _filled(text: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text
