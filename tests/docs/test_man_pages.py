"""The man pages: one for each command, without a warning of groff, and in the wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from programs import system_program

from xnatctl.cli.error_pages import DOCUMENTATION

ROOT = Path(__file__).parents[2]
COMMANDS = re.findall(r"^## (xnatctl .*)$", (ROOT / "docs" / "reference" / "commands.md").read_text(), re.MULTILINE)
NAMES = {"xnatctl.1", *(f"{command.replace(' ', '-')}.1" for command in COMMANDS if command != "xnatctl itself")}


def program(name: str) -> str:
    """Skips the test without it, except with CI."""
    found = system_program(name)
    if found is None and not os.environ.get("CI"):
        pytest.skip(f"{name} is not installed")
    assert found, f"{name} is not installed"
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("pages")
    subprocess.run([sys.executable, ROOT / "docs" / "man_pages.py", folder], check=True, capture_output=True)
    return folder


def test_groff_has_nothing_to_say_about_any_page(pages):
    assert {page.name for page in pages.iterdir()} == NAMES
    groff = [program("groff"), "-K", "utf8", "-man", "-ww", "-Tutf8", "-P-cbou", *sorted(pages.iterdir())]
    done = subprocess.run(groff, capture_output=True, encoding="utf-8", check=True)
    assert done.stderr == ""
    for text in ("\\-", "\\f", "`", "|---"):
        assert text not in done.stdout, "a mark of Markdown or roff is left"


def test_a_page_holds_what_the_help_holds(pages):
    groff = [program("groff"), "-K", "utf8", "-man", "-Tutf8", "-P-cbou", pages / "xnatctl-session-upload.1"]
    text = subprocess.run(groff, capture_output=True, encoding="utf-8", check=True).stdout
    headings = re.findall(r"^(?:   )?(\w[^:\n]*\w)$", text, re.MULTILINE)
    assert headings[:8] == [
        "NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "Destination", "Source", "Sending", "Checking",
    ]  # fmt: skip
    assert headings[-4:] == ["Server and login", "Output", "EXAMPLES", "SEE ALSO"]
    assert "\n       xnatctl session upload exam -P DEMO -S s01 -E s01_mr\n" in text
    assert "\n       --follow-symlinks\n              Follow symbolic links that lead out of PATH.\n" in text
    assert f"Documentation:\n{DOCUMENTATION}/how-to/upload-a-session.md\n" in text


@pytest.mark.lab
def test_man_finds_them_where_the_wheel_is_installed(tmp_path, pages):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--prefix", tmp_path / "env"]
    subprocess.run([*pip, wheel], check=True, capture_output=True)
    folder = tmp_path / "env" / "share" / "man"
    assert {page.name for page in (folder / "man1").iterdir()} == NAMES
    for name in ("xnatctl", "xnatctl-session-upload"):
        environment = {**os.environ, "MANPATH": str(folder)}
        found = subprocess.run(
            [program("man"), "-w", name], env=environment, capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() == str(folder / "man1" / f"{name}.1")
