"""Cutting batches: every file once, bounded, by series, the same each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xnatctl.model.batches import cut_batches, halve
from xnatctl.model.plan import Batch, Series, Source, UploadItem


def item(number: int, size: int, series: int) -> UploadItem:
    return UploadItem(
        path=f"f{number}",
        source=Source(path=f"/data/f{number}"),
        size=size,
        sop_instance_uid=f"1.2.{number}",
        series=Series(study_instance_uid="1", series_instance_uid=f"1.{series}", series_number=str(series)),
    )


ITEMS = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 5)), max_size=60).map(
    lambda pairs: tuple(item(number, size, series) for number, (size, series) in enumerate(pairs))
)


@given(ITEMS, st.integers(1, 9), st.integers(1, 10_000), st.integers(1, 20))
def test_every_file_once_and_within_bounds(items, workers, max_bytes, max_files):
    batches = cut_batches(items, workers, max_bytes=max_bytes, max_files=max_files)
    assert sorted(i.path for b in batches for i in b.items) == sorted(i.path for i in items)
    for batch in batches:
        assert batch.items
        assert len(batch.items) <= max_files
        assert batch.size <= max_bytes or len(batch.items) == 1
    assert len({batch.id for batch in batches}) == len(batches)


@given(ITEMS, st.integers(1, 9))
def test_at_least_as_many_batches_as_workers_when_there_are_as_many_files(items, workers):
    batches = cut_batches(items, workers)
    assert len(batches) >= min(workers, len(items))


@given(ITEMS, st.integers(1, 9))
def test_equal_input_gives_equal_batches_whatever_its_order(items, workers):
    assert cut_batches(items, workers) == cut_batches(tuple(reversed(items)), workers)


def test_the_first_batch_is_the_smallest_file_alone():
    items = (item(0, 900, 1), item(1, 5, 2), item(2, 900, 1))
    assert [i.path for i in cut_batches(items, 2)[0].items] == ["f1"]


def test_a_series_stays_together_when_it_fits():
    items = tuple(item(n, 100, n // 10) for n in range(40))
    batches = cut_batches(items, 4)[1:]
    whole = [len({i.series_instance_uid for i in batch.items}) for batch in batches]
    assert whole == [1, 1, 1, 1]


def test_halves_hold_what_the_whole_held():
    batch = Batch(id="00001-abc", items=tuple(item(n, 1, 1) for n in range(5)))
    first, second = halve(batch)
    assert first.items + second.items == batch.items
    assert first.id != second.id != batch.id
