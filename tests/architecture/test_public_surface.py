"""What plugin authors rely on does not change by accident."""

from __future__ import annotations

from pathlib import Path

import pytest

import xnatctl.api
import xnatctl.api.commands
import xnatctl.api.packing
import xnatctl.api.system
import xnatctl.api.xnat

MODULES = (xnatctl.api, xnatctl.api.commands, xnatctl.api.packing, xnatctl.api.system, xnatctl.api.xnat)
FROZEN = Path(__file__).parent / "api.txt"


def test_the_api_is_what_was_frozen():
    """Adding a name is a decision: write it into api.txt as well. Taking one away breaks plugins."""
    names = [f"{module.__name__}.{name}" for module in MODULES for name in sorted(module.__all__)]
    assert names == FROZEN.read_text().split()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_name_can_be_had(module):
    for name in module.__all__:
        assert getattr(module, name) is not None
