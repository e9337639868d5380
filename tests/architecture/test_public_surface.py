"""What plugin authors rely on does not change by accident."""

from __future__ import annotations

from pathlib import Path

import xnatctl.api

FROZEN = Path(__file__).parent / "api.txt"


def test_the_api_is_what_was_frozen():
    """Adding a name is a decision: write it into api.txt as well. Taking one away breaks plugins."""
    assert sorted(xnatctl.api.__all__) == FROZEN.read_text().split()


def test_every_name_can_be_had():
    for name in xnatctl.api.__all__:
        assert getattr(xnatctl.api, name) is not None
