"""The contract of executors of campaigns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from xnatctl.errors import XnatctlError
from xnatctl.plugin.protocols import Executor, ExecutorContext, RowResult
from xnatctl.testing.contracts.base import Contract, required_without_value, with_defaults
from xnatctl.testing.rows import FakeWork
from xnatctl.testing.watch import expect

_ROWS = 40
#: Rows that an executor may have taken when the first one has ended, besides one for each worker.
_AHEAD = 20


class ExecutorContract(Contract):
    """For executors. Set `spec`, the ExecutorSpec, and `options`, where some have no default."""

    options: ClassVar[Mapping[str, Any]] = {}
    workers: ClassVar[int] = 2

    def make(self, **more: Any) -> Executor:
        """The executor, as `campaign run` makes it."""
        values = with_defaults(self.spec.options, self.options)
        missing = required_without_value(self.spec, values)
        self.require(not missing, f"set `options`: {', '.join(missing)} must have a value")
        with self.calling("target", allowed=()):
            executor: Any = self.target(ExecutorContext(workers=self.workers, options=values, **more))
        for name in ("run", "stop"):
            expect(callable(getattr(executor, name, None)), f"the executor has no method {name}")
        made: Executor = executor
        return made

    def test_it_runs_each_row_once(self, tmp_path: Path) -> None:
        """Each row is run, and its result is passed on as it is, failed ones too; every worker is closed."""
        work = FakeWork(str(tmp_path))
        with self.calling("run"):
            results = list(self.make().run(range(1, _ROWS + 1), work))
        expect(all(isinstance(result, RowResult) for result in results), "`run` yields something else than RowResults")
        rows = [result.row for result in results]
        lost = set(range(1, _ROWS + 1)) - set(rows)
        expect(not lost, f"`run` yields no result for row {min(lost, default=0)}")
        expect(len(rows) == _ROWS, "`run` yields a result twice, or one of a row that it was not given")
        expect(work.begun() == set(rows), "`run` yields results of rows that no worker has run")
        wrong = [result.row for result in results if (result.state == "proven") != bool(result.row % 3)]
        expect(not wrong, f"`run` changed the result of row {wrong[0] if wrong else 0}")
        expect(not work.left_open(), "`run` leaves a worker open; use `with work.open() as worker`")

    def test_nothing_to_do_is_no_error(self, tmp_path: Path) -> None:
        """Without rows there are no results."""
        with self.calling("run"):
            expect(not list(self.make().run((), FakeWork(str(tmp_path)))), "`run` yields results without rows")

    def test_it_takes_rows_when_they_are_needed(self, tmp_path: Path) -> None:
        """A campaign may have 100,000 rows, which other machines work on as well."""
        taken: list[int] = []
        executor = self.make()
        with self.calling("run"):
            results = executor.run(_noting(range(1, 1001), taken), FakeWork(str(tmp_path)))
            next(iter(results))
            ahead = len(taken)
            executor.stop()
            for _ in results:
                pass
        most = self.workers + _AHEAD
        expect(ahead <= most, f"`run` had taken {ahead} rows when the first one ended; take one when a worker is free")

    def test_it_can_be_stopped(self, tmp_path: Path) -> None:
        """After `stop` no row begins, and each row that was taken has a result. `stop` may be called twice."""
        work, taken = FakeWork(str(tmp_path)), list[int]()
        executor = self.make()
        with self.calling("run, with `stop` after the first row"):
            rows = []
            for result in executor.run(_noting(range(1, 10_001), taken), work):
                rows.append(result.row)
                executor.stop()
                executor.stop()
        expect(len(rows) < 10_000, "`stop` has no effect: every row was run")
        expect(set(rows) == work.begun(), "after `stop`, `run` yields no result for rows that were begun")
        expect(set(rows) == set(taken), "after `stop`, `run` does not run rows that it has taken")
        expect(not work.left_open(), "after `stop`, `run` leaves a worker open")

    def test_it_raises_what_fails(self, tmp_path: Path) -> None:
        """Where no worker can be opened, `run` raises that error: it yields no result, and does not wait."""
        results: list[RowResult] = []
        try:
            with self.calling("run, where no worker can be opened"):
                results += self.make().run(range(1, 4), FakeWork(str(tmp_path), broken=True))
        except XnatctlError:
            expect(not results, "`run` yields results where no worker can be opened")
            return
        expect(False, "`run` hides that no worker can be opened; raise the error")


def _noting(rows: range, taken: list[int]) -> Iterator[int]:
    for row in rows:
        taken.append(row)
        yield row
