"""The rows of a campaign that does nothing, for tests of executors."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from xnatctl.errors import ConnectionFailed
from xnatctl.plugin.protocols import RowResult


@dataclass(frozen=True)
class FakeWork:
    """Work whose rows leave files in `directory`; a row that is run twice fails. With `broken` no worker opens."""

    directory: str
    broken: bool = False

    def open(self) -> FakeWorker:
        """A worker, which leaves a file until it is closed."""
        if self.broken:
            raise ConnectionFailed("The server cannot be reached.")
        return FakeWorker(Path(self.directory))

    def begun(self) -> set[int]:
        """The rows that were begun."""
        return {int(path.name.removeprefix("row-")) for path in Path(self.directory).glob("row-*")}

    def left_open(self) -> int:
        """How many workers were not closed."""
        return len(list(Path(self.directory).glob("worker-*")))


class FakeWorker:
    """A worker of `FakeWork`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mark = folder / f"worker-{os.urandom(8).hex()}"

    def __enter__(self) -> Self:
        self._mark.touch(exist_ok=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._mark.unlink()

    def run(self, row: int) -> RowResult:
        """Every third row fails."""
        (self._folder / f"row-{row}").touch(exist_ok=False)
        if row % 3:
            return RowResult(row=row, state="proven", exit_code=0)
        return RowResult(row=row, state="failed", exit_code=5, code="incomplete", reason="A file was not delivered.")

    def interrupt(self) -> None:
        """Rows end at once anyway."""
