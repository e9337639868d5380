"""Code of plugins is called through `plugin/guard.py` and nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xnatctl.plugin.catalog import KINDS
from xnatctl.plugin.guarded import Guarded
from xnatctl.plugin.manager import PluginManager
from xnatctl.plugin.policy import policy_from
from xnatctl.plugin.registry import Registry
from xnatctl.plugin.specs import CheckSpec, CommandSpec, ExecutorSpec

CORE = Path(__file__).parents[2] / "core" / "xnatctl"
#: Who imports a module by its name: the guard, and what finds modules of our own distribution, or a library, on first use.
IMPORTERS = {"plugin/guard.py", "api/__init__.py", "cli/uploading.py", "inventory/streams.py"}
#: Attributes that hold objects of plugins.
FOREIGN = {
    "_transport",
    "_source",
    "_formatter",
    "_function",
    "_receiver",
    "_connection",
    "_executor",
    "_writer",
    "runner",
}
#: Functions that are handed to the guard, and so run inside it.
INSIDE = {"_specs_of", "call"}


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_nobody_else_imports_what_a_target_names() -> None:
    found = {
        str(path.relative_to(CORE))
        for path in CORE.rglob("*.py")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Name | ast.Attribute)
        and (node.id if isinstance(node, ast.Name) else node.attr) in {"import_module", "__import__", "exec_module"}
    }
    assert found <= IMPORTERS


def local_names(function: ast.AST) -> set[str]:
    """What a function gets as an argument or binds: it may come from a plugin."""
    names = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    return names | {
        node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def is_guarded(node: ast.AST) -> bool:
    """A `with` that calls the guard, or a `try` that makes of every exception what the guard makes of it."""
    if isinstance(node, ast.With):
        words = {
            part.attr for item in node.items for part in ast.walk(item.context_expr) if isinstance(part, ast.Attribute)
        }
        return bool(words & {"around", "_around", "blaming"})
    return isinstance(node, ast.Try) and any("failure" in ast.unparse(handler) for handler in node.handlers)


def unguarded(node: ast.AST, names: frozenset[str] = frozenset()) -> Iterator[tuple[int, str]]:
    """Line and text of each call of a local name or of an object of a plugin that no guard surrounds."""
    for child in ast.iter_child_nodes(node):
        inner = names
        if isinstance(child, ast.FunctionDef):
            if child.name in INSIDE:
                continue
            inner = names | local_names(child)
        if is_guarded(child):
            continue
        if isinstance(child, ast.Call):
            function = child.func
            if isinstance(function, ast.Name) and function.id in names:
                yield child.lineno, ast.unparse(child)
            held = [part.attr for part in ast.walk(function) if isinstance(part, ast.Attribute)]
            if FOREIGN & set(held):
                yield child.lineno, ast.unparse(child)
        yield from unguarded(child, frozenset(inner))


@pytest.mark.parametrize(
    "name", ["plugin/manager.py", "plugin/registry.py", "plugin/guarded.py", "delivery/executor.py"]
)
def test_each_call_of_foreign_code_is_guarded(name: str) -> None:
    # Classes of ours, and targets, which are guarded already.
    harmless = {"cls", "kind", "make", "plan_last", "configured"}
    found = [text for _, text in unguarded(tree_of(CORE / name)) if text.partition("(")[0] not in harmless]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "def ask(self, implementation):\n    return implementation(request=1)",
        "def tell(self):\n    for observer in self.all():\n        observer(event=1)",
        "class T:\n    def send(self, batch):\n        return self._transport.send(batch)",
        "class T:\n    def get(self):\n        try:\n            return self._source.get()\n        except Exception:\n            raise",
    ],
)
def test_the_test_sees_a_call_that_is_not(code: str) -> None:
    assert list(unguarded(ast.parse(code)))


def test_targets_come_guarded_but_for_commands() -> None:
    """Whoever loads one cannot call it in any other way."""
    registry = Registry(PluginManager(policy_from(block=(), external=False, configured=lambda: ([], None))))
    registry.manager.load(1)
    loaded: dict[type[Any], set[bool]] = {}
    for plugin in registry.manager.active:
        for _, provided in registry.own_specs(plugin):
            if not provided.missing:
                loaded.setdefault(type(provided.spec), set()).add(isinstance(registry.load(provided), Guarded))
    assert loaded.pop(CommandSpec) == {False}
    missing = {kind for kind, _ in KINDS.values()} - set(loaded)
    assert missing <= {CommandSpec, CheckSpec, ExecutorSpec}  # we have no check
    assert all(kinds == {True} for kinds in loaded.values())
