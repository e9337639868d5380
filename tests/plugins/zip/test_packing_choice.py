"""When bundles are packed, and how much of them is held: measured, shared by the workers, bounded."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from xnatctl.testing import make_context, make_item
from xnatctl_zip.choice import SMALL, CompressionChoice
from xnatctl_zip.memory import LIMIT, SMALLEST, MemoryBudget, batch_size
from xnatctl_zip.transport import TarTransport

MB = 2**20


@pytest.fixture
def batch(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    item = make_item(tmp_path / "a", path="a", resource_name="a.dcm", size=4 * MB)
    return tuple(replace(item, path=f"{number}", sop_instance_uid=f"1.{number}") for number in range(8))


def test_workers_share_the_compressor(batch) -> None:
    alone, crowd = CompressionChoice("auto"), CompressionChoice("auto", share=0.25)
    for choice in (alone, crowd):
        choice.sent(100 * MB, 1)
        assert choice.curious
        choice.packed(MB, 1 / 300)
        assert not choice.curious
    assert alone.compress(batch)
    assert not crowd.compress(batch), "a quarter of 300 MB/s is less than 100"


def test_what_was_measured_counts_more_than_what_was_expected(batch) -> None:
    choice = CompressionChoice("auto")
    choice.sent(32 * MB, 1)
    choice.packed(MB, 1 / 300)
    assert choice.compress(batch)
    for _ in range(3):
        choice.packed(32 * MB, 0.1, whole=2)  # the server takes longer over packed bundles, say
    assert not choice.compress(batch)
    for _ in range(9):
        choice.sent(32 * MB, 4)  # the link got slower
    assert choice.compress(batch)


def test_a_small_batch_of_a_large_upload_may_be_packed(batch) -> None:
    choice = CompressionChoice("auto")
    choice.sent(32 * MB, 10)
    choice.packed(MB, 1 / 300)
    assert not choice.compress(batch[:1])
    assert choice.compress(batch[:1], upload=SMALL)


@pytest.mark.parametrize("workers", [1, 2, 4, 8, 16, 100])
def test_each_worker_may_hold_one_batch(workers: int) -> None:
    size = batch_size(workers)
    assert size >= SMALLEST
    assert size * workers <= LIMIT or size == SMALLEST


def test_room_is_given_when_there_is_some() -> None:
    room, third = MemoryBudget(), LIMIT // 2
    order: list[str] = []
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with room.hold(third, lambda: False), room.hold(third, lambda: False):
            entered.set()
            leave.wait(60)
            order.append("left")

    def wait() -> None:
        with room.hold(1, lambda: False):
            order.append("entered")

    first, second = threading.Thread(target=hold), threading.Thread(target=wait)
    first.start()
    assert entered.wait(60)
    second.start()
    leave.set()
    first.join(60)
    second.join(60)
    assert order == ["left", "entered"]


def test_one_that_is_larger_than_all_room_goes_alone_and_an_end_is_not_waited_for() -> None:
    room = MemoryBudget()
    with room.hold(2 * LIMIT, lambda: False), room.hold(LIMIT, lambda: True):
        pass


def test_the_first_bundle_is_cut_small_and_nothing_is_lost(batch) -> None:
    many = tuple(replace(item, path=f"{n}/{item.path}", sop_instance_uid=f"{n}.1") for n in range(40) for item in batch)
    batches = list(TarTransport(make_context(workers=4)).batches(many, 4))
    assert sorted(item.path for batch in batches for item in batch.items) == sorted(item.path for item in many)
    assert len({batch.id for batch in batches}) == len(batches)
    assert all(batch.size <= 4 * MB for batch in batches[:5])
    assert max(batch.size for batch in batches) > 16 * MB
