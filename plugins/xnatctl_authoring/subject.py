"""What `plugins check` looks at: an installed plugin, the folder of a distribution, or a file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xnatctl.api import NotFound, UsageError
from xnatctl.api.commands import App


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """One plugin to check: `source` is the folder that holds its package, None for what is installed.

    `tests` are the tests of its author.
    """

    name: str
    target: str  # the module of the entry point
    distribution: str
    version: str
    source: Path | None = None
    tests: Path | None = None


def subjects_of(app: App, wanted: str) -> list[Subject]:
    """The plugins that NAME, DISTRIBUTION:NAME or PATH means. Raises NotFound, UsageError."""
    path = Path(wanted)
    if path.is_dir():
        return _of_folder(path.resolve())
    if path.is_file():
        return [_of_file(path.resolve())]
    distribution, _, name = wanted.rpartition(":")
    found = [
        _of_file(plugin.file)
        if plugin.file is not None
        else Subject(name=plugin.name, target=plugin.target, distribution=plugin.distribution, version=plugin.version)
        for plugin in app.registry.manager.plugins
        if plugin.name == name and distribution in ("", plugin.distribution)
    ]
    if not found:
        raise NotFound(
            f"There is no plugin {wanted!r}, and no such folder or file.",
            hint="List the installed plugins with: xnatctl plugins list. Name a folder that holds pyproject.toml, or a "
            "Python file.",
        )
    if len(found) > 1:
        names = " or ".join(f"{subject.distribution}:{subject.name}" for subject in found)
        raise UsageError(f"Several plugins are named {name}.", hint=f"Name one of them: {names}.")
    return found


def _of_folder(folder: Path) -> list[Subject]:
    """The entry points of a distribution that need not be installed."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be checked: pyproject.toml cannot be read ({error.strerror}).",
            hint="Name the folder of a distribution, or a Python file.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{folder / 'pyproject.toml'} is not valid TOML: {error}.") from error
    entries: dict[str, str] = project.get("entry-points", {}).get("xnatctl", {})
    if not entries:
        raise UsageError(
            f"{folder / 'pyproject.toml'} declares no plugin.",
            hint='Add a section [project.entry-points.xnatctl] with a line such as: mine = "my_package.plugin"',
        )
    tests = folder / "tests"
    return [
        Subject(
            name=name,
            target=target,
            distribution=str(project.get("name", folder.name)),
            version=str(project.get("version", "0")),
            source=_source_of(folder, [target.partition(".")[0].partition(":")[0]]),
            tests=tests if tests.is_dir() else None,
        )
        for name, target in entries.items()
    ]


def _source_of(folder: Path, packages: Iterable[str]) -> Path:
    """The folder that holds the packages: that of the distribution, or `src` below it."""
    for candidate in (folder, folder / "src"):
        if all((candidate / name).is_dir() or (candidate / f"{name}.py").is_file() for name in packages):
            return candidate
    raise UsageError(
        f"{folder} does not hold the package {', '.join(packages)} that its entry point names.",
        hint="The package is looked for in this folder and in src. Install the distribution to check it by its name.",
    )


def _of_file(file: Path) -> Subject:
    """A plugin that is one file."""
    if file.suffix != ".py" or not file.stem.isidentifier():
        raise UsageError(f"{file} is not a Python module.", hint="Name a file such as my_plugin.py.")
    return Subject(name=file.stem, target=file.stem, distribution=file.stem, version="0", source=file.parent)
