"""Bytes on the wire, told as bytes of files: never more than there are, whatever a body does to them."""

from __future__ import annotations

import pytest

from xnatctl.delivery.engine import outcomes
from xnatctl.delivery.engine.outcomes import ByteCounter

MIB = 1 << 20


@pytest.fixture
def count(monkeypatch, make_items):
    """What is told of a body of a length, that goes in pieces; `clock` moves by a second with each piece."""

    def count(length, pieces, *, second=1.0, files=4, size=4 * MIB):
        now = iter(range(10**6))
        monkeypatch.setattr(outcomes.time, "monotonic", lambda: next(now) * second)
        told = []
        counted = ByteCounter(lambda event: told.append(event.data["bytes"]), make_items(files, size=size), length)
        for piece in pieces:
            counted(piece)
        counted.end()
        assert counted.bytes == sum(pieces), "what travelled is what travelled"
        return told

    return count


@pytest.mark.parametrize("length", [16 * MIB, 2 * MIB, 17 * MIB], ids=["plain", "compressed", "padded"])
def test_all_of_a_body_is_all_of_its_files(count, length):
    told = count(length, [length // 4] * 4)
    assert told == [4 * MIB] * 4


def test_what_is_sent_twice_within_a_request_counts_once(count):
    assert sum(count(16 * MIB, [MIB] * 30)) == 16 * MIB


def test_pieces_are_many_and_words_are_few(count):
    assert len(count(16 * MIB, [1024] * 16 * 1024, second=0.001)) <= 165
    assert count(1024, [1024], second=0.001, files=1, size=1024) == [], "its outcome comes next"


def test_what_went_before_a_long_wait_is_told_at_once(count):
    assert count(16 * MIB, [MIB, 0], second=0.001) == [MIB]
