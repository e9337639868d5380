"""Claims of rows: one holder at a time, dead holders are followed, and a holder that was stopped notices it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from systems import needs_signals, needs_start_times

from xnatctl.api import JournalError
from xnatctl_campaign import claim_file
from xnatctl_campaign.claims import Claims, Holding, claim_states
from xnatctl_campaign.holder import Holder, new_worker

SHORT = 0.6


def until(condition: Callable[[], object]) -> object:
    """What a condition returns as soon as that is something."""
    while not (found := condition()):
        time.sleep(0.02)
    return found


def edited(folder: Path, row: int, **fields: object) -> None:
    """Change what the first claim of a row says about its holder."""
    path = folder / "claims" / "0" / f"{row}.1"
    head, holder = path.read_text().splitlines()
    path.write_text(f"{head}\n{json.dumps({**json.loads(holder), **fields})}\n")


@pytest.fixture
def claims(folder: Path):
    with Claims(folder, new_worker(), 600.0) as claims:
        yield claims


@pytest.mark.parametrize("rows", [100, pytest.param(1000, marks=pytest.mark.lab)])
def test_racing_processes_share_the_rows(folder: Path, claimant, rows: int) -> None:
    racers = [claimant() for _ in range(2)]
    for racer in racers:
        racer.order("race", rows)
    taken = [racer.answer() for racer in racers]
    assert sorted(taken[0] + taken[1]) == list(range(1, rows + 1))
    assert [state.row for state in claim_states(folder)] == list(range(1, rows + 1))


def test_a_claim_is_free_when_it_has_ended(claims: Claims, claimant) -> None:
    assert claims.state_of(7).holding is Holding.FREE
    first = claims.take(7)
    assert first is not None
    assert not first.lost()
    other = claimant()
    assert other.ask("take", 7) is None
    assert (claims.state_of(7).holding, claims.state_of(7).worker) == (Holding.HELD, claims.worker)
    first.end()
    assert first.lost()
    assert claims.state_of(7).holding is Holding.ENDED
    assert other.ask("take", 7) == 2
    assert claims.take(7) is None


@needs_start_times
def test_a_killed_process_is_followed_at_once(claims: Claims, claimant) -> None:
    """The lease is ten minutes: only the process number can say that it is dead. It is a zombie, then it is gone."""
    for row, close in ((1, False), (2, True)):
        other = claimant()
        assert other.ask("take", row) == 1
        other.kill()
        if close:
            other.close()
        assert claims.state_of(row).holding is Holding.DEAD
        claim = claims.take(row)
        assert claim is not None
        assert claim.generation == 2


@needs_signals
def test_a_stopped_process_notices_that_its_row_was_taken(folder: Path, claimant) -> None:
    other = claimant(SHORT)
    assert other.ask("take", 1) == 1
    other.signal(signal.SIGSTOP)
    with Claims(folder, new_worker(), SHORT) as claims:
        claim = until(lambda: claims.take(1))
        assert claim.generation == 2
        other.signal(signal.SIGCONT)
        assert other.ask("lost") is True
        other.order("end")
        other.answer()
        assert claims.take(1) is None  # what the older claim says does not count


@needs_signals
def test_a_process_that_was_stopped_for_long_has_lost_its_row_in_any_case(folder: Path, claimant) -> None:
    """Another process may be about to follow it, which cannot be known."""
    other = claimant(SHORT)
    other.ask("take", 1)
    other.signal(signal.SIGSTOP)
    time.sleep(SHORT)
    other.signal(signal.SIGCONT)
    until(lambda: other.ask("lost"))
    time.sleep(SHORT)
    assert other.ask("lost") is True


def test_a_living_process_is_never_followed_while_it_writes(folder: Path, claimant) -> None:
    other = claimant(SHORT)
    other.ask("take", 1)
    path = folder / "claims" / "0" / "1.1"
    with Claims(folder, new_worker(), SHORT) as claims:
        while claim_file.read(path).beat < 8 and not other.ask("lost"):
            assert claims.take(1) is None or other.ask("lost")


@needs_start_times
def test_a_process_number_that_another_process_has_says_nothing(folder: Path, claims: Claims) -> None:
    claims.take(1)
    edited(folder, 1, started="1")
    with Claims(folder, new_worker(), 600.0) as others:
        assert others.state_of(1).holding is Holding.DEAD
        assert others.take(1) is not None


@pytest.mark.parametrize("field", ["boot", "namespace"])
def test_processes_of_other_machines_and_containers_are_judged_by_their_beat(
    folder: Path, claims: Claims, field: str
) -> None:
    claims.take(1)
    edited(folder, 1, **{field: "another"}, pid=2**22 + 1)
    path = folder / "claims" / "0" / "1.1"
    with Claims(folder, new_worker(), 0.1) as others:
        for time_of_file in (0, 2**32):  # the clock of the other machine is decades wrong
            os.utime(path, (time_of_file, time_of_file))
            claim_file.rewrite(path, 100 + time_of_file, ended=False)
            assert others.take(1) is None
        assert until(lambda: others.take(1)).generation == 2


def test_a_claim_that_was_not_written_to_its_end_is_held_for_a_lease(folder: Path) -> None:
    (folder / "claims" / "0").mkdir()
    (folder / "claims" / "0" / "1.1").touch()
    with Claims(folder, new_worker(), 0.1) as claims:
        assert claims.state_of(1).holding is Holding.HELD
        assert claims.take(1) is None
        assert until(lambda: claims.take(1)).generation == 2


def test_a_claim_whose_file_was_removed_is_lost(folder: Path) -> None:
    with Claims(folder, new_worker(), SHORT) as claims:
        claim = claims.take(1)
        (folder / "claims" / "0" / "1.1").unlink()
        until(claim.lost)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("a file")
    with Claims(tmp_path, new_worker(), 600.0) as claims, pytest.raises(JournalError, match="Cannot claim in"):
        claims.take(1)


def test_the_end_of_all_claims_frees_the_rows(folder: Path) -> None:
    with Claims(folder, new_worker(), 600.0) as claims:
        claims.take(1)
    assert [state.holding for state in claim_states(folder)] == [Holding.ENDED]


def test_a_holder_describes_its_process() -> None:
    holder = Holder.this_process("w")
    assert holder.pid == os.getpid()
    assert not holder.is_gone()
    assert new_worker() != new_worker()
