"""The campaign folder: a frozen plan, and beside it what happened.

    campaign.json     schema, time, server, digest and name of the manifest, number of rows, lease of claims in seconds
    rows.jsonl        a line for each frozen row: the row, files, bytes, and where its plan lies in plans.jsonl
    plans.jsonl       a line for each frozen row: its plan (xnatctl.plan/1)
    excluded.jsonl    a line for each row that was not frozen: the row, code and reason
    claims/           who works on which row (claims.py)
    budget/           who holds which slot of the server's budget (budget.py)
    ledger/           what became of rows: a file for each worker, which it alone appends to (ledger.py)
    work/             the journals of a row, in a folder for each claim
    reports/          reports; none is written twice

The first four are written once, in a folder of another name that is renamed when it is complete. Everything works on
network file systems: no lock of the system, no shared memory, and no file that two processes write.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xnatctl.api import Refused, UploadPlan, UsageError
from xnatctl_campaign.row import Row

SCHEMA = "xnatctl.campaign/1"
#: Folders that exist from the start.
_FOLDERS = ("claims", "budget", "ledger", "work", "reports")


@dataclass(frozen=True, kw_only=True, slots=True)
class FrozenRow:
    """A row that is part of the plan; `offset` and `length` say where its plan lies in `plans.jsonl`, in bytes."""

    row: Row
    files: int
    bytes: int
    offset: int
    length: int

    @property
    def number(self) -> int:
        """The number of the row in the manifest."""
        return self.row.number


@dataclass(frozen=True, kw_only=True, slots=True)
class ExcludedRow:
    """A row that is not part of the plan, with the code and the text of the reason."""

    row: Row
    code: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CampaignInfo:
    """The facts about a campaign. `lease`: seconds after which a silent worker counts as dead."""

    server: str
    manifest: str  # path of the manifest
    manifest_sha256: str
    rows: int
    excluded: int
    created: str  # ISO 8601
    version: str  # of xnatctl
    lease: float = 60.0
    schema: str = SCHEMA


class Campaign:
    """A campaign folder, open for reading. Raises UsageError for a folder that is none, or of another schema."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self.info = self._info()

    def _info(self) -> CampaignInfo:
        path = self.directory / "campaign.json"
        try:
            document = json.loads(path.read_text("utf-8"))
            schema = document["schema"]
        except (OSError, ValueError, KeyError, TypeError):
            raise UsageError(
                f"{self.directory} is not a campaign folder.",
                hint="xnatctl campaign plan MANIFEST DIR makes one.",
            ) from None
        if schema != SCHEMA:
            raise UsageError(
                f"{self.directory} has the schema {schema}, and this version of xnatctl reads {SCHEMA}.",
                hint="Use the version of xnatctl that made it, or plan the manifest again into another folder.",
            )
        return CampaignInfo(**document)

    def rows(self) -> Iterator[FrozenRow]:
        """The frozen rows in their order, one at a time."""
        for document in _lines(self.directory / "rows.jsonl"):
            yield FrozenRow(**{**document, "row": Row.from_document(document["row"])})

    def excluded(self) -> Iterator[ExcludedRow]:
        """The rows that are not part of the plan."""
        for document in _lines(self.directory / "excluded.jsonl"):
            yield ExcludedRow(**{**document, "row": Row.from_document(document["row"])})

    def plan(self, frozen: FrozenRow) -> UploadPlan:
        """The plan of a row."""
        with open(self.directory / "plans.jsonl", "rb") as file:
            file.seek(frozen.offset)
            return UploadPlan.from_document(json.loads(file.read(frozen.length)))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def write_campaign(
    directory: Path,
    info: CampaignInfo,
    rows: Iterable[tuple[Row, UploadPlan]],
    excluded: Iterable[ExcludedRow],
) -> CampaignInfo:
    """Freeze rows into a new folder. `info.rows` and `.excluded` are replaced by what was written.

    Raises Refused if the folder exists and holds something.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Refused(
            f"{directory} exists already, and a campaign is frozen into a new folder.",
            hint="Name another folder.",
        )
    draft = directory.with_name(f".{directory.name}.{os.getpid()}.draft")
    draft.mkdir(parents=True)
    try:
        count = _write_plans(draft, rows)
        left_out = _write_lines(draft / "excluded.jsonl", (asdict(row) for row in excluded))
        whole = CampaignInfo(**{**asdict(info), "rows": count, "excluded": left_out})
        for name in _FOLDERS:
            (draft / name).mkdir()
        with open(draft / "campaign.json", "x", encoding="utf-8") as file:
            json.dump(asdict(whole), file, indent=2)
            _flush(file)
        if directory.exists():
            directory.rmdir()
        draft.rename(directory)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return whole


def _write_plans(draft: Path, rows: Iterable[tuple[Row, UploadPlan]]) -> int:
    count = offset = 0
    with (
        open(draft / "plans.jsonl", "xb") as plans,
        open(draft / "rows.jsonl", "x", encoding="utf-8") as index,
    ):
        for row, plan in rows:
            line = json.dumps(plan.as_document(), separators=(",", ":")).encode("ascii") + b"\n"
            items = plan.items
            frozen = FrozenRow(
                row=row, files=len(items), bytes=sum(item.size for item in items), offset=offset, length=len(line)
            )
            plans.write(line)
            index.write(json.dumps(asdict(frozen)) + "\n")
            offset += len(line)
            count += 1
        _flush(plans)
        _flush(index)
    return count


def _write_lines(path: Path, documents: Iterable[dict[str, Any]]) -> int:
    count = 0
    with open(path, "x", encoding="utf-8") as file:
        for document in documents:
            file.write(json.dumps(document) + "\n")
            count += 1
        _flush(file)
    return count


def _flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def now() -> str:
    """The time in ISO 8601 with zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
