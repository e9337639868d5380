"""Every error has its section on the page of its exit code, and messages name pages that exist."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from xnatctl import errors
from xnatctl.cli.error_pages import DOCUMENTATION, page_about

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "reference" / "errors"
ERRORS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.XnatctlError) and kind.__module__ == errors.__name__
]


def sections(page: Path) -> list[str]:
    return re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.code)
def test_every_error_has_a_section_on_the_page_of_its_exit_code(kind):
    assert kind.code in sections(PAGES / f"exit-{kind.exit_code}.md")


def test_the_pages_have_no_other_sections():
    found = [(page.stem, section) for page in PAGES.glob("exit-*.md") for section in sections(page)]
    assert sorted(found) == sorted({(f"exit-{kind.exit_code}", kind.code) for kind in ERRORS})


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.code)
def test_the_address_in_a_message_is_that_page(kind):
    page = page_about(kind("it failed"))
    if kind.exit_code in (3, 4, 5, 6) and kind not in (errors.PermissionDenied, errors.SourceChanged):
        assert page is not None
    assert page in (None, f"{DOCUMENTATION}/reference/errors/exit-{kind.exit_code}.md")
    assert page is None or len(f"  {page}") <= 80


def test_the_table_of_exit_codes_leads_to_every_page():
    table = (ROOT / "docs" / "reference" / "exit-codes.md").read_text()
    assert {page.name for page in PAGES.glob("*.md")} == set(re.findall(r"\(errors/(exit-\d+\.md)\)", table))


#: Names and numbers that stand in the quoted messages for what varies.
EXAMPLES = (
    r"\.\.\.|\b(?:s01_mr|XNAT_E\d+|DEMOO?|alice|bob|exma|KeyError|N|\d[\d.]*|s)\b|https?://\S*|/\S+|\./\S*|['\"():,.;]"
)
QUOTING = [*PAGES.glob("exit-*.md"), ROOT / "docs" / "how-to" / "troubleshooting.md"]


def texts_of_the_program() -> str:
    """Every text of the sources, with a mark where a value is put in."""
    found = []
    for folder in ("core", "plugins"):
        for path in set((ROOT / folder).rglob("*.py")) - set((ROOT / folder).rglob("*sandbox/**/*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
                    found.append("".join(str(part) for part in parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)


def test_quoted_messages_are_those_of_the_program():
    """Each run of words between the examples in a quoted message stands in a text of the sources."""
    texts = " ".join(re.sub(EXAMPLES, " ", texts_of_the_program()).split()).lower()
    for page in QUOTING:
        prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for message in re.findall(r"\*(?!\*)\"?([^*]+?)\"?\*(?!\*)", prose.replace("**", "")):
            for words in re.split(EXAMPLES, " ".join(message.split())):
                if len(words.split()) >= 3:
                    assert " ".join(words.split()).lower() in texts, f"{page.name}: {message}"
