"""Numbers of texts, found by text: what a dictionary would say, also where hashes collide."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnatctl.model.index import Index

TEXTS = st.lists(st.text(st.characters(codec=None), max_size=3), max_size=200)


@given(
    TEXTS, TEXTS, st.sampled_from([0, 5, 1000]), st.sampled_from([hash, len, lambda text: -len(text) % 7, lambda _: 1])
)
def test_it_says_what_a_dictionary_would(texts, others, few, hashed):
    known: dict[str, int] = {}
    order: list[str] = []
    index = Index(lambda number: order[number], few=few, hashed=hashed)
    for text in texts:
        if text not in known:
            known[text] = len(order)
            order.append(text)
        assert index.add(text) == known[text]
    assert len(index) == len(known)
    assert all(index.find(text) == number for text, number in known.items())
    if hashed is hash:
        assert all(index.find(text) == known.get(text) for text in others)


def test_texts_are_looked_at_only_where_hashes_are_alike():
    order: list[str] = []
    asked: list[int] = []

    def text_of(number: int) -> str:
        asked.append(number)
        return order[number]

    index = Index(text_of, few=10)
    for number in range(5000):
        order.append(str(number))
        assert index.add(str(number)) == number
    assert all(index.find(str(number)) == number for number in range(5000))
    assert not asked
    assert index.find("a stranger") is None


@pytest.mark.parametrize("many", [3, 40_000])
def test_a_text_that_comes_again_keeps_its_number(many):
    index = Index(str)
    assert [index.add(str(number)) for number in range(many)] == list(range(many))
    assert [index.add(str(number)) for number in range(0, many, 7)] == list(range(0, many, 7))
    assert len(index) == many
