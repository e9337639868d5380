"""No function keeps anything in a module: what lasts longer than a call belongs to an object that is handed on.

Caches of functools are allowed. A module may have constants; nothing writes to them after the import.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for folder in ("core", "plugins") for path in (ROOT / folder).rglob("*.py"))
#: What makes a container that can be written to.
MAKERS = {
    "dict", "list", "set", "bytearray", "OrderedDict", "defaultdict", "deque", "Counter", "ChainMap",
    "WeakKeyDictionary", "WeakValueDictionary", "WeakSet",
}  # fmt: skip
WRITING = {
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "reverse",
    "setdefault", "sort", "update", "move_to_end",
}  # fmt: skip


def name_of(node: ast.expr) -> str:
    """The last word of a name or attribute, without subscripts: `collections.deque[int]` is `deque`."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def is_container(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Call):
        return name_of(node.func) in MAKERS
    return isinstance(node, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp)


def targets(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign | ast.Delete):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr) else []


def shared_names(tree: ast.Module) -> set[str]:
    """Containers and classes of the module, and what comes from other modules of ours: writing to them is state."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("xnatctl"):
            names |= {alias.asname or alias.name for alias in node.names}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and is_container(node.value):
            names |= {target.id for target in targets(node) if isinstance(target, ast.Name)}
    return names


def local_names(function: ast.AST) -> set[str]:
    """Names that a function binds itself; they hide those of the module."""
    if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return set()
    arguments = function.args
    names = {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    for node in ast.walk(function):
        names |= {target.id for target in targets(node) if isinstance(target, ast.Name)}
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def writes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each write to state of the module, or to that of another one."""
    yield from _writes_in(tree, shared_names(tree), inside=False)


def _writes_in(node: ast.AST, shared: set[str], *, inside: bool) -> Iterator[tuple[int, str]]:
    for child in ast.iter_child_nodes(node):
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(child, ast.Global):
            yield child.lineno, f"global {', '.join(child.names)}"
        if inside:
            for target in targets(child):
                owner = target.value if isinstance(target, ast.Subscript | ast.Attribute) else None
                if isinstance(owner, ast.Name) and owner.id in shared:
                    yield child.lineno, ast.unparse(target)
            if isinstance(child, ast.Call) and isinstance(child.func, ast.Attribute):
                owner = child.func.value
                if isinstance(owner, ast.Name) and owner.id in shared and child.func.attr in WRITING:
                    yield child.lineno, f"{owner.id}.{child.func.attr}()"
        yield from _writes_in(child, shared - local_names(child), inside=inside or function)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_kept_in_a_module(path: Path) -> None:
    found = [f"line {line}: {text}" for line, text in writes(ast.parse(path.read_text(encoding="utf-8")))]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "_sink = None\ndef configure():\n    global _sink\n    _sink = 1",
        "known = {}\ndef keep(key):\n    known[key] = 1",
        "known: dict[str, int] = OrderedDict()\ndef keep(key):\n    known.setdefault(key, 1)",
        "seen = set()\ndef keep(key):\n    if key:\n        seen.add(key)",
        "class _State:\n    count = 0\ndef keep():\n    _State.count += 1",
        "from xnatctl_output.progress import warned\ndef keep(text):\n    warned.add(text)",
        "known = []\ndef keep():\n    known[:] = [1]\n    del known[0]",
    ],
)
def test_the_test_sees_what_is_kept(code: str) -> None:
    assert list(writes(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "known = {}\nknown['a'] = 1",
        "known = {}\ndef make(known):\n    known['a'] = 1",
        "def make():\n    known = {}\n    known['a'] = 1\n    return known",
        "class Kept:\n    def __init__(self):\n        self.known = {}\n    def keep(self):\n        self.known['a'] = 1",
    ],
)
def test_the_test_sees_nothing_else(code: str) -> None:
    assert list(writes(ast.parse(code))) == []
