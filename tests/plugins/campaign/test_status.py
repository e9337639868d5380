"""`campaign status` and `campaign report`: the state comes from the folder alone, also while workers write to it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xnatctl_campaign.claims import Claims
from xnatctl_campaign.folder import Campaign, CampaignInfo, Draft, ExcludedRow, FrozenRow, now
from xnatctl_campaign.ledger import Entry, Ledger, RowState
from xnatctl_campaign.report_files import new_names
from xnatctl_campaign.row import Row
from xnatctl_campaign.standing import RowStanding, Standing, standings
from xnatctl_campaign.totals import Totals

#: Claims a row, says so, and waits to be killed.
_WORKER = """
import sys
from pathlib import Path
from xnatctl_campaign.claims import Claims
from xnatctl_campaign.ledger import Ledger
directory, row = Path(sys.argv[1]), int(sys.argv[2])
claims, ledger = Claims(directory, "killed", 60.0), Ledger(directory, "killed")
claim = claims.take(row)
ledger.started(row, claim.generation)
print("claimed", flush=True)
sys.stdin.read()
"""


def _row(number: int) -> Row:
    return Row(number=number, line=number + 1, path=f"/data/{number}", project="P", subject="S", session=f"E{number}")


def _freeze(directory: Path, planned: Iterable[int], excluded: Iterable[int]) -> Path:
    """A campaign of rows with 10 files of 100 bytes each, and of excluded rows."""
    info = CampaignInfo(
        server="http://127.0.0.1:1",
        manifest="m.csv",
        manifest_sha256="0",
        rows=0,
        excluded=0,
        created=now(),
        version="0",
    )
    rows = [FrozenRow(row=_row(number), files=10, bytes=1000, offset=0, length=0) for number in planned]
    left_out = [ExcludedRow(row=_row(n), code="path-missing", reason=f"There is no /data/{n}.") for n in excluded]
    with Draft(directory) as draft:
        draft.freeze(info, rows, left_out)
    return directory


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A campaign of rows 1 to 8, and row 9 excluded."""
    return _freeze(tmp_path / "c", range(1, 9), [9])


@pytest.fixture
def campaign(directory: Path) -> Iterator[Path]:
    """The same: 1 and 2 proven, 3 and 4 failed, 5 interrupted, 6 in work, 7 with a dead worker, 8 not tried."""

    def entry(row: int, state: RowState, **more: Any) -> Entry:
        return Entry(row=row, generation=1, state=state, worker="w", at=now(), found=10, seconds=2.0, **more)

    with Claims(directory, "w", 60.0) as claims, Ledger(directory, "w") as ledger:
        for row in (1, 2, 3, 4, 5):
            claim = claims.take(row)
            assert claim is not None
            ledger.started(row, claim.generation)
            claim.end()
        for row in (1, 2):
            ledger.append(
                entry(row, RowState.PROVEN, sent=10, verified=10, level="size", uri=f"/data/experiments/XNAT_E{row}")
            )
        for row in (3, 4):
            ledger.append(
                entry(row, RowState.FAILED, exit_code=4, code="server", reason=f"=XNAT said\n{row}", hint="H")
            )
        ledger.append(entry(5, RowState.INTERRUPTED, exit_code=130, code="interrupted", reason="Interrupted."))
        living = claims.take(6)
        assert living is not None
        ledger.started(6, living.generation)
        worker = subprocess.Popen(
            [sys.executable, "-c", _WORKER, directory, "7"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"claimed\n"
            worker.kill()
        yield directory


_STATES = ["proven", "proven", "failed", "failed", "interrupted", "in-work", "interrupted", "not-tried", "excluded"]


def test_each_row_has_its_state(campaign: Path) -> None:
    found = list(standings(Campaign(campaign)))
    assert [row.standing for row in found] == _STATES
    assert [row.row.number for row in found] == [*range(1, 10)]
    assert found[5].worker == "w"
    assert found[8].code == "path-missing"


def test_rows_are_in_the_order_of_the_manifest(tmp_path: Path) -> None:
    directory = _freeze(tmp_path / "c", [2, 3, 6], [7, 1, 5, 4])
    found = [(row.row.number, row.standing is Standing.EXCLUDED) for row in standings(Campaign(directory))]
    assert found == [(1, True), (2, False), (3, False), (4, True), (5, True), (6, False), (7, True)]


def test_the_document_of_the_status(xnatctl: Callable[..., Any], campaign: Path) -> None:
    result = xnatctl("campaign", "status", campaign, "-o", "json")
    assert result.code == 0
    document = json.loads(result.out)
    assert document["schema"] == "xnatctl.campaign-status/1"
    assert document["complete"] is False
    assert document["rows"] == {
        "planned": 8, "proven": 2, "failed": 2, "interrupted": 2, "in_work": 1, "not_tried": 1, "excluded": 1,
    }  # fmt: skip
    assert document["verified"] == 20
    assert document["in_work"][0]["row"] == 6
    assert document["interrupted"] == [5, 7]
    assert [(group["code"], group["rows"], group["hint"]) for group in document["failures"]] == [
        ("server", [3, 4], "H")
    ]
    assert document["next"] == []  # a worker is at it
    assert document["rate"] is None


def test_the_status_for_people(xnatctl: Callable[..., Any], campaign: Path) -> None:
    result = xnatctl("campaign", "status", campaign)
    assert result.code == 0
    for text in (
        "2 of 8 rows proven; 20 files verified.",
        "In work: row 6 (P/S/E6) on ",
        "Failed (server): rows 3 and 4; row 3: =XNAT said",
        "Interrupted: rows 5 and 7.",
        "1 row of the manifest excluded by its plan",
    ):
        assert text in result.out
    assert xnatctl("campaign", "status", campaign, "-q").out.split() == ["3", "4", "5", "7"]
    table = list(csv.DictReader(xnatctl("campaign", "status", campaign, "-o", "csv").out.splitlines()))
    assert {row["state"]: int(row["rows"]) for row in table}["proven"] == 2


def _finish(directory: Path, worker: str, state: RowState, rows: range) -> None:
    with Ledger(directory, worker) as ledger:
        for row in rows:
            entry = Entry(row=row, generation=2, state=state, worker=worker, at=now(), verified=10, code="server")
            ledger.append(entry)


def test_the_next_command_fits_the_state(xnatctl: Callable[..., Any], directory: Path) -> None:
    def following() -> list[str]:
        document = json.loads(xnatctl("campaign", "status", directory, "-o", "json").out)
        assert document["complete"] is (document["rows"]["proven"] == 8)
        return document["next"]

    assert following() == [f"xnatctl campaign run {directory}"]
    _finish(directory, "a", RowState.FAILED, range(1, 9))
    assert following() == [f"xnatctl campaign retry {directory}"]
    with Ledger(directory, "b") as ledger:
        for row in range(1, 9):
            ledger.append(Entry(row=row, generation=3, state=RowState.PROVEN, worker="b", at=now(), verified=10))
    assert following() == [f"xnatctl campaign report {directory}"]


def test_a_report_has_every_row(xnatctl: Callable[..., Any], campaign: Path) -> None:
    result = xnatctl("campaign", "report", campaign, "-o", "json")
    assert result.code == 0
    document = json.loads(result.out)
    assert document["schema"] == "xnatctl.campaign-reports/1"
    files = {entry["format"]: Path(entry["file"]) for entry in document["reports"]}
    assert {path.parent for path in files.values()} == {campaign / "reports"}
    report = json.loads(files["json"].read_text())
    assert (report["schema"], report["complete"]) == ("xnatctl.campaign-report/1", False)
    assert [row["state"] for row in report["rows"]] == _STATES
    proven, failed, excluded = report["rows"][0], report["rows"][2], report["rows"][8]
    assert (proven["uri"], proven["found"], proven["verified"], proven["level"]) == (
        "/data/experiments/XNAT_E1", 10, 10, "size",
    )  # fmt: skip
    assert (proven["files"], proven["bytes"], proven["attempts"], proven["worker"]) == (10, 1000, 1, "w")
    assert time.strptime(proven["started"], "%Y-%m-%dT%H:%M:%S%z") <= time.strptime(
        proven["ended"], "%Y-%m-%dT%H:%M:%S%z"
    )
    assert (failed["code"], failed["reason"], failed["uri"]) == ("server", "=XNAT said\n3", None)
    assert (excluded["code"], excluded["path"], excluded["line"]) == ("path-missing", "/data/9", 10)
    with open(files["csv"], newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["state"] for row in table] == _STATES
    assert table[2]["reason"] == "'=XNAT said 3"  # no formula, and one line


def test_reports_are_never_overwritten(xnatctl: Callable[..., Any], campaign: Path, tmp_path: Path) -> None:
    command = ("campaign", "report", campaign, "--csv", "r.csv", "--json", "r.json", "-q")
    assert xnatctl(*command).out == "r.csv\nr.json\n"
    (tmp_path / "r.csv").unlink()
    before = (tmp_path / "r.json").read_bytes()
    again = xnatctl(*command)
    assert again.code == 7
    assert "r.json exists already, and a report is never overwritten" in again.err
    assert (tmp_path / "r.json").read_bytes() == before
    assert not (tmp_path / "r.csv").exists()  # it would be only half of what was asked for
    assert not list((campaign / "reports").iterdir())
    assert xnatctl("campaign", "report", campaign, "--csv", "x", "--json", "x").code == 2
    assert xnatctl("campaign", "report", campaign, "--csv", "none/r.csv").code == 1
    names = new_names(campaign)
    for path in names:
        path.touch()
    assert new_names(campaign) != names


def test_a_folder_that_is_no_campaign(xnatctl: Callable[..., Any], tmp_path: Path) -> None:
    for word in ("status", "report"):
        result = xnatctl("campaign", word, tmp_path)
        assert result.code == 2
        assert "is not a campaign folder" in result.err


def _standing(number: int, standing: Standing, ended: float = 0.0, *, size: int = 1000) -> RowStanding:
    at = time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(ended))
    entry = Entry(row=number, generation=1, state=RowState.PROVEN, worker="w", at=at, seconds=10.0)
    return RowStanding(row=_row(number), standing=standing, files=1, bytes=size, entry=entry)


def test_a_rate_is_said_only_while_it_is_known() -> None:
    clock = 1_000_000.0
    rows = [_standing(number, Standing.PROVEN, clock - 100 * number) for number in (1, 2, 3, 4)]
    old = [_standing(number, Standing.PROVEN, clock - 10_000) for number in (5, 6)]
    left = [_standing(7, Standing.NOT_TRIED), _standing(8, Standing.IN_WORK), _standing(9, Standing.FAILED)]

    def rate(*given: RowStanding) -> Any:
        totals = Totals(clock)
        for row in given:
            totals.add(row)
        return totals.rate

    found = rate(*rows, *old, *left)
    assert found.rows_per_hour == pytest.approx(4 / 410 * 3600)
    assert found.bytes_per_second == pytest.approx(4000 / 410)
    assert found.seconds_left == pytest.approx(2000 / (4000 / 410))  # without the row that failed
    assert rate(*rows, *old, left[0]) is None  # nothing is in work
    assert rate(*rows[:2], *old, *left) is None  # two rows say little
    assert rate(*(replace(row, bytes=0) for row in rows), *left) is None
    assert rate(*old, *left) is None
