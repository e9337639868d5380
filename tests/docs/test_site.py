"""The site that Sphinx makes of the pages: it builds without a warning, and its search finds what a reader looks for."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), ROOT / "tests" / "README.md"])
needs_sphinx = pytest.mark.skipif(
    importlib.util.find_spec("sphinx") is None and not os.environ.get("CI"), reason="needs the dependency group `docs`"
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


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """As readers get it."""
    found: Path = tmp_path_factory.mktemp("html") / "site"
    build("html", found)
    return found


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
        ("prearchive", "how-to/review-prearchive.html"),
        ("XNAT_PASS", "reference/environment.html"),
        ("resume", "how-to/resume-an-upload.html"),
    ],
)
def test_the_search_finds_the_page(site, words, page):
    """In a browser without a network, from files, as a reader has it who downloaded the site."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed")
    address = f"{(site / 'search.html').as_uri()}?q={words.replace(' ', '+')}"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    done = subprocess.run([browser, *options, address], capture_output=True, text=True, check=True)
    found = re.search(r'id="search-results">(.*?)</article>', done.stdout, re.DOTALL)
    assert found is not None
    assert page in re.findall(r'href="([^"?#]+)', found[1])


class Page(HTMLParser):
    """The addresses that a built page leads to, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.anchors.add(value or "")
            elif name in ("href", "src"):
                self.links.add(value or "")


@pytest.mark.lab
@needs_sphinx
def test_no_link_of_the_built_site_is_dead(site):
    """Pages, anchors, pictures and downloads, also of what the theme and the index add to the pages."""
    pages = {path: Page(path) for path in site.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        for link in sorted(page.links):
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            anchors = pages[target].anchors if target in pages else {address.fragment}
            if not target.exists() or (address.fragment and unquote(address.fragment) not in anchors):
                dead.append(f"{path.relative_to(site)}: {link}")
    assert sum(len(page.links) for page in pages.values()) > 5000
    assert not dead


def test_every_address_outside_of_the_repository_is_listed():
    """In one place, for whoever asks whether they still answer; and each is written as an address is."""
    listed = [
        line for line in (DOCS / "external-links.txt").read_text().splitlines() if line and not line.startswith("#")
    ]
    used = {link for page in PAGES for link in re.findall(r"\]\((\w+://[^)]+)\)", page.read_text())}
    assert listed == sorted(set(listed))
    assert set(listed) == used
    assert all(re.fullmatch(r"https://[a-z0-9-]+(\.[a-z0-9-]+)+(/[\w./%~+@:?=&#-]*)?", link) for link in listed)


def recordings() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recordings", DOCS / "recordings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["recordings"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_every_recording_and_picture_is_shown_for_light_and_for_dark():
    shown = {
        (page.parent / target).resolve()
        for page in DOCS.rglob("*.md")
        for target in re.findall(r"!\[[^\]]+\]\(([^)]+\.svg)\)", page.read_text())
    }
    assert shown == {path for path in DOCS.rglob("*.svg") if "_static" not in path.parts}
    for path in shown - {DOCS / "explanation" / "pictures" / "scaling.svg"}:
        assert "prefers-color-scheme: dark" in path.read_text(), path
    scenes = re.findall(r'^    "([a-z-]+)": \w+,$', (DOCS / "recordings.py").read_text(), re.MULTILINE)
    assert sorted(path.stem for path in (DOCS / "recordings").glob("*.svg")) == sorted(scenes)


@pytest.mark.lab
@needs_sphinx
@pytest.mark.parametrize("name", ["upload", "session-list", "upload-exam"])
def test_a_recording_shows_what_the_program_prints(name):
    """Its last screen, but for durations and times of day."""
    recorder = recordings()
    varying = re.compile(r"\d+\.\d s|\d{8}_\d{9}")
    recorded = recorder.last_screen((DOCS / "recordings" / f"{name}.svg").read_text())
    printed = recorder.last_screen(recorder.svg(recorder.play(name), name))
    assert varying.sub("...", recorded) == varying.sub("...", printed), f"run: python docs/recordings.py {name}"
