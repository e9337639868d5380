"""The campaign folder: what was frozen is read again, and nothing is frozen over something else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from xnatctl.api import (
    Destination,
    JournalError,
    Overwrite,
    Placement,
    Refused,
    Source,
    Stage,
    UploadItem,
    UploadPlan,
    UsageError,
)
from xnatctl_campaign.folder import Campaign, CampaignInfo, ExcludedRow, now, write_campaign
from xnatctl_campaign.ledger import Entry, Ledger, RowState, RowStates, latest
from xnatctl_campaign.row import Row


def _info() -> CampaignInfo:
    return CampaignInfo(
        server="http://127.0.0.1:1",
        manifest="m.csv",
        manifest_sha256="0",
        rows=0,
        excluded=0,
        created=now(),
        version="0",
    )


def _plan(session: str) -> UploadPlan:
    item = UploadItem(path="a.dcm", source=Source(path="/data/a.dcm"), size=12, sop_instance_uid="1.2.3")
    return UploadPlan(
        command="session upload",
        root="/data",
        destination=Destination(server="", project="P", subject="S", session=session),
        workers=1,
        placement=Placement.ARCHIVE,
        overwrite=Overwrite.DELETE,
        stages=(Stage(kind="session", name="send", transport="tar", items=(item,)),),
    )


def _row(number: int) -> Row:
    return Row(number=number, line=number + 1, path="/data", project="P", subject="S", session=f"E{number}")


def test_frozen_rows_and_plans_are_read_again(tmp_path: Path) -> None:
    rows = [(_row(number), _plan(f"E{number}")) for number in (1, 2, 4)]
    excluded = [ExcludedRow(row=_row(3), code="not-found", reason="There is no such directory.")]
    info = write_campaign(tmp_path / "c", _info(), rows, excluded)
    assert (info.rows, info.excluded) == (3, 1)
    campaign = Campaign(tmp_path / "c")
    assert campaign.info == info
    found = list(campaign.rows())
    assert [frozen.row for frozen in found] == [row for row, _ in rows]
    assert [(frozen.files, frozen.bytes) for frozen in found] == [(1, 12)] * 3
    assert [campaign.plan(frozen).as_document() for frozen in reversed(found)] == [
        plan.as_document() for _, plan in reversed(rows)
    ]
    assert list(campaign.excluded()) == excluded


def test_nothing_is_frozen_over_something_else(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(Refused):
        write_campaign(tmp_path, _info(), [], [])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_of_another_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a campaign folder"):
        Campaign(tmp_path)
    write_campaign(tmp_path / "c", _info(), [], [])
    path = tmp_path / "c" / "campaign.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": "xnatctl.campaign/9"}))
    with pytest.raises(UsageError, match=r"xnatctl\.campaign/9"):
        Campaign(tmp_path / "c")


@pytest.mark.parametrize("name", ["rows.jsonl", "excluded.jsonl"])
@pytest.mark.parametrize("change", ["edited", "cut off", "removed"])
def test_a_folder_that_is_not_as_it_was_frozen_is_refused(tmp_path: Path, name: str, change: str) -> None:
    """A copy that lacks rows would say that every row is proven."""
    rows = [(_row(number), _plan(f"E{number}")) for number in (1, 2)]
    excluded = [ExcludedRow(row=_row(number), code="not-found", reason="Not there.") for number in (3, 4)]
    write_campaign(tmp_path / "c", _info(), rows, excluded)
    path = tmp_path / "c" / name
    first, second = path.read_bytes().splitlines(keepends=True)
    if change == "removed":
        path.unlink()
    else:
        path.write_bytes(first + second.replace(b'"E', b'"F') if change == "edited" else first)
    with pytest.raises(UsageError, match=f"{name} is not as it was when the campaign was planned"):
        Campaign(tmp_path / "c")


@pytest.mark.parametrize("change", ["edited", "cut off", "removed"])
def test_a_plan_that_is_not_as_it_was_frozen_is_refused(tmp_path: Path, change: str) -> None:
    write_campaign(tmp_path / "c", _info(), [(_row(1), _plan("E1"))], [])
    path = tmp_path / "c" / "plans.jsonl"
    content = path.read_bytes()
    if change == "removed":
        path.unlink()
    else:
        path.write_bytes(content.replace(b'"E1"', b'"E2"') if change == "edited" else content[:-40])
    campaign = Campaign(tmp_path / "c")
    (frozen,) = campaign.rows()
    with pytest.raises(UsageError, match=r"plans\.jsonl is not as it was when the campaign was planned"):
        campaign.plan(frozen)


def test_the_latest_claim_of_a_row_counts(tmp_path: Path) -> None:
    write_campaign(tmp_path / "c", _info(), [], [])

    def entry(generation: int, state: RowState, worker: str) -> Entry:
        return Entry(row=1, generation=generation, state=state, worker=worker, at=now())

    with Ledger(tmp_path / "c", "b") as new, Ledger(tmp_path / "c", "a") as old:
        old.started(1, 1)
        new.started(1, 2)
        new.append(entry(2, RowState.PROVEN, "b"))
        old.append(entry(1, RowState.FAILED, "a"))  # it was taken over, and ends late
    with open(tmp_path / "c" / "ledger" / "a.jsonl", "a") as file:
        file.write('{"row": 1, "gener')  # killed while it wrote
    assert latest(tmp_path / "c")[1].state is RowState.PROVEN


@pytest.mark.parametrize("missing", ["ledger", "ledger/w.jsonl"])
def test_a_campaign_without_its_ledgers_says_so(tmp_path: Path, missing: str) -> None:
    write_campaign(tmp_path / "c", _info(), [], [])
    with Ledger(tmp_path / "c", "w") as ledger:
        ledger.started(1, 1)
    path = tmp_path / "c" / missing
    path.rename(f"{path}.away")
    if missing != "ledger":
        path.mkdir()  # stands for what this user may not read
    for read in (latest, RowStates):
        with pytest.raises(JournalError, match=f"Cannot read .*{missing}"):
            read(tmp_path / "c")


@pytest.mark.parametrize(
    "change",
    [
        {"row": "1"}, {"row": 0}, {"row": -1}, {"row": 1.5}, {"row": 10**15}, {"row": True}, {"generation": None},
        {"generation": 10**15}, {"state": "done"}, {"at": 5}, {"seconds": "long"}, {"verified": "10"}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_line_that_no_ledger_writes_is_no_entry(tmp_path: Path, change: dict[str, object]) -> None:
    """It neither proves a row nor ends the command."""
    (tmp_path / "ledger").mkdir()
    entry = Entry(row=1, generation=1, state=RowState.PROVEN, worker="w", at=now())
    lines = [{**asdict(entry), **change}, asdict(replace(entry, row=2))]
    (tmp_path / "ledger" / "w.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert sorted(latest(tmp_path)) == [2]
    states = RowStates(tmp_path)
    assert (states[1], states[2]) == (None, RowState.PROVEN)


#: Writes three entries, of which a full disk cuts the second one off.
FULL = """
import resource, signal, sys
from pathlib import Path
from xnatctl.api import JournalError
from xnatctl_campaign.ledger import Ledger
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Ledger(Path(sys.argv[1]), "w") as ledger:
    ledger.started(1, 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, resource.RLIM_INFINITY))
    try:
        ledger.started(2, 1)
    except JournalError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ledger.started(3, 1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of processes are those of POSIX")
def test_an_entry_that_a_full_disk_cut_off_spoils_no_other(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"The ledger {tmp_path / 'ledger' / 'w.jsonl'} cannot be written: ")
    assert sorted(latest(tmp_path)) == [1, 3]
    assert [RowStates(tmp_path)[row] for row in (1, 2, 3)] == [RowState.STARTED, None, RowState.STARTED]


def test_a_ledger_of_another_campaign_proves_nothing(tmp_path: Path) -> None:
    """Rows of all campaigns are numbered from 1."""
    for name, session in (("a", "E1"), ("b", "E2")):
        write_campaign(tmp_path / name, _info(), [(_row(1), _plan(session))], [])
    with Ledger(tmp_path / "a", "w") as ledger:
        ledger.append(Entry(row=1, generation=1, state=RowState.PROVEN, worker="w", at=now()))
    assert latest(tmp_path / "a")[1].state is RowStates(tmp_path / "a")[1] is RowState.PROVEN
    shutil.copy(tmp_path / "a" / "ledger" / "w.jsonl", tmp_path / "b" / "ledger")
    for read in (latest, RowStates):
        with pytest.raises(JournalError, match="belongs to another campaign"):
            read(tmp_path / "b")
