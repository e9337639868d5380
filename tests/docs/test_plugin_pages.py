"""The plugins of the how-to pages pass the contracts that the pages show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "how-to" / "plugins").glob("*.md"))
BLOCK = re.compile(r"^<!-- file: ([^\n]*) -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What readers of all pages save."""
    made = tmp_path_factory.mktemp("pages")
    for name in ("plugins", "tests"):
        (made / name).mkdir()
    for page in PAGES:
        for path, content in BLOCK.findall(page.read_text()):
            (made / path).write_text(content)
    return made


def run(folder: Path, *arguments: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XNAT", "PYTEST"))}
    path = os.pathsep.join(map(str, (folder / "plugins", ROOT / "core", ROOT / "plugins")))
    cache = str(folder.parents[1] / "mypy")
    environment = {**kept, "PYTHONPATH": path, "MYPYPATH": path, "MYPY_CACHE_DIR": cache, "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_page_has_a_plugin_and_its_contract():
    for page in PAGES:
        plugin, test = (path for path, _ in BLOCK.findall(page.read_text()))
        assert test == f"tests/test_{Path(plugin).name}", page.name


@pytest.mark.once
def test_the_contracts_pass(folder):
    pytest.importorskip("werkzeug", reason="the testing extra is not installed")
    out = run(folder, "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "tests")
    assert int(re.findall(r"(\d+) passed", out)[0]) > 5 * len(PAGES)


@pytest.mark.once
def test_the_types_are_strict(folder):
    pytest.importorskip("mypy")
    run(folder, "mypy", "--strict", *sorted(str(path) for path in folder.glob("*/*.py")))
