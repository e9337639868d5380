"""The page of findings lists the codes of `campaign plan`, and whether they block."""

from __future__ import annotations

import re
from pathlib import Path

from xnatctl_campaign.codes import Code

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "campaign-findings.md"
PLUGIN = Path(__file__).parents[2] / "plugins" / "xnatctl_campaign"


def test_every_code_is_on_the_page_once():
    listed = re.findall(r"^\| `([a-z-]+)` \| (?:error|warning) \| \S", PAGE.read_text(), re.MULTILINE)
    assert listed == list(Code), "in the order of the code"


def test_every_code_is_used():
    sources = "".join(path.read_text() for path in PLUGIN.rglob("*.py"))
    assert not [code for code in Code if f"Code.{code.name}" not in sources]
