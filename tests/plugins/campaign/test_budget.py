"""The server's budget: no more slots than it has, on all processes together, and dead holders do not keep theirs."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import pytest
from systems import needs_start_times

from xnatctl_campaign.budget import Budget
from xnatctl_campaign.claims import Claims
from xnatctl_campaign.holder import new_worker


def test_processes_together_hold_no_more_slots_than_there_are(folder: Path, claimant) -> None:
    workers = [claimant() for _ in range(4)]
    for worker in workers:
        worker.order("turns", 2, 5)
    turns = [turn for worker in workers for turn in worker.answer()]
    steps = sorted([(begun, 1) for begun, _ in turns] + [(ended, -1) for _, ended in turns])
    assert len(turns) == 20
    assert max(accumulate(step for _, step in steps)) <= 2


def test_two_processes_hold_two_slots_at_once_and_a_third_waits(folder: Path, claimant) -> None:
    assert claimant().ask("slot", "sessions", 2) == 1

    def pause(seconds: float) -> None:
        raise AssertionError("waited")

    with Claims(folder, new_worker(), 600.0) as claims:
        budget = Budget(claims, {"sessions": 2}, pause=pause)
        with budget.slot("sessions") as claim:
            assert claim is not None
            with pytest.raises(AssertionError, match="waited"), budget.slot("sessions"):
                pass


@needs_start_times
def test_the_slot_of_a_killed_process_is_free(folder: Path, claimant) -> None:
    dead = claimant()
    assert dead.ask("slot", "archiving", 1) == 1
    said: list[str] = []

    def pause(seconds: float) -> None:
        assert said
        dead.kill()

    with Claims(folder, new_worker(), 600.0) as claims:
        budget = Budget(claims, {"archiving": 1}, say=said.append, pause=pause)
        with budget.slot("archiving") as claim:
            assert claim is not None
            assert claim.generation == 2
    assert said == ["Waiting: the slot for archiving of the server budget is in use."]


def test_an_interrupt_ends_waiting_and_holding(folder: Path) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with Claims(folder, new_worker(), 600.0) as claims:
        budget = Budget(claims, {"sessions": 1}, pause=interrupt)
        with pytest.raises(KeyboardInterrupt), budget.slot("sessions"), budget.slot("sessions"):
            pass
        with budget.slot("sessions") as claim:
            assert claim is not None
            assert claim.generation == 2


def test_files_of_old_slots_are_removed(folder: Path) -> None:
    with Claims(folder, new_worker(), 600.0) as claims:
        budget = Budget(claims, {"sessions": 1})
        for generation in range(1, 41):
            with budget.slot("sessions") as claim:
                assert claim is not None
                assert claim.generation == generation
    assert len(list((folder / "budget").iterdir())) == 16


def test_a_kind_without_a_limit_has_any_number_of_slots(folder: Path) -> None:
    with Claims(folder, new_worker(), 600.0) as claims, Budget(claims, {}).slot("sessions") as claim:
        assert claim is None
    with pytest.raises(ValueError, match="budget of sessions"):
        Budget(claims, {"sessions": 0})
