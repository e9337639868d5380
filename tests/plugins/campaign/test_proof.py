"""What the ledger proves: rows whose latest entry is PROVEN and whose files are as they were planned."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from xnatctl.api import Destination, UploadPlan, UploadRequest
from xnatctl.api.commands import plan_session_upload
from xnatctl.testing import write_exam
from xnatctl_campaign.folder import Campaign, CampaignInfo, now, write_campaign
from xnatctl_campaign.ledger import Entry, Ledger, RowState, RowStates
from xnatctl_campaign.proof import Proof
from xnatctl_campaign.row import Row


def entry(state: RowState, *, row: int = 1, generation: int = 1) -> Entry:
    return Entry(row=row, generation=generation, state=state, worker="w", at=now())


@pytest.fixture
def exam(tmp_path: Path) -> Any:
    return write_exam(tmp_path / "exam", series=2, instances=4, seed=3)


@pytest.fixture
def campaign(exam: Any, tmp_path: Path) -> Campaign:
    return frozen_with(plan_of(exam), exam, tmp_path)


def plan_of(exam: Any) -> UploadPlan:
    request = UploadRequest(
        command="session upload",
        path=str(exam.directory),
        destination=Destination(server="", project="P", subject="S", session="E"),
        transport="tar",
        workers=1,
    )
    return plan_session_upload(request)


def frozen_with(plan: UploadPlan, exam: Any, tmp_path: Path) -> Campaign:
    info = CampaignInfo(
        server="", manifest="m.csv", manifest_sha256="0", rows=0, excluded=0, created=now(), version="0"
    )
    row = Row(number=1, line=2, path=str(exam.directory), project="P", subject="S", session="E")
    write_campaign(tmp_path / "c", info, [(row, plan)], [])
    return Campaign(tmp_path / "c")


def proven(campaign: Campaign) -> bool:
    (frozen,) = campaign.rows()
    return Proof(campaign).holds(frozen)


def files(exam: Any) -> list[Path]:
    return [instance.path for instance in exam.instances.values()]


def test_a_row_is_proven_by_its_latest_entry(campaign: Campaign) -> None:
    assert not proven(campaign)
    with Ledger(campaign.directory, "w") as ledger:
        for generation, state, expected in (
            (1, RowState.STARTED, False),
            (1, RowState.PROVEN, True),
            (2, RowState.STARTED, False),
            (2, RowState.FAILED, False),
            (3, RowState.PROVEN, True),
            (2, RowState.FAILED, True),  # a worker that was taken over ends late
        ):
            ledger.append(entry(state, generation=generation))
            assert proven(campaign) is expected


def test_a_plan_of_another_machine_proves_as_well(exam: Any, tmp_path: Path) -> None:
    """The same network file system has another device number there."""
    document = json.loads(json.dumps(plan_of(exam).as_document()))
    for item in document["stages"][0]["items"]:
        item["device"] += 1
    campaign = frozen_with(UploadPlan.from_document(document), exam, tmp_path)
    with Ledger(campaign.directory, "w") as ledger:
        ledger.append(entry(RowState.PROVEN))
    assert proven(campaign)


@pytest.mark.parametrize("change", ["grown", "rewritten", "replaced", "touched", "appeared"])
def test_files_that_changed_are_not_proven(campaign: Campaign, exam: Any, change: str) -> None:
    with Ledger(campaign.directory, "w") as ledger:
        ledger.append(entry(RowState.PROVEN))
    assert proven(campaign)
    path = files(exam)[0]
    status = path.stat()
    if change == "grown":
        path.write_bytes(path.read_bytes() + b"\0")
    elif change == "rewritten":
        os.utime(path, ns=(0, status.st_mtime_ns + 1))
    elif change == "replaced":
        shutil.copy2(path, f"{path}.new")
        os.replace(f"{path}.new", path)
    elif change == "touched":  # content may have changed, and the time restored
        os.utime(path, ns=(0, status.st_mtime_ns))
    else:
        shutil.copy(path, path.with_name("new.dcm"))
    assert not proven(campaign)


def test_files_that_vanished_were_proven_before(campaign: Campaign, exam: Any) -> None:
    with Ledger(campaign.directory, "w") as ledger:
        ledger.append(entry(RowState.PROVEN))
    files(exam)[0].unlink()
    assert proven(campaign)
    shutil.rmtree(exam.directory)
    assert proven(campaign)


def test_states_are_read_as_they_are_appended(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    states = RowStates(tmp_path)
    assert states[1] is None
    with Ledger(tmp_path, "a") as ledger, Ledger(tmp_path, "b") as other:
        ledger.started(70000, 1)
        other.append(entry(RowState.FAILED, row=2))
        assert states[70000] is None
        states.refresh()
        assert (states[70000], states[2], states[69999], states[70001]) == (
            RowState.STARTED,
            RowState.FAILED,
            None,
            None,
        )
        with open(tmp_path / "ledger" / "a.jsonl", "a") as file:
            line = json.dumps(asdict(entry(RowState.PROVEN, row=2, generation=2)))
            file.write(line[:40])
            file.flush()
            states.refresh()
            assert states[2] is RowState.FAILED
            file.write(f'{line[40:]}\nnot JSON\n{{"row": 3}}\n')
        states.refresh()
        assert states[2] is RowState.PROVEN
