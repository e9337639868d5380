"""Counts in texts for people have separators: `1,001 files`. `counted` and `part_of` write them, or a format of `,`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: The sandbox answers as XNAT does, which writes plain numbers; bodies.py makes formats of `struct`.
OTHERS = ("xnatctl_sandbox", "core/xnatctl/testing", "packing/bodies.py")
FILES = sorted(
    path
    for folder in ("core", "plugins")
    for path in (ROOT / folder).rglob("*.py")
    if not any(part in path.as_posix() for part in OTHERS)
)


def is_count(node: ast.expr) -> bool:
    """`len(...)`, `sum(...)`, and what is added to them or taken away."""
    if isinstance(node, ast.BinOp):
        return is_count(node.left) or is_count(node.right)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("len", "sum")


def plain_counts(tree: ast.AST) -> Iterator[int]:
    """Lines of f-strings with a count that has no format."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FormattedValue) and node.format_spec is None and is_count(node.value):
            yield node.lineno


def test_counts_have_separators() -> None:
    found = [(path, line) for path in FILES for line in plain_counts(ast.parse(path.read_text(encoding="utf-8")))]
    assert not found, "write the count with a format, as {len(files):,}"


def test_the_check_finds_what_it_looks_for() -> None:
    lines = ["f'{len(a)} of them'", "f'{len(a) - 3} more'", "f'{len(a):,} of {counted(len(b), noun)}'"]
    assert list(plain_counts(ast.parse("\n".join(lines)))) == [1, 2]
