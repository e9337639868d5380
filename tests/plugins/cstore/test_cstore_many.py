"""Many small objects, quickly: every one has its answer. `XNATCTL_LAB=full` sends a hundred thousand."""

from __future__ import annotations

import os

import pytest

MANY = 100_000 if os.environ.get("XNATCTL_LAB") == "full" else 1_500


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("workers", [1, 4])
def test_no_answer_is_lost(scripted, deliver, mixed, tmp_path, workers):
    expected = mixed.write(tmp_path / "exam", MANY, size=4)
    receiver = scripted()
    done = deliver(tmp_path / "exam", receiver.port, workers=workers)
    assert done.error is None
    assert {item.attempts for item in done.report.items} == {1}, "a lost answer would have been asked for again"
    assert receiver.digests == expected
    assert len(receiver.associations) <= workers
