"""The layering rules of the design, held against the imports as they are written and as they happen."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE, PLUGINS = ROOT / "core" / "xnatctl", ROOT / "plugins"
HEAVY = {"httpx", "pydicom", "pynetdicom", "yaml", "structlog", "rich", "keyring"}
#: For each room of core: the rooms that it may import from (rule 9). `errors` is open to all.
ROOMS = {
    "errors": set(),
    "model": set(),
    "plugin": {"model"},
    "inventory": {"model", "plugin"},
    "packing": {"model", "plugin"},
    "xnat": {"model", "plugin"},
    "settings": {"model", "plugin"},
    "delivery": {"model", "plugin", "inventory", "xnat"},
    "log": set(),
    "cli": {"model", "plugin", "inventory", "xnat", "settings", "delivery", "log", "cli"},
    "testing": {"model", "plugin", "inventory", "delivery"},
}


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """The modules that a file imports; `top_level` leaves out those inside functions and for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(_top(tree)) if top_level else list(ast.walk(tree))
    found: set[str] = set()
    package = path.relative_to(ROOT / ("core" if CORE in path.parents else "plugins")).parent.parts
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module or ""]))
            found.add(module)
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def _top(tree: ast.Module):
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Try | ast.If):
            yield from node.body
        yield node


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def own(name: str) -> bool:
    return name.split(".", maxsplit=1)[0] in {folder.name for folder in plugin_folders()}


def plugin_folders() -> list[Path]:
    return sorted(folder for folder in PLUGINS.iterdir() if (folder / "plugin.py").is_file())


def room(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", files(CORE), ids=lambda p: p.relative_to(CORE).as_posix())
def test_core_imports_no_plugin(path):
    assert not {name for name in imports(path) if own(name)}


@pytest.mark.parametrize("folder", plugin_folders(), ids=lambda p: p.name)
def test_a_plugin_meets_core_through_its_api_and_no_other_plugin_at_all(folder):
    for path in files(folder):
        names = imports(path)
        assert not {n for n in names if own(n) and n.split(".")[0] != folder.name}, path
        core = {n for n in names if n.split(".")[0] == "xnatctl"}
        allowed = ("xnatctl.api", "xnatctl.testing")
        assert not {n for n in core if n != "xnatctl" and not n.startswith(allowed)}, path


@pytest.mark.parametrize("folder", plugin_folders(), ids=lambda p: p.name)
def test_a_page_of_declarations_imports_the_api_and_nothing_else(folder):
    names = {n.split(".")[0] for n in imports(folder / "plugin.py", top_level=True)}
    assert names <= {"xnatctl", "__future__"}


@pytest.mark.parametrize(
    "path", [p for p in files(CORE) if room(p) in ROOMS], ids=lambda p: p.relative_to(CORE).as_posix()
)
def test_arrows_point_one_way(path):
    here = room(path)
    for name in imports(path):
        pieces = name.split(".")
        if pieces[0] == "xnatctl" and len(pieces) > 1 and (CORE / pieces[1]).exists():
            assert pieces[1] in ROOMS[here] | {here, "errors"}, f"{path} imports {name}"


@pytest.mark.parametrize("name", ["model", "plugin/specs.py", "plugin/protocols.py", "errors.py"])
def test_the_words_import_the_standard_library_and_each_other_only(name):
    target = CORE / name
    for path in files(target) if target.is_dir() else [target]:
        for module in imports(path):
            top = module.split(".")[0]
            assert top in sys.stdlib_module_names or top in ("xnatctl", "__future__"), f"{path}: {module}"


def light(path: Path) -> bool:
    return (
        path.name == "plugin.py"
        or CORE / "cli" in path.parents
        or CORE / "plugin" in path.parents
        or path == CORE / "api.py"
    )


@pytest.mark.parametrize("path", [p for p in (*files(CORE), *files(PLUGINS)) if light(p)], ids=lambda p: str(p.name))
def test_nothing_heavy_is_imported_at_start_up(path):
    assert not {n.split(".")[0] for n in imports(path, top_level=True)} & HEAVY


def test_click_and_printing_stay_in_the_command_line():
    for path in (*files(CORE), *files(PLUGINS)):
        at_home = CORE / "cli" in path.parents or path.name.endswith("cli.py") or path.name == "demo.py"
        if at_home:
            continue
        assert "click" not in {n.split(".")[0] for n in imports(path)}, path
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        prints = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
        # Progress and the log write to stderr, and say so.
        assert all(any(k.arg == "file" for k in c.keywords) for c in prints), path


def test_only_the_engine_starts_threads():
    for path in (*files(CORE), *files(PLUGINS)):
        if "xnatctl_sandbox" in path.parts or path == CORE / "delivery" / "engine" / "worker_pool.py":
            continue
        if path == PLUGINS / "xnatctl_output" / "progress.py":  # it draws while the main thread waits for a server
            continue
        tree = ast.parse(path.read_text())
        names = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)} | imports(path)
        assert not names & {"Thread", "ThreadPoolExecutor", "Timer", "concurrent.futures", "multiprocessing"}, path


def test_only_the_client_knows_httpx():
    users = {p.relative_to(ROOT).as_posix() for p in (*files(CORE), *files(PLUGINS)) if "httpx" in imports(p)}
    assert users == {"core/xnatctl/xnat/http/client.py", "core/xnatctl/xnat/http/transport.py"}


def test_every_plugin_folder_has_its_entry_point():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["entry-points"]["xnatctl"]
    assert set(lines.values()) == {f"{folder.name}.plugin" for folder in plugin_folders()}
    assert lines == {name: f"xnatctl_{name}.plugin" for name in lines}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["session", "--help"], ["plugins", "--help"]])
def test_help_and_version_import_nothing_heavy(arguments):
    code = (
        "import sys\n"
        "from xnatctl.cli.main import run\n"
        f"code = run({arguments!r})\n"
        f"print(sorted(m for m in sys.modules if m.split('.')[0] in {HEAVY | {'isal', 'werkzeug'}!r}), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"
