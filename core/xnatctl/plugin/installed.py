"""Which entry points are installed: read from the distributions' own files, as importlib.metadata would.

Importing that library, which reads metadata as mails, and asking it takes 25 ms, a quarter of `xnatctl --help`. So its
way through the directories of `sys.path` is gone here; where there is anything else than directories (a zip, an egg, a
finder of another kind), it is asked itself.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from typing import NamedTuple

_SEPARATORS = re.compile(r"[-_.]+")


class Declared(NamedTuple):
    """One entry point, and the distribution that declares it; `version` is empty when it says none."""

    name: str
    value: str
    distribution: str
    version: str


class _Unusual(Exception):
    """Something on the path that only the library knows how to look into."""


def declared(group: str) -> list[Declared]:
    """The entry points of a group, in the order of the path; of a distribution that is there twice, the first."""
    try:
        return list(_in_directories(group))
    except _Unusual:
        return list(_by_library(group))


def _by_library(group: str) -> Iterator[Declared]:
    from importlib.metadata import entry_points

    for entry in entry_points(group=group):
        name = entry.dist.name if entry.dist is not None else "unknown"
        yield Declared(entry.name, entry.value, name, entry.dist.version if entry.dist is not None else "")


def _in_directories(group: str) -> Iterator[Declared]:
    if any(finder is not PathFinder and hasattr(finder, "find_distributions") for finder in sys.meta_path):
        raise _Unusual
    seen: set[str] = set()
    for directory in sys.path:
        for info in _infos(directory):
            stem = os.path.basename(info).rpartition(".")[0].partition("-")[0]
            if (name := _SEPARATORS.sub("_", stem).lower()) not in seen:
                seen.add(name)
                yield from _entries(info, group)


def _infos(directory: str) -> Iterator[str]:
    """Where the distributions of a directory keep their metadata."""
    if directory.lower().endswith(".egg"):
        raise _Unusual
    try:
        names = os.listdir(directory or ".")
    except NotADirectoryError:
        raise _Unusual from None
    except OSError:
        return
    yield from (os.path.join(directory, name) for name in names if name.lower().endswith((".dist-info", ".egg-info")))


def _entries(info: str, group: str) -> Iterator[Declared]:
    text = _read(info, "entry_points.txt")
    if f"[{group}]" not in text:
        return
    section, about = "", None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif section == group and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            about = about or _about(info)
            yield Declared(name.strip(), value.strip(), *about)


def _about(info: str) -> tuple[str, str]:
    """Name and version, from the head of the metadata."""
    text = _read(info, "METADATA") or _read(info, "PKG-INFO")
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if not line:
            break
        name, _, value = line.partition(":")
        fields.setdefault(name.lower(), value.strip())
    stem, _, version = os.path.basename(info).rpartition(".")[0].partition("-")
    return fields.get("name") or stem, fields.get("version") or version


def _read(info: str, name: str) -> str:
    try:
        with open(os.path.join(info, name), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
