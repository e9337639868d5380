"""Items and transports for delivery tests: real files, real threads, no server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from xnatctl.model.batches import cut_batches
from xnatctl.model.outcome import BatchResult, ItemOutcome, Outcome
from xnatctl.model.plan import Batch, FileStatus, Series, Source, UploadItem


@pytest.fixture
def make_items(tmp_path: Path) -> Callable[..., tuple[UploadItem, ...]]:
    """Real files of given sizes, spread over series."""

    def make(count: int, *, series: int = 1, size: int = 10) -> tuple[UploadItem, ...]:
        items = []
        for number in range(count):
            path = tmp_path / f"{number:05d}"
            path.write_bytes(bytes([number % 256]) * size)
            status = path.stat()
            items.append(
                UploadItem(
                    path=path.name,
                    source=Source(path=str(path)),
                    size=size,
                    stamp=FileStatus.of(status).packed,
                    sop_instance_uid=f"1.2.3.{number}",
                    series=Series(
                        study_instance_uid="1.2",
                        series_instance_uid=f"1.2.{number % series}",
                        series_number=str(number % series + 1),
                    ),
                )
            )
        return tuple(items)

    return make


class ScriptedTransport:
    """A transport whose answers a test writes; remembers what it was given."""

    def __init__(self, answer: Callable[[Batch, int], BatchResult]) -> None:
        self._answer = answer
        self.lock = threading.Lock()
        self.sent: list[tuple[str, ...]] = []
        self.closed = 0
        self.in_flight = 0
        self.peak = 0

    def __call__(self, context: object) -> ScriptedTransport:
        return self

    def __enter__(self) -> ScriptedTransport:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def describe(self) -> dict[str, str]:
        return {}

    def batches(self, items: Sequence[UploadItem], workers: int) -> tuple[Batch, ...]:
        return cut_batches(items, workers, max_files=4)

    def send(self, batch: Batch, emit: object) -> BatchResult:
        with self.lock:
            self.sent.append(tuple(item.path for item in batch.items))
            number = len(self.sent)
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
        try:
            return self._answer(batch, number)
        finally:
            with self.lock:
                self.in_flight -= 1

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def scripted() -> type[ScriptedTransport]:
    return ScriptedTransport


@pytest.fixture
def accept() -> Callable[..., BatchResult]:
    def answer(batch: Batch, number: int = 0) -> BatchResult:
        return BatchResult(outcomes=tuple(ItemOutcome(path=i.path, outcome=Outcome.ACCEPTED) for i in batch.items))

    return answer
