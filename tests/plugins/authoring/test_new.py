"""`plugins new`: what it writes passes its own tests, the types, the linter and `plugins check`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from xnatctl_authoring.new import KINDS, check_name, distribution_of, new_files, package_of, write_files

ROOT = Path(__file__).parents[3]
#: Short and long, with and without hyphens: no line of a template may depend on the length.
NAMES = {"short": "x{}", "long": "long-name-of-{}-at-limit"}


def name_of(kind: str, length: str) -> str:
    return NAMES[length].format(kind.replace("-", "")[:8])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A distribution of each kind, with a short and a long name: (kind, length) -> folder."""
    parent = tmp_path_factory.mktemp("new")
    folders = {}
    for kind in KINDS:
        for length in NAMES:
            name = name_of(kind, length)
            check_name(name)
            folders[kind, length] = parent / distribution_of(name)
            write_files(folders[kind, length], new_files(kind, name))
    return folders


def run(*arguments: str | Path, path: tuple[str | Path, ...] = (), cwd: Path) -> None:
    """A tool of the author, which must succeed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XNAT", "PYTEST"))}
    found = os.pathsep.join([*map(str, path), *map(str, (ROOT / "core", ROOT / "plugins"))])
    environment |= {"PYTHONPATH": found, "MYPYPATH": found, "HOME": str(cwd), "RUFF_NO_CACHE": "true"}
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.once
def test_the_tests_of_each_kind_pass(written):
    folders = [folder for (_, length), folder in written.items() if length == "short"]
    options = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", str(folders[0] / "pyproject.toml"))
    run("pytest", *options, *(folder / "tests" for folder in folders), path=tuple(folders), cwd=folders[0].parent)


@pytest.mark.once
def test_the_linter_has_nothing_to_say(written):
    pytest.importorskip("ruff")
    parent = next(iter(written.values())).parent
    run("ruff", "check", "-q", parent, cwd=parent)
    run("ruff", "format", "-q", "--check", parent, cwd=parent)


@pytest.mark.once
def test_the_types_are_strict(written, tmp_path_factory):
    pytest.importorskip("mypy")
    folders = [folder for (_, length), folder in written.items() if length == "short"]
    config = folders[0] / "pyproject.toml"
    assert "strict = true" in config.read_text()
    packages = [folder / package_of(folder.name.removeprefix("xnatctl-")) for folder in folders]
    tests = [file for folder in folders for file in (folder / "tests").glob("*.py")]
    names = []
    for number, file in enumerate(tests):  # modules of one name are one module to mypy
        names.append(file.with_name(f"test_{number}.py"))
        names[-1].write_bytes(file.read_bytes())
    try:
        cache = ("--cache-dir", str(tmp_path_factory.getbasetemp().parent / "mypy"))
        run("mypy", "--config-file", config, *cache, *packages, *names, path=tuple(folders), cwd=folders[0].parent)
    finally:
        for name in names:
            name.unlink()


BLOCK = re.compile(r"^<!-- file: ([^\n]*) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("page", "kind", "name", "files"),
    [
        ("write-a-transport", "receiver-transport", "inbox", ["plugin.py"]),
        ("write-a-credential-provider", "credential-source", "mounted", ["plugin.py", "source.py"]),
    ],
)
def test_a_tutorial_shows_what_is_written(page, kind, name, files):
    """The first block of a file; later ones change it."""
    shown: dict[str, str] = {}
    for path, content in BLOCK.findall((ROOT / "docs" / "tutorial" / f"{page}.md").read_text()):
        shown.setdefault(path, content)
    written = {f"{distribution_of(name)}/{file.path}": file.content for file in new_files(kind, name)}
    for file in files:
        path = f"{distribution_of(name)}/{package_of(name)}/{file}"
        assert shown[path] == written[path]


@pytest.mark.parametrize(
    "kind", [kind if kind == "check" else pytest.param(kind, marks=pytest.mark.lab) for kind in KINDS]
)
def test_it_passes_the_check(xnatctl, tmp_path, kind):
    pytest.importorskip("werkzeug", reason="the testing extra is not installed")
    made = xnatctl("plugins", "new", kind, "mine", "-o", "json")
    assert made.code == 0, made.err
    files = {row["file"] for row in made.document["files"]}
    assert {str(path.relative_to(tmp_path)) for path in (tmp_path / "xnatctl-mine").rglob("*.*")} == files
    checked = xnatctl("plugins", "check", "xnatctl-mine", "-o", "json")
    assert checked.code == 0, checked.out
    assert checked.document["passed"] is True


def test_the_screen_says_what_each_file_is_and_what_to_do_next(xnatctl):
    made = xnatctl("plugins", "new", "transport", "site-inbox")
    assert made.code == 0, made.err
    for words in (
        f"{Path('xnatctl-site-inbox/pyproject.toml')} ",
        f"{Path('xnatctl-site-inbox/xnatctl_site_inbox/transport.py')} ",
        f"{Path('xnatctl-site-inbox/tests/test_transport.py')} ",
        "Next: xnatctl plugins check xnatctl-site-inbox\n",
    ):
        assert words in made.out


@pytest.mark.parametrize(
    "name",
    [
        "Inbox",
        "1inbox",
        "in_box",
        "in--box",
        "-inbox",
        "inbox-",
        "in box",
        "",
        "../inbox",
        "ünbox",
        "x" * 31,
        "xnatctl-a",
    ],
)
def test_a_bad_name_is_refused(xnatctl, tmp_path, name):
    done = xnatctl("plugins", "new", "formatter", "--", name)
    assert done.code == 2
    assert "Hint:" in done.err
    assert not list(tmp_path.glob("xnatctl*"))


@pytest.mark.parametrize(
    ("name", "owner"),
    [("zip", "plugin zip"), ("tar", "transport tar"), ("auth", "command auth"), ("authoring", "plugin authoring")],
)
def test_a_name_that_is_taken_is_refused(xnatctl, tmp_path, name, owner):
    done = xnatctl("plugins", "new", "formatter", name)
    assert done.code == 2
    assert owner in done.err
    assert not list(tmp_path.glob("xnatctl*"))


def test_a_folder_that_exists_is_not_touched(xnatctl, tmp_path):
    kept = tmp_path / "xnatctl-mine" / "kept"
    kept.parent.mkdir()
    kept.write_text("mine")
    done = xnatctl("plugins", "new", "formatter", "mine")
    assert done.code == 7
    assert "--dir" in done.err
    assert [path.name for path in kept.parent.iterdir()] == ["kept"]
    other = tmp_path / "other"
    other.mkdir()
    assert xnatctl("plugins", "new", "formatter", "mine", "--dir", other).code == 0
    assert (other / "xnatctl-mine" / "pyproject.toml").exists()
    assert xnatctl("plugins", "new", "formatter", "mine", "--dir", tmp_path / "missing").code == 2


@pytest.mark.once
def test_the_wheel_holds_the_templates(tmp_path):
    pip = ("pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path))
    run(*pip, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    folder = ROOT / "plugins" / "xnatctl_authoring" / "templates"
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("xnatctl_authoring/templates/")}
    assert held == {path.relative_to(folder.parents[1]).as_posix() for path in folder.rglob("*") if path.is_file()}
