"""Finds plugins by metadata alone: no page of a plugin is imported here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from pathlib import Path
from types import ModuleType

from xnatctl.plugin.compatibility import api_mismatch, version_mismatch
from xnatctl.plugin.hookspecs import PROJECT
from xnatctl.plugin.source import locate, read_page, required_api

#: A folder whose Python files are plugins.
FOLDER_VARIABLE = "XNATCTL_PLUGIN_DIR"
#: The distribution that this package was installed as.
OURS = "xnatctl"
#: What stands for the distribution of a plugin that is one file.
FILE = "file"


class Status(StrEnum):
    """State of a plugin. `unmet` = a module that all its specs need is absent."""

    ACTIVE = "active"
    BLOCKED = "blocked"
    BROKEN = "broken"
    UNMET = "unmet"
    INCOMPATIBLE = "incompatible"
    CLASH = "clash"


#: States of plugins that somebody should do something about.
UNUSABLE = frozenset({Status.BROKEN, Status.CLASH, Status.INCOMPATIBLE})


@dataclass(kw_only=True, slots=True, eq=False)
class Plugin:
    """One entry point, or one file. `ours` = of this distribution; `page` is the loaded module, None before."""

    name: str
    target: str
    distribution: str
    version: str
    ours: bool
    status: Status = Status.ACTIVE
    reason: str | None = None
    page: ModuleType | None = None
    file: Path | None = None

    @property
    def origin(self) -> str:
        """The distribution and version that it comes from, or its file, for messages."""
        return str(self.file) if self.file is not None else f"{self.distribution} {self.version}".strip()

    def disable(self, status: Status, reason: str) -> None:
        """Set a status other than `active`, with the reason in one line."""
        self.status, self.reason, self.page = status, " ".join(reason.split()), None


def discover() -> list[Plugin]:
    """All plugins, sorted by name and distribution. What does not fit this version is `incompatible`."""
    found: dict[tuple[str, str, str], Plugin] = {}
    known: dict[int, _Metadata] = {}
    for entry in _entries():
        metadata = known.setdefault(id(entry.dist), _metadata(entry.dist)) if entry.dist is not None else _Metadata()
        plugin = _describe(entry, metadata)
        if found.setdefault((plugin.name, plugin.target, plugin.distribution), plugin) is plugin and not plugin.ours:
            page = read_page(plugin.target, metadata.folder)
            reason = version_mismatch(metadata.requires) or api_mismatch(required_api(page))
            if reason is not None:
                plugin.disable(Status.INCOMPATIBLE, reason)
    return sorted([*found.values(), *_files()], key=lambda plugin: (plugin.name, plugin.distribution))


@dataclass(slots=True)
class _Metadata:
    name: str = "unknown"
    version: str = ""
    requires: tuple[str, ...] = ()
    folder: str | None = None


def _entries() -> Iterable[EntryPoint]:
    try:
        return entry_points(group=PROJECT)
    except Exception:  # noqa: BLE001 - a distribution whose entry points cannot be read is left out
        return list(_readable_entries())


def _readable_entries() -> Iterator[EntryPoint]:
    for distribution in distributions():
        with suppress(Exception):
            yield from distribution.entry_points.select(group=PROJECT)


def _metadata(distribution: Distribution) -> _Metadata:
    """Name, version and requirements. The header is read line by line: a mail parser takes ten times as long."""
    found, requires = _Metadata(), []
    try:
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        found.folder = str(distribution.locate_file(""))
    except (OSError, ValueError):
        return found
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if not line:
            break
        if colon and key == "Name":
            found.name = value.strip()
        elif colon and key == "Version":
            found.version = value.strip()
        elif colon and key == "Requires-Dist":
            requires.append(value)
    found.requires = tuple(requires)
    return found


def _describe(entry: EntryPoint, metadata: _Metadata) -> Plugin:
    return Plugin(
        name=entry.name,
        target=entry.value,
        distribution=metadata.name,
        version=metadata.version,
        ours=metadata.name == OURS and entry.value.startswith(f"{OURS}_"),
    )


def plugin_folder() -> Path | None:
    """The folder of `XNATCTL_PLUGIN_DIR`, absolute, or None."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named).expanduser().absolute() if named else None


def _files() -> Iterator[Plugin]:
    """The plugins of `XNATCTL_PLUGIN_DIR`: each file is a module, and the folder the last place to look for modules."""
    folder = plugin_folder()
    try:
        files = sorted(folder.glob("[!_.]*.py")) if folder is not None else []
    except OSError:
        return
    if files and str(folder) not in sys.path:
        sys.path.append(str(folder))
    for file in files:
        plugin = Plugin(name=file.stem, target=file.stem, distribution=FILE, version="", ours=False, file=file)
        if not file.stem.isidentifier():
            plugin.disable(Status.BROKEN, f"{file.name} is not the name of a Python module")
        elif (other := locate(file.stem)) is None or other.absolute() != file:
            plugin.disable(Status.CLASH, f"another module is named {file.stem} ({other or 'part of Python'})")
        elif reason := api_mismatch(required_api(read_page(plugin.target))):
            plugin.disable(Status.INCOMPATIBLE, reason)
        yield plugin
