"""Rules about imports that neither import-linter nor ruff expresses.

import-linter (`[tool.importlinter]` in `pyproject.toml`) holds the layers of core, keeps plugins apart from each other, and
lets them import core through its API only. ruff (`banned-api`, `banned-module-level-imports`) says who may import click
and httpx, who may start threads, and what is too heavy for start-up. `tox -e lint` runs both.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE, PLUGINS = ROOT / "core" / "xnatctl", ROOT / "plugins"
FOLDERS = sorted(folder for folder in PLUGINS.iterdir() if (folder / "plugin.py").is_file())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HEAVY = {"httpx", "pydicom", "pynetdicom", "yaml", "structlog", "rich", "keyring", "isal", "werkzeug", "distributed"}


def packages(path: Path, *, top_level: bool = False) -> set[str]:
    """The top-level packages that a file imports; `top_level` leaves out imports inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            found.add(str(node.module).split(".")[0])
    return found


def test_no_modules_import_each_other_in_a_circle():
    """Not inside functions either, nor for type checking. import-linter looks at packages, which is stricter."""
    modules: dict[str, Path] = {}
    for base in (ROOT / "core", PLUGINS):
        for path in base.rglob("*.py"):
            parts = path.relative_to(base).with_suffix("").parts
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
        found = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[module] = found & modules.keys() - {module}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_declarations_import_the_api_and_nothing_else(folder):
    assert packages(folder / "plugin.py", top_level=True) <= {"xnatctl", "__future__"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_page_says_the_version_of_the_api_in_a_line_that_can_be_read(folder):
    source = (folder / "plugin.py").read_text()
    assert [line for line in source.splitlines() if line.startswith("requires_api")] == ["requires_api = 1"]


@pytest.mark.parametrize("name", ["model", "plugin/specs.py", "plugin/protocols.py", "errors.py"])
def test_what_everybody_imports_needs_the_standard_library_only(name):
    target = CORE / name
    for path in sorted(target.rglob("*.py")) if target.is_dir() else [target]:
        assert packages(path) <= {*sys.stdlib_module_names, "xnatctl"}, path


def test_every_plugin_folder_is_declared():
    entry_points = PROJECT["project"]["entry-points"]["xnatctl"]
    assert set(entry_points.values()) == {f"{folder.name}.plugin" for folder in FOLDERS}
    assert entry_points == {name: f"xnatctl_{name}.plugin" for name in entry_points}
    assert PROJECT["tool"]["importlinter"]["root_packages"] == ["xnatctl", *(folder.name for folder in FOLDERS)]
    installed = {entry.name for entry in metadata.distribution("xnatctl").entry_points if entry.group == "xnatctl"}
    assert installed == entry_points.keys(), (
        "The installation is older than pyproject.toml: run pip install -e . again."
    )


def test_the_import_contracts_name_every_package():
    contracts = {contract["name"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
    protected, layers = "Plugins import core through xnatctl.api only", "Core imports no plugin, and no plugin another"
    core = {path.stem for path in CORE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    public = {"__init__", "__main__", "api", "testing"}
    assert set(contracts[protected]["protected_modules"]) == {f"xnatctl.{name}" for name in core - public}
    assert contracts[layers]["layers"] == [" | ".join(folder.name for folder in FOLDERS), "xnatctl"]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["session", "--help"], ["plugins", "--help"]])
def test_help_and_version_import_nothing_heavy(arguments):
    code = (
        "import sys\n"
        "from xnatctl.cli.main import run\n"
        f"code = run({arguments!r})\n"
        f"print(sorted(m for m in sys.modules if m.split('.')[0] in {HEAVY!r}), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"
