"""The checklist of uploading is complete: each item names a test that exists, or a section of a page."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "checklist.md"
ITEMS = 152
#: What only a test can hold: commands, options, defaults, behaviour, variables, keys, output, errors.
HELD_BY_TESTS = set("CFDBEKMX")
ROWS = re.findall(r"^- \*\*(\d+)\*\* (\w)\. (.+)\n  Held by (.+)\.$", PAGE.read_text(), re.MULTILINE)


@cache
def names_in(module: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / module).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_item_is_there_once():
    assert [int(number) for number, *_ in ROWS] == list(range(1, ITEMS + 1))


@pytest.mark.parametrize(("number", "kind", "promise", "held_by"), ROWS, ids=[number for number, *_ in ROWS])
def test_an_item_is_held_by_a_test_or_stated_on_a_page(number, kind, promise, held_by):
    tests = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", held_by)
    sections = re.findall(r"\]\([^)#]+#[^)]+\)", held_by)  # test_pages.py follows them
    assert tests or sections
    assert tests or kind not in HELD_BY_TESTS, promise
    for module, name in tests:
        assert (ROOT / "tests" / module).is_file(), module
        assert not name or name in names_in(module), f"{module}::{name}"
    rest = re.sub(r"`[^`]*`|\[[^\]]*\]\([^)]*\)|, ", "", held_by)
    assert not rest.strip(), f"neither a test nor a section: {rest}"
