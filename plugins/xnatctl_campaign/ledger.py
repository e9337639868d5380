"""The ledger: the results of the rows of a campaign.

Each worker has a file of its own and appends to it alone, so no two processes write one file. The latest entry of a row
counts: entries of a later claim (`generation`) outrank those of an earlier one. The first line of a file names the
campaign, because rows of another campaign have the same numbers.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from xnatctl.api import JournalError
from xnatctl.api.system import create_private
from xnatctl_campaign.folder import identity, now


class RowState(StrEnum):
    """The state of a row that a worker tried."""

    STARTED = "started"  # a worker claimed it
    PROVEN = "proven"  # every instance was found where it belongs
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A line of a ledger.

    `code` is the code of the error (such as `refused`) and `reason` its message, both empty for a proven row; `uri` is
    the session on the server. `found`, `sent`, `skipped` and `verified` count instances or files, as in the report.
    `level` is the level of verification. `seconds` is how long the row took.
    """

    row: int
    generation: int
    state: RowState
    worker: str
    at: str  # ISO 8601
    exit_code: int = 0
    code: str = ""
    reason: str = ""
    hint: str = ""
    uri: str = ""
    found: int = 0
    sent: int = 0
    skipped: int = 0
    verified: int = 0
    level: str = ""
    seconds: float = 0.0


#: The fields of an entry that are whole numbers or texts, with their type.
_TYPES: Final = tuple(
    (field.name, {"int": int, "str": str}[field.type])
    for field in fields(Entry)
    if isinstance(field.type, str) and field.type in ("int", "str")
)
#: More than the rows of a campaign, and than the claims of a row.
_MOST: Final = 10**9


class Ledger:
    """The ledger of one worker, open for appending. Raises JournalError if it cannot be written."""

    def __init__(self, directory: Path, worker: str) -> None:
        self.worker = worker
        self._path = directory / "ledger" / f"{worker}.jsonl"
        self._torn = False
        try:
            self._file = create_private(self._path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise self._unwritable(error.strerror) from error
        try:
            self._write({"campaign": identity(directory)})
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def append(self, entry: Entry) -> None:
        """Append an entry; it is on disk afterwards."""
        self._write(asdict(entry))

    def _write(self, document: dict[str, Any]) -> None:
        line = json.dumps(document).encode("ascii") + b"\n"
        if self._torn:
            line = b"\n" + line  # the line before was cut off by a full disk
        try:
            self._torn = os.write(self._file, line) < len(line)
            os.fsync(self._file)
        except OSError as error:
            raise self._unwritable(error.strerror) from error
        if self._torn:
            raise self._unwritable("no space left")

    def started(self, row: int, generation: int) -> None:
        """Append that work on a row begins."""
        self.append(Entry(row=row, generation=generation, state=RowState.STARTED, worker=self.worker, at=now()))

    def _unwritable(self, reason: str | None) -> JournalError:
        return JournalError(
            f"The ledger {self._path} cannot be written: {reason}.",
            hint="Check that this machine can write to the campaign folder, and that its disk has room.",
        )


def entries(directory: Path) -> Iterator[Entry]:
    """All entries of all workers; a last line that was not written to its end is skipped. Raises JournalError."""
    campaign = identity(directory)
    for path in _ledgers(directory):
        _check_campaign(path, campaign)
        with _readable(path), open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                if (entry := _entry(line)) is not None:
                    yield entry


def _entry(line: str | bytes) -> Entry | None:
    """The entry of a line; None for a line that no ledger writes, such as one that was cut off."""
    try:
        document = json.loads(line)
        entry = Entry(**{**document, "state": RowState(document["state"])})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    fits = all(type(getattr(entry, name)) is kind for name, kind in _TYPES) and type(entry.seconds) in (int, float)
    return entry if fits and 0 < entry.row < _MOST and 0 < entry.generation < _MOST else None


def latest(directory: Path) -> dict[int, Entry]:
    """The entry of each row that counts."""
    found: dict[int, Entry] = {}
    for entry in entries(directory):
        before = found.get(entry.row)
        if before is None or entry.generation > before.generation or _ends(entry, before):
            found[entry.row] = entry
    return found


def _ledgers(directory: Path) -> list[Path]:
    """The ledgers of all workers. Raises JournalError, because a campaign without its ledgers proves nothing."""
    folder = directory / "ledger"
    with _readable(folder):
        return sorted(folder / name for name in os.listdir(folder) if name.endswith(".jsonl"))


def _check_campaign(path: Path, campaign: str) -> None:
    """Raise JournalError for a ledger of another campaign. One whose first line is being written has no entry yet."""
    with _readable(path), open(path, "rb") as file:
        line = file.readline()
    if not line.endswith(b"\n"):
        return
    try:
        named = json.loads(line).get("campaign", "")
    except (ValueError, AttributeError, RecursionError):
        named = ""
    if named != campaign:
        raise JournalError(
            f"The ledger {path} belongs to another campaign, or its beginning was changed.",
            hint="Move it out of the folder. A ledger is of use only together with the folder that it was written in.",
        )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn errors of the file system into JournalError."""
    try:
        yield
    except OSError as error:
        raise JournalError(
            f"Cannot read {path}: {error.strerror or error}.",
            hint="Restore what is missing, and let all users of the campaign read what the others wrote there.",
        ) from error


class RowStates:
    """The state of each row that counts, for all rows in five bytes each.

    `refresh` reads what was appended since. Both raise JournalError.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._campaign = identity(directory)
        self._read: dict[Path, int] = {}  # bytes of each ledger that were read
        self._generations = array("I")
        self._states = bytearray()
        self.refresh()

    def __getitem__(self, row: int) -> RowState | None:
        number = self._states[row] if row < len(self._states) else 0
        return _STATES[number - 1] if number else None

    def refresh(self) -> None:
        """Read the entries that were appended since the last call."""
        for path in _ledgers(self._directory):
            self._read_more(path)

    def _read_more(self, path: Path) -> None:
        before = self._read.get(path, 0)
        if not before:
            _check_campaign(path, self._campaign)
        with _readable(path), open(path, "rb") as file:
            file.seek(before)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written, or its worker was killed
                before += len(line)
                self._take(line)
        self._read[path] = before

    def _take(self, line: bytes) -> None:
        if (entry := _entry(line)) is None:
            return
        row, generation, state = entry.row, entry.generation, entry.state
        if row >= len(self._states):
            missing = max(row + 1, 2 * len(self._states)) - len(self._states)
            self._states.extend(bytes(missing))
            self._generations.extend([0] * missing)
        before = self._generations[row]
        if generation > before or (generation == before and self[row] is RowState.STARTED):
            self._generations[row] = generation
            self._states[row] = _STATES.index(state) + 1


#: The states, by the number that stands for them.
_STATES = tuple(RowState)


def _ends(entry: Entry, before: Entry) -> bool:
    """Whether an entry of the same claim follows the other one."""
    return entry.generation == before.generation and before.state is RowState.STARTED
