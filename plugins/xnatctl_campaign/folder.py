"""The campaign folder: a frozen plan, and beside it what happened.

    campaign.json     schema, time, server, digest and name of the manifest, number of rows, lease of claims in seconds,
                      digests of the next file and of excluded.jsonl
    rows.jsonl        a line for each frozen row: the row, files, bytes, where its plan lies in plans.jsonl, its digest
    plans.jsonl       a line for each frozen row: its plan (xnatctl.plan/1)
    excluded.jsonl    a line for each row that was not frozen: the row, code and reason
    claims/           who works on which row (claims.py)
    budget/           who holds which slot of the server's budget (budget.py)
    ledger/           the results of rows: a file for each worker, which it alone appends to (ledger.py)
    work/             the journals of a row, in a folder for each claim
    reports/          reports; none is written twice

The first four are written once, in a folder of another name that is renamed when it is complete. What reads them
compares the digests, so that a copy that lacks rows, or an edited plan, is no proof of anything. Everything works on
network file systems: no lock of the system, no shared memory, and no file that two processes write.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from xnatctl.api import PermissionDenied, Refused, UploadPlan, UsageError, XnatctlError
from xnatctl_campaign.row import Row

SCHEMA = "xnatctl.campaign/1"
#: Folders that exist from the start.
_FOLDERS = ("claims", "budget", "ledger", "work", "reports")


@dataclass(frozen=True, kw_only=True, slots=True)
class FrozenRow:
    """A row that is part of the plan.

    `offset` and `length` say where its plan lies in `plans.jsonl`, in bytes; `sha256` is the digest of that line.
    """

    row: Row
    files: int
    bytes: int
    offset: int
    length: int
    sha256: str = ""

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
    """The facts about a campaign. `lease`: seconds after which a silent worker counts as dead.

    `rows_sha256` and `excluded_sha256` are the digests of `rows.jsonl` and `excluded.jsonl`.
    """

    server: str
    manifest: str  # path of the manifest
    manifest_sha256: str
    rows: int
    excluded: int
    created: str  # ISO 8601
    version: str  # of xnatctl
    lease: float = 60.0
    rows_sha256: str = ""
    excluded_sha256: str = ""
    schema: str = SCHEMA


class Campaign:
    """A campaign folder, open for reading.

    Raises UsageError for a folder that is none, of another schema, or that is not as it was frozen.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self.info = self._info()
        for name, digest in (("rows.jsonl", self.info.rows_sha256), ("excluded.jsonl", self.info.excluded_sha256)):
            self._compare(name, digest)

    def _info(self) -> CampaignInfo:
        path = self.directory / "campaign.json"
        try:
            document = json.loads(path.read_text("utf-8"))
            schema = document["schema"]
        except PermissionError as error:
            raise PermissionDenied(f"Cannot read {path}: {error.strerror}.") from error
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
        try:
            return CampaignInfo(**document)
        except TypeError:
            raise self._changed("campaign.json") from None

    def _compare(self, name: str, digest: str) -> None:
        """Raise UsageError unless a file is as it was frozen."""
        try:
            with open(self.directory / name, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            raise self._changed(name) from None
        except OSError as error:
            raise PermissionDenied(f"Cannot read {self.directory / name}: {error.strerror}.") from error
        if found != digest:
            raise self._changed(name)

    def _changed(self, name: str) -> UsageError:
        return UsageError(
            f"{self.directory / name} is not as it was when the campaign was planned.",
            hint="Restore the file, or copy the whole folder again. To change the campaign, plan the manifest again "
            "into another folder.",
        )

    def rows(self) -> Iterator[FrozenRow]:
        """The frozen rows in their order, one at a time."""
        for document in _lines(self.directory / "rows.jsonl"):
            yield FrozenRow(**{**document, "row": Row.from_document(document["row"])})

    def excluded(self) -> Iterator[ExcludedRow]:
        """The rows that are not part of the plan."""
        for document in _lines(self.directory / "excluded.jsonl"):
            yield ExcludedRow(**{**document, "row": Row.from_document(document["row"])})

    def plan(self, frozen: FrozenRow) -> UploadPlan:
        """The plan of a row. Raises UsageError if it is not as it was frozen."""
        try:
            with open(self.directory / "plans.jsonl", "rb") as file:
                file.seek(frozen.offset)
                line = file.read(frozen.length)
        except FileNotFoundError:
            raise self._changed("plans.jsonl") from None
        except OSError as error:
            raise PermissionDenied(f"Cannot read {self.directory / 'plans.jsonl'}: {error.strerror}.") from error
        if hashlib.sha256(line).hexdigest() != frozen.sha256:
            raise self._changed("plans.jsonl")
        document = json.loads(line)
        for stage in document["stages"]:
            for item in stage["items"]:
                item["device"] = 0  # unknown: a network file system has another number on each machine
        return UploadPlan.from_document(document)


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
    with Draft(directory) as draft:
        return draft.freeze(info, [draft.add(row, plan) for row, plan in rows], excluded)


def refuse_used(directory: Path, run: str = "") -> None:
    """Raise Refused if a folder exists and holds something. `run` is the command that runs it if it is a campaign."""
    try:
        used = directory.exists() and (not directory.is_dir() or any(directory.iterdir()))
    except OSError as error:
        raise PermissionDenied(f"Cannot look into {directory}: {error.strerror}.") from error
    if used:
        raise Refused(
            f"{directory} exists already, and a campaign is frozen into a new folder.",
            hint=f"Name another folder, or run the campaign that is there: {run}"
            if run and (directory / "campaign.json").is_file()
            else "Name another folder.",
        )


class Draft:
    """A campaign folder that is being made. It has another name until `freeze`, and is removed if that is not reached.

    Raises Refused if the folder exists and holds something, PermissionDenied if it cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        refuse_used(directory)
        self._draft = directory.with_name(f".{directory.name}.{os.getpid()}.draft")
        #: Parents that this draft makes, innermost first.
        self._made = [parent for parent in self._draft.parents if not parent.exists()]
        self._offset = 0
        try:
            self._draft.mkdir(parents=True)
        except OSError as error:
            self._remove()
            raise PermissionDenied(f"Cannot make the folder {directory}: {error.strerror}.") from error
        self._plans = open(self._draft / "plans.jsonl", "xb")  # noqa: SIM115 - `__exit__` closes it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # of a full disk, where the error is known already
            self._plans.close()
        if self._draft.exists():
            self._remove()

    def add(self, row: Row, plan: UploadPlan) -> FrozenRow:
        """Write the plan of a row, and return what `freeze` takes for it."""
        line = json.dumps(plan.as_document(), separators=(",", ":")).encode("ascii") + b"\n"
        items = plan.items
        size = sum(item.size for item in items)
        with _writing(self.directory):
            self._plans.write(line)
        digest = hashlib.sha256(line).hexdigest()
        frozen = FrozenRow(row=row, files=len(items), bytes=size, offset=self._offset, length=len(line), sha256=digest)
        self._offset += len(line)
        return frozen

    def freeze(self, info: CampaignInfo, rows: Iterable[FrozenRow], excluded: Iterable[ExcludedRow]) -> CampaignInfo:
        """Write the index of the rows, and give the folder its name. Plans of other rows stay unused in the file."""
        with _writing(self.directory):
            _flush(self._plans)
            count, digest = _write_lines(self._draft / "rows.jsonl", (asdict(row) for row in rows))
            left_out, its_digest = _write_lines(self._draft / "excluded.jsonl", (asdict(row) for row in excluded))
            whole = replace(info, rows=count, excluded=left_out, rows_sha256=digest, excluded_sha256=its_digest)
            for name in _FOLDERS:
                (self._draft / name).mkdir()
            with open(self._draft / "campaign.json", "x", encoding="utf-8") as file:
                json.dump(asdict(whole), file, indent=2)
                _flush(file)
            if self.directory.exists():
                self.directory.rmdir()
            self._draft.rename(self.directory)
        return whole

    def _remove(self) -> None:
        shutil.rmtree(self._draft, ignore_errors=True)
        for parent in self._made:
            with suppress(OSError):
                parent.rmdir()


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Name the folder in the error of a disk, such as one that is full. Raises XnatctlError."""
    try:
        yield
    except OSError as error:
        raise XnatctlError(
            f"Cannot write {directory}: {error.strerror}. Nothing was frozen.",
            hint="Make room, or name another folder.",
        ) from error


def _write_lines(path: Path, documents: Iterable[dict[str, Any]]) -> tuple[int, str]:
    """Write a line for each document; returns their number and the digest of the file."""
    count, digest = 0, hashlib.sha256()
    with open(path, "xb") as file:
        for document in documents:
            line = json.dumps(document).encode("ascii") + b"\n"
            file.write(line)
            digest.update(line)
            count += 1
        _flush(file)
    return count, digest.hexdigest()


def _flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def identity(directory: Path) -> str:
    """The digest of the rows of a campaign, which distinguishes it from others; empty for a folder that is none."""
    try:
        return str(json.loads((directory / "campaign.json").read_text("utf-8"))["rows_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def now() -> str:
    """The time in ISO 8601 with zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
