"""Stored sizes and sums are judged like those of their neighbours; see `xnatctl.delivery.judgement`."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnatctl.delivery.judgement import (
    ABSENT,
    COUNTED,
    DIFFERENT,
    SAME,
    UNKNOWN,
    UNSIZED,
    Finding,
    judge,
    places_of,
)
from xnatctl.model.plan import Series, Source, UploadItem
from xnatctl.model.report import LEVELS, Level

NATIVE, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70"
HEAD, PIXELS = 2000, 8000


def item(number, *, series="1.2.3", size=HEAD + PIXELS, tail=PIXELS, syntax=NATIVE, kind="1.4"):
    return UploadItem(
        path=f"{series}/{number}",
        source=Source(path=f"/data/{series}/{number}"),
        size=size,
        tail=tail,
        sop_instance_uid=f"{series}.{number}",
        series=Series(series_instance_uid=series, sop_class_uid=kind, transfer_syntax_uid=syntax),
    )


def findings(deltas, again=(), **fields):
    """Of one series whose files changed their sizes by `deltas`."""
    items = [item(number, **fields) for number in range(len(deltas))]
    return list(judge(items, [one.size + delta for one, delta in zip(items, deltas, strict=True)], again=again))


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        pytest.param([0, 0, 0], [Finding.EQUAL] * 3, id="bytes are kept"),
        pytest.param([34, 34, 34], [Finding.ALIKE] * 3, id="heads are written anew"),
        pytest.param([-24, -24, -24], [Finding.ALIKE] * 3, id="group lengths are dropped"),
        pytest.param([34, 34, 30], [Finding.ALIKE, Finding.ALIKE, Finding.ODD], id="one lost four bytes"),
        pytest.param([34, 34, 36], [Finding.ALIKE, Finding.ALIKE, Finding.ODD], id="one is another version"),
        pytest.param([0, 0, -1], [Finding.EQUAL, Finding.EQUAL, Finding.ODD], id="bytes are kept, one lost one"),
        pytest.param([0, 0, 1], [Finding.EQUAL, Finding.EQUAL, Finding.ODD], id="bytes are kept, one has one more"),
        pytest.param([0], [Finding.EQUAL], id="single, equal"),
        pytest.param([34], [Finding.GROWN], id="single, longer"),
        pytest.param([-34], [Finding.ODD], id="single, shorter"),
        pytest.param([0, -34], [Finding.EQUAL, Finding.ODD], id="two, one shorter"),
        pytest.param([34, -34], [Finding.GROWN, Finding.ODD], id="two deltas"),
        pytest.param([2, 4, 6, 8], [Finding.GROWN] * 4, id="all different, all longer"),
        pytest.param([-2, -4, -6], [Finding.ODD] * 3, id="all different, all shorter"),
        pytest.param([2, 2, 4, 4], [Finding.GROWN] * 4, id="a half is no majority"),
    ],
)  # fmt: skip
def test_findings_of_one_series(deltas, expected):
    assert findings(deltas) == expected


def test_less_than_the_tail_is_lost_even_if_all_are():
    assert findings([-HEAD - 1] * 3) == [Finding.LOST] * 3
    assert findings([-HEAD] * 3) == [Finding.LOST] * 3, "a preamble and a prefix precede every data set"
    assert findings([-HEAD + 132] * 3) == [Finding.ALIKE] * 3
    assert findings([-HEAD - 1] * 3, again=range(3)) == [Finding.LOST] * 3, "whatever came again"
    assert findings([-HEAD - PIXELS], tail=0) == [Finding.LOST], "an empty file holds nothing"


def test_without_a_tail_a_common_change_proves_the_uid_only():
    assert findings([34] * 3, tail=0) == [Finding.SHIFTED] * 3
    assert Finding.SHIFTED.level is Level.UID
    assert Finding.ALIKE.level is Level.SIZE


def test_what_came_again_is_accepted():
    assert findings([34, 34, 30], again={2}) == [Finding.ALIKE, Finding.ALIKE, Finding.MADE]
    assert findings([-34], again={0}) == [Finding.MADE]
    assert Finding.MADE.level is Level.UID


def test_decompressed_files_are_longer_each_by_its_own_amount():
    assert findings([50_000, 51_000, 49_000], syntax=JPEG) == [Finding.GROWN] * 3
    assert findings([34, 34, 51_000], syntax=JPEG) == [Finding.ALIKE, Finding.ALIKE, Finding.GROWN], (
        "one of them could be"
    )
    assert findings([34, 34, 20], syntax=JPEG)[2] == Finding.GROWN, "longer"
    assert findings([34, 34, -20], syntax=JPEG)[2] == Finding.ODD


def test_a_single_instance_is_compared_with_what_is_of_its_make_in_the_session():
    items = [*(item(number) for number in range(4)), item(1, series="1.2.4"), item(1, series="1.2.5", kind="1.9")]
    stored = [one.size + 34 for one in items]
    assert list(judge(items, stored))[4:] == [Finding.ALIKE, Finding.GROWN], "another kind has other heads"
    stored[4] -= 2
    assert judge(items, stored)[4] == Finding.GROWN, "other series may have other heads"
    stored[4] -= 50
    assert judge(items, stored)[4] == Finding.ODD
    kept = [one.size for one in items]
    kept[4] += 2
    assert judge(items, kept)[4] == Finding.ODD, "a server that keeps bytes makes nothing longer"


def test_what_is_not_measured():
    assert list(judge([item(1), item(2), item(3)], [ABSENT, UNSIZED, COUNTED])) == [
        Finding.ABSENT, Finding.UNSIZED, Finding.COUNTED,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sums", "expected"),
    [
        ([SAME, SAME, SAME], [Finding.SAME] * 3),
        ([SAME, SAME, DIFFERENT], [Finding.SAME, Finding.SAME, Finding.OTHER]),
        ([DIFFERENT] * 3, [Finding.EQUAL] * 3),
        ([DIFFERENT, DIFFERENT, SAME], [Finding.EQUAL, Finding.EQUAL, Finding.SAME]),
        ([UNKNOWN, UNKNOWN, SAME], [Finding.EQUAL, Finding.EQUAL, Finding.SAME]),
        ([DIFFERENT, UNKNOWN, UNKNOWN], [Finding.OTHER, Finding.EQUAL, Finding.EQUAL]),
        ([DIFFERENT], [Finding.OTHER]),
    ],
)
def test_sums(sums, expected):
    items = [item(number) for number in range(len(sums))]
    assert list(judge(items, [one.size for one in items], sums=sums)) == expected


def test_another_sum_that_came_again_is_accepted_by_size():
    assert list(judge([item(1)], [item(1).size], sums=[DIFFERENT], again={0})) == [Finding.REMADE]
    assert Finding.REMADE.level is Level.SIZE


def test_every_finding_has_a_level_and_only_difference_have_none():
    assert {finding for finding in Finding if finding.level is Level.NONE} == {
        Finding.ABSENT, Finding.UNDECIDED, Finding.LOST, Finding.ODD, Finding.OTHER, Finding.ALTERED, Finding.DOUBTED,
    }  # fmt: skip
    assert LEVELS == (Level.NONE, Level.COUNTED, Level.UID, Level.SIZE, Level.CHECKSUM)


def test_places_of_findings():
    assert list(places_of(bytes([Finding.EQUAL, Finding.ODD, Finding.LOST]), lambda one: one.suspicious)) == [1, 2]


_DELTAS = st.lists(st.sampled_from([0, 0, 34, 34, 34, -2, 8, -9000, 7]), min_size=1, max_size=12)
_SERIES = st.lists(st.tuples(_DELTAS, st.sampled_from([0, PIXELS]), st.sampled_from([NATIVE, JPEG])), max_size=4)


@given(_SERIES, st.randoms(use_true_random=False))
def test_the_order_of_the_items_does_not_matter(drawn, chance: random.Random):
    items, sizes = _session(drawn)
    order = list(range(len(items)))
    chance.shuffle(order)
    shuffled = judge([items[place] for place in order], [sizes[place] for place in order])
    straight = judge(items, sizes)
    assert list(shuffled) == [straight[place] for place in order]


@given(_SERIES)
def test_what_never_happens(drawn):
    items, sizes = _session(drawn)
    judged = judge(items, sizes)
    again = judge(items, sizes, again=range(len(items)))
    for one, size, finding, then in zip(items, sizes, judged, again, strict=True):
        level = Finding(finding).level
        assert (finding == Finding.EQUAL) == (size == one.size)
        assert (finding == Finding.LOST) == (size < one.tail + 132)
        assert level is not Level.CHECKSUM, "no sum was compared"
        if size != one.size and level is Level.SIZE:
            assert one.tail
            assert size >= one.tail + 132
        assert then == finding or (finding, then) == (Finding.ODD, Finding.MADE), "sent again, all but LOST is accepted"
        assert not Finding(then).suspicious or then == Finding.LOST


@given(_DELTAS, st.integers(0, 11), st.integers(1, HEAD - 132))
def test_one_that_is_cut_among_whole_ones_is_never_accepted(deltas, chosen, cut):
    """Three others or more that changed alike, and one that lost data on its way."""
    items = [item(number) for number in range(4 + chosen)]
    common = deltas[0] if abs(deltas[0]) < 100 else 0
    sizes = [one.size + common for one in items]
    sizes[chosen] -= cut
    if common == cut:
        return  # what is of the size that it has on disk counts as kept
    assert Finding(judge(items, sizes)[chosen]).suspicious


def _session(drawn):
    items, sizes = [], []
    for number, (deltas, tail, syntax) in enumerate(drawn):
        for place, delta in enumerate(deltas):
            items.append(item(place, series=f"1.2.{number}", tail=tail, syntax=syntax))
            sizes.append(items[-1].size + delta)
    return items, sizes
