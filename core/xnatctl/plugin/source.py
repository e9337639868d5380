"""Reads the source of a plugin's page without importing it."""

from __future__ import annotations

import ast
import os
import re
from importlib.util import find_spec
from pathlib import Path

from xnatctl.operating_system.files import open_to_read

#: Bytes of a page that are read: it holds declarations only.
_LONGEST = 1 << 18
#: The line of a page that says which version of the API it was written for.
_REQUIRES = re.compile(r"^requires_api\s*(?::[^=\n]*)?=\s*(\d{1,9})\s*(?:#.*)?$", re.MULTILINE)


def locate(module: str) -> Path | None:
    """The file of a module, or None. No package is imported, not even the one that holds the module."""
    first, *rest = module.split(".")
    if not all(part.isidentifier() for part in rest):
        return None
    try:
        spec = find_spec(first)
    except Exception:  # noqa: BLE001 - finders of other distributions
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.has_location and spec.origin else None
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, *rest)
        for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None


def read_page(target: str, folder: str | None = None) -> str:
    """The source of the module of an entry point; empty if it cannot be found or read.

    `folder` is where its distribution is installed, which is looked at first.
    """
    module = target.partition(":")[0]
    text = _read(os.path.join(folder, f"{module.replace('.', os.sep)}.py")) if folder is not None else None
    if text is None and (file := locate(module)) is not None:
        text = _read(os.fspath(file))
    return text or ""


def _read(path: str) -> str | None:
    """The beginning of a regular file, or None. It is read as bytes at once, which is fastest."""
    try:
        descriptor = open_to_read(path)
    except OSError:
        return None
    try:
        return os.read(descriptor, _LONGEST).decode("utf-8", "replace").replace("\r\n", "\n")
    except OSError:
        return None
    finally:
        os.close(descriptor)


def required_api(source: str) -> int | None:
    """The number in a line `requires_api = 1`, or None."""
    found = _REQUIRES.search(source)
    return int(found[1]) if found else None


def declared_commands(source: str) -> dict[str, str]:
    """Path and summary of every `CommandSpec` whose path is written as text; empty for a page with a syntax error."""
    if "CommandSpec" not in source:
        return {}
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return {}
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "CommandSpec":
            texts = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
            path, summary = texts.get("path"), texts.get("summary")
            if isinstance(path, str) and path.split():
                found[" ".join(path.split())] = summary if isinstance(summary, str) else ""
    return found
