"""Items held packed: what comes out is what went in, in groups, however many there are."""

from __future__ import annotations

import random
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnatctl.model import packed as module
from xnatctl.model.packed import PackedItems, Packer, pack, packed, unpack
from xnatctl.model.plan import Source, UploadItem
from xnatctl.model.sequences import select

#: Names as a file system has them: lone surrogates stand for bytes that are no UTF-8.
NAMES = st.text(st.characters(exclude_characters="\0", codec=None), max_size=12)
NUMBERS = st.integers(-(2**70), 2**70)
SOURCES = st.builds(
    Source,
    path=NAMES,
    container=st.sampled_from([None, "zip", "tgz"]),
    member=st.none() | NAMES,
    offset=NUMBERS,
    packed_size=st.none() | NUMBERS,
)
UIDS = st.from_regex(r"[0-9.]{0,12}", fullmatch=True)


@st.composite
def items(draw):
    """Any item at all; half of the sources lie at the path of the item, as they do in a directory."""
    path = draw(NAMES)
    below = st.builds(Source, path=NAMES.map(lambda head: f"{head}/{path}")) | st.builds(
        Source, path=NAMES, container=st.just("tar"), member=st.just(path), offset=NUMBERS
    )
    return UploadItem(
        path=path,
        source=draw(below | SOURCES),
        size=draw(NUMBERS),
        mtime_ns=draw(NUMBERS),
        ctime_ns=draw(NUMBERS),
        device=draw(NUMBERS),
        inode=draw(NUMBERS),
        tail=draw(NUMBERS),
        name=draw(st.just("") | st.just(path) | NAMES),
        sop_class_uid=draw(UIDS),
        sop_instance_uid=draw(UIDS),
        study_instance_uid=draw(UIDS),
        series_instance_uid=draw(UIDS),
        series_number=draw(NAMES),
        modality=draw(NAMES),
        transfer_syntax_uid=draw(UIDS),
        number_of_frames=draw(NUMBERS),
    )


@given(st.lists(items(), min_size=1, max_size=6), st.integers(1, 9))
def test_a_block_comes_out_as_it_went_in(some, times):
    some = some * times
    assert list(unpack(pack(some))) == some


def item(number: int, series: int) -> UploadItem:
    uid = f"2.25.{series}.{number}"
    return UploadItem(
        path=f"d/{number:06}",
        source=Source(path=f"/data/d/{number:06}"),
        size=number % 977,
        mtime_ns=1_700_000_000_000_000_000 + number * 51_234,
        inode=number,
        sop_instance_uid=uid,
        series_instance_uid=f"2.25.{series}",
        series_number=str(series),
    )


@pytest.fixture
def tight(monkeypatch):
    """As if a hundred items were many."""
    monkeypatch.setattr(module, "_BLOCK", 16)
    monkeypatch.setattr(module, "HELD", 96)
    monkeypatch.setattr(module, "_RECENT", 2)


@settings(max_examples=40)
@given(series=st.lists(st.integers(0, 30), max_size=700), chosen=st.randoms(use_true_random=False))
def test_groups_stand_together_in_the_order_of_their_first(series, chosen):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", 16)
        patch.setattr(module, "HELD", 96)
        patch.setattr(module, "_RECENT", 2)
        packer, places, groups = Packer(), [], {}
        for number, one in enumerate(series):
            added = item(number, one)
            places.append(packer.add(added, one))
            groups.setdefault(one, []).append(added)
        for number in chosen.sample(range(len(series)), min(5, len(series))):
            assert packer.at(places[number]) == item(number, series[number])
        built = packer.build()
        expected = [one for group in groups.values() for one in group]
        assert list(built) == expected
        assert built == tuple(expected)
        assert len(built) == len(expected)
        for number in chosen.sample(range(len(expected)), min(20, len(expected))):
            assert built[number] == expected[number]
            assert built[number - len(expected)] == expected[number]
        assert built[3:70:7] == expected[3:70:7]
        numbers = chosen.sample(range(len(expected)), len(expected) // 2)
        assert list(select(built, numbers)) == [expected[number] for number in numbers]


def test_many_items_are_held_as_bytes_and_few_as_objects(tight):
    few = packed(item(number, 1) for number in range(90))
    assert few[7] is few[7] is list(few)[7]
    many = packed(item(number, number % 3) for number in range(500))
    assert isinstance(many, PackedItems)
    assert packed(many) is many
    seen = [many[number] for number in range(0, 500, 16)]
    assert seen == [item(number, number % 3) for number in range(0, 500, 16)]
    assert not any(isinstance(block, tuple) for block in many._blocks)
    assert len(many._unpacked) <= 2, "what was looked at does not pile up"


def test_a_hundred_thousand_items_take_less_than_a_hundred_bytes_each():
    dice = random.Random(5)
    long = f"1.2.826.0.1.3680043.8.498.{dice.getrandbits(100)}"
    sequence = packed(
        item(number, number % 9)
        if number % 2
        else item(number, number % 9).__class__(
            path=f"study/{uid}.dcm",
            source=Source(path=f"/somewhere/on/a/disk/study/{uid}.dcm"),
            size=dice.randrange(10**6),
            mtime_ns=dice.randrange(10**18),
            inode=number,
            sop_instance_uid=uid,
            series_instance_uid=long,
        )
        for number in range(20_000)
        for uid in [f"{long}.{dice.getrandbits(60)}"]
    )
    assert sum(map(len, sequence._blocks)) < 100 * len(sequence)
    assert [one.inode for one in islice(sequence, 4)] == [0, 1, 2, 3]


def test_a_sequence_is_equal_to_what_holds_the_same():
    some = [item(number, 1) for number in range(5)]
    sequence = packed(some)
    assert sequence == some
    assert tuple(some) == sequence
    assert sequence != some[:4]
    assert sequence != [*some[:4], item(9, 9)]
    assert sequence != "abcde"
    with pytest.raises(IndexError):
        sequence[5]
    with pytest.raises(IndexError):
        sequence[-6]
    assert not packed(())
