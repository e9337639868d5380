"""The site that Sphinx makes of the pages: it builds without a warning, and its search finds what a reader looks for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), ROOT / "tests" / "README.md"])
needs_sphinx = pytest.mark.skipif(
    find_spec("sphinx") is None and not os.environ.get("CI"), reason="needs the dependency group `docs`"
)


def build(builder: str, site: Path) -> None:
    """Warnings are errors: a dead link, a page that no index leads to, an unknown directive."""
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-b", builder, "-W", "--keep-going", "-n", "-q", DOCS, site],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.once
@needs_sphinx
def test_the_site_builds_without_a_warning(tmp_path):
    build("dummy", tmp_path)


@pytest.mark.lab
@needs_sphinx
@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("exit code 6", "reference/exit-codes.html"),
        ("prearchive", "how-to/review-the-prearchive.html"),
        ("XNAT_PASS", "reference/environment.html"),
        ("resume", "how-to/resume-an-upload.html"),
    ],
)
def test_the_search_finds_the_page(tmp_path_factory, words, page):
    """In a browser without a network, from files, as a reader has it who downloaded the site."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed")
    site = tmp_path_factory.getbasetemp() / "site"
    if not site.exists():
        build("html", site)
    address = f"{(site / 'search.html').as_uri()}?q={words.replace(' ', '+')}"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    done = subprocess.run([browser, *options, address], capture_output=True, text=True, check=True)
    found = re.search(r'id="search-results">(.*?)</article>', done.stdout, re.DOTALL)
    assert found is not None
    assert page in re.findall(r'href="([^"?#]+)', found[1])


def test_every_address_outside_of_the_repository_is_listed():
    """In one place, for whoever asks whether they still answer; and each is written as an address is."""
    listed = [
        line for line in (DOCS / "external-links.txt").read_text().splitlines() if line and not line.startswith("#")
    ]
    used = {link for page in PAGES for link in re.findall(r"\]\((\w+://[^)]+)\)", page.read_text())}
    assert listed == sorted(set(listed))
    assert set(listed) == used
    assert all(re.fullmatch(r"https://[a-z0-9-]+(\.[a-z0-9-]+)+(/[\w./%~+@:?=&#-]*)?", link) for link in listed)
