"""What a run, its executor and the workers of rows hand to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self


def _unsaid(text: str) -> None:
    """The default: print nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowResult:
    """How the delivery of a row ended; plain data for JSON.

    `state` is `proven`, `failed`, `interrupted`, or `held`: another living worker holds the row. `code` and `reason`
    are those of the error, `exit_code` is what one upload of the row would end with.
    """

    row: int
    state: str
    exit_code: int = 0
    code: str = ""
    reason: str = ""


class RowWorker(Protocol):
    """Delivers one row at a time."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, row: int) -> RowResult:
        """Deliver a row; waits for its end."""
        ...

    def interrupt(self) -> None:
        """Interrupt the row in work; from another thread."""
        ...


class RowWork(Protocol):
    """Opens workers. Plain data that can be pickled, without secrets."""

    @property
    def directory(self) -> str:
        """The absolute path of the campaign folder."""
        ...

    def open(self) -> RowWorker:
        """A new worker."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutorContext:
    """What an executor is made with: `workers` is the most rows at once, `options` are its own.

    `stop_requested` says whether to begin no other row; `warn` prints a warning.
    """

    workers: int
    stop_requested: Callable[[], bool]
    options: Mapping[str, Any] = field(default_factory=dict)
    warn: Callable[[str], None] = _unsaid
