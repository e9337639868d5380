"""Comments cite numbered facts about XNAT; each citation leads to a section of a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
CITATION = re.compile(r"\bxnat-(import|api) (\d[\d.a-z]*(?:(?:, | to | and |, then )\d[\d.a-z]*)*)")


def sections(page: str) -> set[str]:
    """The numbers of headings, and those of the facts in a numbered list under one, as `3.4` and `3.4.9`."""
    found, heading = set(), ""
    for line in (REFERENCE / page).read_text().splitlines():
        if match := re.match(r"#+ (\d[\d.a-z]*?)\.? ", line):
            heading = match[1]
            found.add(heading)
        elif match := re.match(r"(\d+)\. ", line):
            found.add(f"{heading}.{match[1]}")
        elif match := re.match(r"- (\d[\d.]*) ", line):
            found.add(match[1])
    return found


@pytest.mark.parametrize("page", ["import", "api"])
def test_citations_lead_to_a_section(page):
    known = sections(f"xnat-{page}.md")
    assert len(known) > 30
    cited = {
        number.rstrip(".")
        for folder in ("core", "plugins", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for name, numbers in CITATION.findall(" ".join(path.read_text().split()))
        if name == page
        for number in re.findall(r"\d[\d.a-z]*", numbers)
    }
    assert len(cited) > 20
    assert cited <= known, sorted(cited - known)


def test_no_document_outside_the_repository_is_cited():
    for folder in ("core", "plugins", "tests", "benchmarks", "docs"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not re.search(r"DESIGN " + r"\d|contract " + r"xnat-", path.read_text()), path
