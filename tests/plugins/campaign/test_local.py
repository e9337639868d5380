"""The local executor: results as they come, a soft stop, and an interrupt that leaves no worker behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Self

import pytest

from xnatctl.api import ExecutorContext, RowResult
from xnatctl.testing.contracts import ExecutorContract
from xnatctl_campaign.local import LocalExecutor
from xnatctl_campaign.plugin import xnatctl_executors


class Work:
    """Workers of threads; rows in `slow` end when they are interrupted, or `gate` is set."""

    def __init__(self, slow: frozenset[int] = frozenset()) -> None:
        self.slow = slow
        self.gate = threading.Event()
        self.begun = threading.Semaphore(0)
        self.opened: list[Worker] = []

    def open(self) -> Worker:
        self.opened.append(Worker(self))
        return self.opened[-1]


class Worker:
    def __init__(self, work: Work) -> None:
        self.work = work
        self.interrupted = threading.Event()
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.closed = True

    def run(self, row: int) -> RowResult:
        if row in self.work.slow:
            self.work.begun.release()
            while not self.interrupted.wait(0.01) and not self.work.gate.is_set():
                pass
        if self.interrupted.is_set():
            return RowResult(row=row, state="interrupted", exit_code=130, code="interrupted")
        return RowResult(row=row, state="proven")

    def interrupt(self) -> None:
        self.interrupted.set()


def executor(workers: int, stop=lambda: False) -> LocalExecutor:
    return LocalExecutor(ExecutorContext(workers=workers, options={}, stop_requested=stop))


@pytest.mark.parametrize("workers", [1, 3])
def test_every_row_has_a_result_and_every_worker_is_closed(workers: int) -> None:
    work = Work()
    results = list(executor(workers).run(iter(range(1, 51)), work))
    assert sorted(result.row for result in results) == list(range(1, 51))
    assert {result.state for result in results} == {"proven"}
    assert len(work.opened) <= workers
    assert all(worker.closed for worker in work.opened)


def test_no_worker_is_opened_without_a_row() -> None:
    work = Work()
    assert list(executor(4).run([], work)) == []
    assert work.opened == []
    list(executor(4).run([7], work))
    assert len(work.opened) == 1


def test_rows_are_taken_when_there_is_a_worker_for_them() -> None:
    taken = []

    def rows() -> Iterator[int]:
        for row in range(1, 100):
            taken.append(row)
            yield row

    work = Work(slow=frozenset({1, 2}))
    results = executor(2).run(rows(), work)
    thread = threading.Thread(target=lambda: next(results))
    thread.start()
    work.begun.acquire()
    work.begun.acquire()
    assert taken == [1, 2]
    work.gate.set()
    thread.join()
    assert sum(1 for _ in results) == 98


def test_a_soft_stop_lets_rows_in_work_end() -> None:
    work = Work(slow=frozenset({1}))
    run = executor(1)
    results = run.run(iter(range(1, 10)), work)
    threading.Thread(target=lambda: (work.begun.acquire(), run.stop(), work.gate.set())).start()
    assert [(result.row, result.state) for result in results] == [(1, "proven")]


def test_an_exception_interrupts_the_rows_and_their_results_come_before_it() -> None:
    work = Work(slow=frozenset({2}))
    results = executor(2).run(iter(range(1, 10)), work)
    assert next(results).row == 1  # the worker that delivered it waits until the next result is asked for
    work.begun.acquire()
    seen = []
    with pytest.raises(KeyboardInterrupt):
        seen.append(results.throw(KeyboardInterrupt))
        seen.extend(results)
    assert [(result.row, result.state) for result in seen] == [(2, "interrupted")]
    assert all(worker.closed for worker in work.opened)


def test_an_error_of_the_rows_ends_the_run() -> None:
    def rows() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(executor(2).run(rows(), Work()))


class TestContract(ExecutorContract):
    spec = next(spec for spec in xnatctl_executors() if spec.name == "local")
