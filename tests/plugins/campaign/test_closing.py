"""How a run ends: the command that continues it delivers every row that is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from campaigns import freeze, write_exams

from xnatctl.api import RowResult
from xnatctl_campaign.closing import Ending, error_of
from xnatctl_campaign.folder import Campaign
from xnatctl_campaign.rows import RowIndex
from xnatctl_campaign.tally import Tally


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return freeze(tmp_path / "c", write_exams(tmp_path, 2), "http://127.0.0.1:1")


@pytest.mark.parametrize(("code", "command"), [("unreachable", "retry"), ("journal", "run")])
def test_a_row_that_could_not_be_recorded_is_not_left_to_retry(campaign: Campaign, code: str, command: str) -> None:
    """The ledger may not know it, for lack of room, and retry delivers what the ledger calls failed."""
    index = RowIndex(campaign)
    tally = Tally(index, index)
    for row, its_code in ((1, "unreachable"), (2, code)):
        tally.ended(RowResult(row=row, state="failed", exit_code=4, code=its_code, reason="It failed."))
    ending = Ending(campaign=campaign, index=index, tally=tally, verified=0, seconds=1.0, rerun="run", retry="retry")
    error = error_of(ending)
    assert error is not None
    assert error.hint == f"Continue with: {command}"


def test_retry_is_not_said_to_help_while_files_are_changed(campaign: Campaign) -> None:
    index = RowIndex(campaign)
    tally = Tally(index, index)
    for row in index:
        tally.ended(RowResult(row=row, state="failed", exit_code=5, code="changed", reason="It changed."))
    ending = Ending(campaign=campaign, index=index, tally=tally, verified=0, seconds=1.0, rerun="run", retry="retry")
    error = error_of(ending)
    assert error is not None
    assert error.hint == "Plan the manifest again into another folder, or restore the files and continue with: retry"
