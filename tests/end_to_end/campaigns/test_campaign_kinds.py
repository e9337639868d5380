"""Rows of every kind are planned, delivered and proven by one campaign."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from xnatctl_campaign.folder import Campaign
from xnatctl_campaign.ledger import RowState, latest

pytestmark = pytest.mark.once


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Files of a resource: one is empty, one has an odd name."""
    folder = tmp_path / "documents"
    (folder / "more").mkdir(parents=True)
    (folder / "notes.txt").write_text("what was seen")
    (folder / "more" / "ünusual name.csv").write_text("a,b\n1,2\n")
    (folder / "empty.log").touch()
    return folder


def test_rows_of_every_kind_are_proven(
    xnatctl: Any,
    sandbox: Any,
    alice: dict[str, str],
    exam: Any,
    root: Any,
    documents: Path,
    attached: Any,
    tmp_path: Path,
) -> None:
    (tmp_path / "manifest.csv").write_text(
        "path,project,subject,session,kind,resource,mode\n"
        f"{documents},DEMO,s1,e1,resource,NOTES,\n"  # needs the session of the next row
        f"{exam.directory},DEMO,s1,e1,dicom,,gradual\n"
        f"{root.directory},DEMO,s2,e2,exam,,\n"
    )
    planned = xnatctl("campaign", "plan", tmp_path / "manifest.csv", tmp_path / "c", env=alice)
    assert planned.code == 0, planned.err
    done = xnatctl("campaign", "run", tmp_path / "c", env=alice)
    entries = latest(tmp_path / "c")
    assert done.code == 0, (done.err, entries)
    assert {row: entry.state for row, entry in entries.items()} == dict.fromkeys((1, 2, 3), RowState.PROVEN)
    frozen = {row.number: row for row in Campaign(tmp_path / "c").rows()}
    assert {row: entry.verified for row, entry in entries.items()} == {row: frozen[row].files for row in frozen}
    held = Counter(entry["sop_instance_uid"] for entry in sandbox.instances())
    assert held == Counter(dict.fromkeys([*exam.instances, *root.digests], 1))
    assert set(attached(sandbox, "e1")["NOTES"]) == {"notes.txt", "more/ünusual name.csv", "empty.log"}
    before = len(sandbox.requests)
    again = xnatctl("campaign", "run", tmp_path / "c", env=alice)
    assert again.code == 0, again.err
    assert len(sandbox.requests) == before
