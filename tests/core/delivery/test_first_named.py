"""The file that an incomplete run names first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xnatctl.delivery.journal.states import States, StateView
from xnatctl.delivery.reporting import incomplete
from xnatctl.model.commands import Commands
from xnatctl.model.outcome import FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import UploadItem


@pytest.mark.parametrize("receiver", ["", "session upload-dicom", "session upload"])
def test_the_first_file_with_a_reason_is_named_before_those_that_were_not_tried(
    make_items: Callable[..., tuple[UploadItem, ...]], receiver: str
) -> None:
    items, states = make_items(4), States()
    numbers = states.enter(items, None)
    states.record(numbers[0], ItemOutcome(path=items[0].path, outcome=Outcome.ACCEPTED))
    lost = ItemOutcome(
        path=items[2].path, outcome=Outcome.AMBIGUOUS, failure=FailureClass.ANSWER_LOST, reason="no answer."
    )
    states.record(numbers[2], lost)
    error = incomplete(StateView(states, numbers), (), (), Commands(arguments=["again"]), receiver=receiver)
    assert error is not None
    assert error.message == (
        f"{len(items) - 1} of {len(items)} files were not delivered, first: {items[2].path} (no answer)."
    )
    assert ("--echo" in (error.hint or "")) is (receiver == "session upload-dicom")
    assert ("whether the receiver answers" in (error.hint or "")) is bool(receiver)
