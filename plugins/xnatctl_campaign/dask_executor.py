"""The executor `dask`: hands row numbers to the workers of a Dask cluster. What happened is in the campaign folder.

Each row is given to a certain Dask worker, which has at most as many rows as threads. So it is known which rows a lost
worker had. They are given to another one, which takes their claims over.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from xnatctl.api import (
    ConnectionFailed,
    Event,
    EventKind,
    ExecutorContext,
    RowResult,
    RowWork,
    UsageError,
    XnatctlError,
    counted,
)
from xnatctl_campaign.dask_cluster import Cluster

#: Seconds between two looks at which workers there are.
_LOOK = 1.0
#: Seconds for the workers to end; an interrupt ends within 5 s.
_GRACE = 4.0
#: A row that was in work on so many Dask workers when they were lost is not given to another one.
_LOSSES = 3
#: The code of such a row.
WORKER_ENDED = "worker-ended"


class DaskExecutor:
    """Runs as many rows at once as the context has workers, on the Dask workers of one scheduler."""

    def __init__(self, context: ExecutorContext) -> None:
        self._context = context
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Begin no other row."""
        self._stopped.set()

    def run(self, rows: Iterable[int], work: RowWork) -> Iterator[RowResult]:
        """Deliver rows, and yield the result of each as it ends.

        An exception in the main thread, such as Ctrl-C, interrupts the rows in work; their results come before it.
        Raises ConnectionFailed when the scheduler or all workers are gone, UsageError when they cannot do the work.
        """
        from xnatctl_campaign.dask_worker import RowPlugin, SharedFolder

        options = self._context.options
        with Cluster(str(options["scheduler"]), f"xnatctl-campaign-{uuid.uuid4().hex}") as cluster:
            cluster.install(RowPlugin(work, SharedFolder.of(work.directory)))
            run = _Run(cluster, iter(rows), self._context, self._halted, float(options["wait_for_workers"]))
            try:
                yield from run.results()
            except GeneratorExit:
                for _ in _interrupted(cluster, run):
                    pass
                raise
            except BaseException:
                yield from _interrupted(cluster, run)
                raise
            cluster.uninstall().join(_GRACE)

    def _halted(self) -> bool:
        return self._stopped.is_set() or self._context.stop_requested()


def _interrupted(cluster: Cluster, run: _Run) -> Iterator[RowResult]:
    """Interrupt the rows in work and yield their results, for as long as that may take."""
    deadline = time.monotonic() + _GRACE
    leaving = cluster.uninstall()
    yield from run.last(deadline)
    leaving.join(max(0.0, deadline - time.monotonic()))


@dataclass(slots=True)
class _Worker:
    """A Dask worker. `ready` once it said that it can deliver rows, else `problem` says why it cannot."""

    threads: int
    ready: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Task:
    """A row on a Dask worker; row 0 stands for the question whether it can deliver rows."""

    row: int
    worker: str
    future: Any


class _Run:
    """The rows of one run on the workers of a cluster. Used by one thread."""

    def __init__(
        self,
        cluster: Cluster,
        rows: Iterator[int],
        context: ExecutorContext,
        halted: Callable[[], bool],
        patience: float,
    ) -> None:
        self._cluster = cluster
        self._rows = rows
        self._most = context.workers
        self._emit = context.emit
        self._halted = halted
        self._patience = patience
        self._workers: dict[str, _Worker] = {}  # by address
        self._tasks: dict[str, _Task] = {}  # by key
        self._again: deque[int] = deque()  # rows of workers that were lost
        self._losses: Counter[int] = Counter()
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()  # keys of tasks
        self._numbers = 0
        self._next_look = 0.0
        self._last_ready = time.monotonic()
        self._exhausted = False
        self._delivered = False
        self._fault: XnatctlError | None = None

    def results(self) -> Iterator[RowResult]:
        """Give rows out and yield their results, until nothing is left to do.

        Raises what prevents a worker from delivering any row, when the rows in work have ended.
        """
        while True:
            if time.monotonic() >= self._next_look:
                yield from self._look()
            if not self._stopped():
                self._give_out()
            if not self._in_work() and (self._stopped() or (self._exhausted and not self._again)):
                yield from map(_unfinished, self._again)
                if self._fault is not None:
                    raise self._fault
                return
            if (result := self._next(_LOOK)) is not None:
                yield result

    def last(self, deadline: float) -> Iterator[RowResult]:
        """The results of rows that were interrupted, until a time of the monotonic clock."""
        while self._in_work() and (left := deadline - time.monotonic()) > 0:
            with suppress(ConnectionFailed):
                if (result := self._next(left)) is not None:
                    yield result

    def _stopped(self) -> bool:
        return self._fault is not None or self._halted()

    def _in_work(self) -> int:
        return sum(task.row > 0 for task in self._tasks.values())

    def _look(self) -> Iterator[RowResult]:
        """Find workers that came and that are gone. Yields results of rows that no worker survived."""
        from xnatctl_campaign.dask_worker import check_worker

        threads = self._cluster.threads()
        for address in self._workers.keys() - threads.keys():
            yield from self._lose(address)
        for address in threads.keys() - self._workers.keys():
            self._workers[address] = _Worker(threads[address])
            self._start(check_worker, 0, address)
        now = self._next_look = time.monotonic()
        self._next_look += _LOOK
        if any(worker.ready for worker in self._workers.values()):
            self._last_ready = now
        self._require_workers(now)

    def _lose(self, address: str) -> Iterator[RowResult]:
        """A worker is gone; its rows are given out again."""
        del self._workers[address]
        lost = {key: task for key, task in self._tasks.items() if task.worker == address}
        self._cluster.cancel([task.future for task in lost.values()])
        for key, task in lost.items():
            del self._tasks[key]
            if task.row and (result := self._give_again(task.row)):
                yield result

    def _give_again(self, row: int) -> RowResult | None:
        """Give a row to another worker; the result of one that was lost too often."""
        self._losses[row] += 1
        if self._losses[row] < _LOSSES:
            self._again.append(row)
            return None
        reason = f"{counted(_LOSSES, 'Dask worker')} ended while delivering it."
        return RowResult(row=row, state="failed", exit_code=5, code=WORKER_ENDED, reason=reason)

    def _require_workers(self, now: float) -> None:
        """Raise when no worker can deliver rows, and none is expected."""
        if any(worker.ready or not worker.problem for worker in self._workers.values()):
            return
        if not self._workers and now < self._last_ready + self._patience:
            return
        problems = "; ".join(f"{address}: {worker.problem}" for address, worker in sorted(self._workers.items())[:3])
        if problems and not self._delivered:
            raise UsageError(
                f"No Dask worker can deliver rows ({problems}).",
                hint="Every worker needs the same xnatctl, and the campaign folder under the same path.",
            )
        scheduler = self._cluster.scheduler
        raise ConnectionFailed(
            f"No Dask worker can deliver rows ({problems})." if problems else f"{scheduler} has no Dask workers.",
            hint=f"Start workers: dask worker {scheduler}. Then run the same command again.",
        )

    def _give_out(self) -> None:
        """Give rows to workers with a free thread, as long as there are both."""
        from xnatctl_campaign.dask_worker import deliver_row

        while not self._stopped() and self._in_work() < self._most and (address := self._free_worker()):
            row = self._again.popleft() if self._again else next(self._rows, 0)
            if not row:
                self._exhausted = True
                return
            self._start(deliver_row, row, address)

    def _free_worker(self) -> str:
        """The ready worker with the most free threads; empty if all are busy."""
        busy = Counter(task.worker for task in self._tasks.values())
        free = {address: worker.threads - busy[address] for address, worker in self._workers.items() if worker.ready}
        best = max(free, key=lambda address: free[address], default="")
        return best if best and free[best] > 0 else ""

    def _start(self, function: Callable[..., Any], row: int, address: str) -> None:
        self._numbers += 1
        key = f"{self._cluster.name}-{self._numbers}"
        arguments = (self._cluster.name, row) if row else (self._cluster.name,)
        future = self._cluster.submit(function, *arguments, key=key, worker=address)
        self._tasks[key] = _Task(row, address, future)
        future.add_done_callback(lambda _: self._ended.put(key))

    def _next(self, seconds: float) -> RowResult | None:
        """The result of the next row that ends within so many seconds."""
        try:
            task = self._tasks.pop(self._ended.get(timeout=seconds), None)
        except queue.Empty:
            return None
        if task is None:  # of a worker that was lost
            return None
        if task.row:
            return self._result(task)
        self._answer(task)
        return None

    def _result(self, task: _Task) -> RowResult | None:
        value, error = self._fetch(task)
        if isinstance(error, XnatctlError):
            self._fault = error
            return None
        if error is not None:
            return _failed(task.row, error)
        if value is None:
            return self._give_again(task.row)
        self._delivered = True
        return RowResult.from_document(value)

    def _answer(self, task: _Task) -> None:
        """A worker said whether it can deliver rows."""
        value, error = self._fetch(task)
        worker = self._workers.get(task.worker)
        if worker is None or (value is None and error is None):  # it ended
            return
        worker.problem = value if error is None else _text(error)
        worker.ready = not worker.problem
        if worker.problem:
            message = f"The Dask worker {task.worker} gets no rows: {worker.problem}."
            self._emit(Event(kind=EventKind.WARNING, message=message))

    def _fetch(self, task: _Task) -> tuple[Any, Exception | None]:
        """What a task returned, or what it raised. Both are None when its worker ended.

        Raises ConnectionFailed when the scheduler is gone.
        """
        from distributed import CancelledError, KilledWorker

        while True:
            try:
                return task.future.result(timeout=_LOOK), None
            except CancelledError:
                raise self._cluster.lost() from None
            except KilledWorker:
                return None, None
            except Exception as error:  # noqa: BLE001 - any exception of the worker is raised here again
                if task.future.status == "error" or not isinstance(error, TimeoutError):
                    return None, error
            if task.worker not in self._cluster.threads():  # it ended with the result
                return None, None


def _unfinished(row: int) -> RowResult:
    """The result of a row whose worker was lost after a soft stop."""
    return RowResult(row=row, state="interrupted", exit_code=130, code="interrupted", reason="Its Dask worker ended.")


def _failed(row: int, error: Exception) -> RowResult:
    return RowResult(row=row, state="failed", exit_code=1, code="unexpected", reason=_text(error))


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
