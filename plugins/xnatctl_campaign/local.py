"""The executor `local`: worker processes on this machine, each with a thread that hands it rows."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from xnatctl.api import ExecutorContext, RowResult, RowWork, RowWorker

#: Seconds that workers get to end after an interrupt; an interrupt ends within 5 s.
_GRACE = 4.5
#: A result, and what to set when it was taken.
_Ended = tuple[RowResult, threading.Event]


class LocalExecutor:
    """Runs as many rows at once as the context has workers."""

    def __init__(self, context: ExecutorContext) -> None:
        self._context = context
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Begin no other row."""
        self._stopped.set()

    def run(self, rows: Iterable[int], work: RowWork) -> Iterator[RowResult]:
        """Deliver rows, and yield the result of each as it ends.

        An exception in the main thread, such as Ctrl-C, interrupts the rows in work; their results come before it.
        """
        pool = _Pool(rows, work, lambda: self._stopped.is_set() or self._context.stop_requested())
        pool.start(self._context.workers)
        try:
            while (ended := pool.next()) is not None:
                result, taken = ended
                try:
                    yield result
                finally:
                    taken.set()
        except GeneratorExit:
            pool.interrupt()
            pool.wait()
            raise
        except BaseException:
            pool.interrupt()
            yield from pool.last()
            raise
        pool.raise_fault()


class _Pool:
    """The threads of one run of rows. A thread starts its worker when there is a row for it."""

    def __init__(self, rows: Iterable[int], work: RowWork, halted: Callable[[], bool]) -> None:
        self._rows = iter(rows)
        self._work = work
        self._halted = halted
        self._taking = threading.Lock()
        self._lock = threading.Lock()
        self._workers: set[RowWorker] = set()
        self._running = 0
        self._interrupted = False
        self._fault: BaseException | None = None
        self._results: queue.SimpleQueue[_Ended | None] = queue.SimpleQueue()

    def start(self, count: int) -> None:
        """Start the threads."""
        self._running = count
        for number in range(count):
            threading.Thread(target=self._go, name=f"row-worker-{number}", daemon=True).start()

    def next(self) -> _Ended | None:
        """The next result; None when all threads have ended."""
        return self._results.get()

    def last(self) -> Iterator[RowResult]:
        """The results of the rows that were interrupted, for as long as the workers may take to end."""
        deadline = time.monotonic() + _GRACE
        while True:
            try:
                ended = self._results.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return
            if ended is None:
                return
            result, taken = ended
            taken.set()
            yield result

    def wait(self) -> None:
        """Wait until the workers have ended, for as long as they may take."""
        for _ in self.last():
            pass

    def interrupt(self) -> None:
        """Interrupt the rows in work."""
        with self._lock:
            self._interrupted = True
            workers = list(self._workers)
        for worker in workers:
            worker.interrupt()

    def raise_fault(self) -> None:
        """Raise what ended a thread early, if anything did."""
        if self._fault is not None:
            raise self._fault

    def _go(self) -> None:
        try:
            self._deliver()
        except BaseException as fault:  # noqa: BLE001 - raised again in the main thread
            self._fault = fault
        finally:
            with self._lock:
                self._running -= 1
                if self._running == 0:
                    self._results.put(None)

    def _deliver(self) -> None:
        if (row := self._take()) is None:
            return
        with self._work.open() as worker:
            with self._lock:
                self._workers.add(worker)
                if self._interrupted:
                    worker.interrupt()
            try:
                while row is not None:
                    self._hand_over(worker.run(row))
                    row = self._take()
            finally:
                with self._lock:
                    self._workers.discard(worker)

    def _hand_over(self, result: RowResult) -> None:
        """Wait until the run has taken the result, because it may stop the run."""
        taken = threading.Event()
        self._results.put((result, taken))
        taken.wait()

    def _take(self) -> int | None:
        with self._taking:
            if self._halted() or self._interrupted or self._fault is not None:
                return None
            return next(self._rows, None)
