"""When a run stops starting rows."""

from __future__ import annotations

import pytest

from xnatctl.api import RowResult, UsageError
from xnatctl_campaign.durations import seconds_of
from xnatctl_campaign.selection import Selection, as_text
from xnatctl_campaign.stopping import Stop


def failed(code: str, row: int = 1) -> RowResult:
    return RowResult(row=row, state="failed", exit_code=4, code=code)


PROVEN = RowResult(row=1, state="proven")


@pytest.mark.parametrize(
    ("results", "stopped", "exit_code"),
    [
        (["unreachable", "answer-lost", "unreachable"], "the server cannot be reached", 4),
        (["unreachable", "unreachable", PROVEN, "unreachable"], "", 0),
        (["unreachable", "unreachable", "server"], "", 0),
        (["unreachable", "unreachable", "refused", "unreachable"], "the server cannot be reached", 4),
        (["server", "throttled", "server"], "the server fails", 4),
        (["refused"] * 9, "", 0),
        (["source-changed"] * 9, "", 0),
        (["not-archived"] * 3, "sessions are not archived", 5),
        (["worker-ended"] * 3, "worker processes end", 5),
        (["authentication"], "the login is refused", 3),
    ],
    ids=str,
)
def test_failures_of_one_class_in_a_row_stop_a_run(results, stopped: str, exit_code: int) -> None:
    stop = Stop(3)
    for result in results:
        assert not stop()
        stop.take(failed(result) if isinstance(result, str) else result)
    assert stop() is bool(stopped)
    assert stop.reason.endswith(stopped)
    assert stop.exit_code == exit_code


def test_a_run_stops_when_its_time_is_over() -> None:
    now = [100.0]
    stop = Stop(5, 60.0, lambda: now[0])
    now[0] = 159.9
    assert not stop()
    now[0] = 160.0
    assert stop()
    assert stop.reason == "the time of --max-duration is over"


def test_the_first_reason_counts() -> None:
    stop = Stop(5)
    stop.request("SIGUSR1 asked for it")
    stop.take(failed("authentication"))
    assert (stop.reason, stop.exit_code) == ("SIGUSR1 asked for it", 0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("2h30m", 9000), ("1d", 86400), ("1D2H", 93600), (" 90m ", 5400)]
)
def test_durations(text: str, seconds: int) -> None:
    assert seconds_of(text, "--max-duration") == seconds


@pytest.mark.parametrize("text", ["", "0s", "2", "h", "30m2h", "-1h", "2 h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        seconds_of(text, "--max-duration")


def test_a_selection_names_numbers_and_ranges() -> None:
    selection = Selection.parse("1, 5-8,12")
    assert [row for row in range(20) if row in selection] == [1, 5, 6, 7, 8, 12]
    assert selection.first_missing([1, 5, 6, 7, 8, 12]) is None
    assert selection.first_missing([1, 5, 6, 8, 12]) == 7
    assert selection.first_missing([5, 6, 7, 8, 12]) == 1
    assert Selection.parse("3-999999999").first_missing([3, 4]) == 5


@pytest.mark.parametrize("text", ["", "0", "a", "1,,2", "5-3", "1;2", "-3", "1-"])
def test_what_is_no_selection(text: str) -> None:
    with pytest.raises(UsageError, match="--only takes numbers of rows"):
        Selection.parse(text)


def test_rows_as_text() -> None:
    assert as_text([1, 2, 3, 7, 9, 10]) == "1-3,7,9-10"
    assert as_text([1, 3, 5, 7], most=2) == "1,3,..."
    assert as_text([]) == ""
    assert list(filter(Selection.parse(as_text([1, 2, 9])).__contains__, range(12))) == [1, 2, 9]
