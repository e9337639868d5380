"""Where the documentation is, and which page explains an error."""

from __future__ import annotations

from typing import Final

from xnatctl.errors import XnatctlError

#: Where the documentation is; `Documentation` in pyproject.toml.
DOCUMENTATION: Final = "https://github.com/xnatctl/xnatctl/tree/main/docs"
#: Error code to the exit code that its page is named after. The other errors say all there is in message and hint.
_EXPLAINED: Final = {
    "journal": 1,
    "authentication": 3,
    "unreachable": 4,
    "answer-lost": 4,
    "server": 4,
    "not-xnat": 4,
    "too-large": 4,
    "throttled": 4,
    "incomplete": 5,
    "not-archived": 6,
    "verification": 6,
}


def address_of(page: str) -> str:
    """The address of a page: a path in `docs`, an address of a plugin's own, or empty for the first page."""
    return page if "://" in page else f"{DOCUMENTATION}/{page}".rstrip("/")


def page_about(error: XnatctlError) -> str | None:
    """The address of the page about the error, which fits 80 columns; None if there is no more to say."""
    number = _EXPLAINED.get(error.code)
    return None if number is None else address_of(f"reference/errors/exit-{number}.md")
