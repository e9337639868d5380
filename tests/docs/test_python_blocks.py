"""The Python on the pages is Python, imports what there is, and does what its page says."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if BLOCK.search(page.read_text())]


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_what_a_page_imports_exists(page):
    for block in blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in (
                "xnatctl",
                "xnatctl_sandbox",
            ):
                module = import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


def test_the_sandbox_as_the_page_uses_it(capsys):
    pytest.importorskip("pynetdicom")
    from xnatctl_sandbox.server import Sandbox

    first, faults = blocks(DOCS / "how-to" / "use-the-sandbox.md")
    exec(first, {})
    url, nothing_stored, counts = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+ \d+", url)
    assert nothing_stored in ("[]", "{}", "()")
    assert counts
    with Sandbox(dicom_port=0) as sandbox:
        exec(faults, {"sandbox": sandbox})
