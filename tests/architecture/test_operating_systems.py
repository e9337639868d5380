"""Only `xnatctl.operating_system` knows operating systems, and nothing depends on the locale.

`tests/support/windows/names.txt` lists what CPython for Windows has; whatever else a module of Linux has is POSIX-only.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from windows.sitecustomize import ABSENT, windows_names

ROOT = Path(__file__).parents[2]
ITS_OWN = ROOT / "core" / "xnatctl" / "operating_system"
FILES = sorted(
    path
    for folder in ("core", "plugins", "docs/examples")
    for path in (ROOT / folder).rglob("*.py")
    if ITS_OWN not in path.parents and "tests" not in path.relative_to(ROOT).parts
)
NAMES = windows_names()
#: Modules of one system, and those whose use differs.
MODULES = ABSENT | {"_winapi", "ctypes", "msvcrt", "select", "selectors", "winreg"}
#: Names that exist everywhere and do something else on each system.
DIFFERENT = {
    "os.open": "open_to_read, create_private",
    "os.replace": "replace",
    "os.rename": "replace",
    "os.name": "a function for what differs",
    "os.startfile": "nothing",
    "os.O_BINARY": "open_to_read",
    "sys.platform": "a function for what differs",
    "signal.SIGBREAK": "ENDING",
    "platform.system": "a function for what differs",
}


def problems(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        for problem in (*imports(node), *names(node), *lookups(node), *text(node)):
            yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}: {problem}"


def imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        found = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        found = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    else:
        return
    for name in found:
        if name.partition(".")[0] in MODULES or name in DIFFERENT or is_posix_only(name):
            yield f"imports {name}"


def names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        name = f"{node.value.id}.{node.attr}"
        if name in DIFFERENT:
            yield f"{name}; use {DIFFERENT[name]} of xnatctl.operating_system (plugins: xnatctl.api.system)"
        elif is_posix_only(name):
            yield f"{name}, which Windows lacks; use xnatctl.operating_system (plugins: xnatctl.api.system)"


def is_posix_only(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    if module not in NAMES or attribute.startswith("_") or attribute in NAMES[module]:
        return False
    return hasattr(importlib.import_module(module), attribute)


def lookups(node: ast.AST) -> Iterator[str]:
    """A branch for a system: `hasattr(os, "getuid")`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
        where, what = node.args[:2]
        if isinstance(where, ast.Name) and isinstance(what, ast.Constant) and is_posix_only(f"{where.id}.{what.value}"):
            yield f"looks up {where.id}.{what.value}"


def text(node: ast.AST) -> Iterator[str]:
    """Text whose encoding is that of the locale."""
    if not isinstance(node, ast.Call):
        return
    named = {keyword.arg for keyword in node.keywords}
    function = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    if "encoding" in named:
        return
    if function in ("read_text", "write_text") and len(node.args) < (1 if function == "read_text" else 2):
        if not (isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "distribution"):
            yield f"{function} without an encoding"
    elif function == "open" and is_builtin_or_path(node) and "b" not in mode_of(node):
        yield "open without an encoding"
    elif function == "fdopen" and "b" not in mode_of(node, place=1):
        yield "fdopen without an encoding"
    elif function in ("run", "Popen", "check_output") and named & {"text", "universal_newlines"}:
        yield f"{function} with text and without an encoding"


def is_builtin_or_path(node: ast.Call) -> bool:
    """Not the `open` of a journal, an association or tarfile: those take no mode like "r" or "ab"."""
    if isinstance(node.func, ast.Name):
        return True
    return bool(node.args) and isinstance(node.args[0], ast.Constant) and str(node.args[0].value)[:1] in tuple("rwax")


def mode_of(node: ast.Call, place: int | None = None) -> str:
    place = (1 if isinstance(node.func, ast.Name) else 0) if place is None else place
    given = [keyword.value for keyword in node.keywords if keyword.arg == "mode"] or node.args[place : place + 1]
    return str(given[0].value) if given and isinstance(given[0], ast.Constant) else "r" if not given else "b"


def test_nothing_else_knows_operating_systems():
    assert [problem for path in FILES for problem in problems(path)] == []


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os\nos.pread(1, 2, 3)", "os.pread"),
        ("import os\nos.open('x', 0)", "os.open"),
        ("import signal\nx = signal.SIGHUP", "signal.SIGHUP"),
        ("from select import poll", "imports select"),
        ("import fcntl", "imports fcntl"),
        ("import os\nhasattr(os, 'geteuid')", "os.geteuid"),
        ("import sys\nsys.platform == 'win32'", "sys.platform"),
        ("open('x')", "open without"),
        ("open('x', 'w')", "open without"),
        ("path.read_text()", "read_text without"),
        ("path.write_text(text)", "write_text without"),
        ("path.open('a')", "open without"),
        ("subprocess.run(command, text=True)", "text and without"),
    ],
)
def test_the_check_finds_what_it_looks_for(code, told):
    found = [
        problem
        for node in ast.walk(ast.parse(code))
        for kind in (imports, names, lookups, text)
        for problem in kind(node)
    ]
    assert any(told in problem for problem in found), found


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.read(1, 2)",
        "import signal\nx = signal.SIGTERM",
        "open('x', 'rb')",
        "open('x', encoding='utf-8')",
        "path.open('wb')",
        "path.read_text('utf-8')",
        "path.write_text(text, 'utf-8')",
        "tarfile.open(fileobj=x)",
        "journal.open(items)",
    ],
)
def test_the_check_leaves_the_rest_alone(code):
    assert not [
        problem
        for node in ast.walk(ast.parse(code))
        for kind in (imports, names, lookups, text)
        for problem in kind(node)
    ]
