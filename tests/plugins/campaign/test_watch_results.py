"""What `campaign watch` says about a study, and the exit code of `--once`."""

from __future__ import annotations

import pytest

from xnatctl_campaign.watch.results import StudyResult, StudyState, closing_document, exit_code_of_all

PLACE = {"project": "P", "subject": "s", "session": "e"}


def result(study="1.2", state=StudyState.FAILED, **more):
    return StudyResult(at="now", study=study, state=state, folder="in", **more)


def test_one_line_says_what_became_of_a_study():
    proven = result(state=StudyState.PROVEN, verified=3, removed=2, kept=1, reason="First kept: a (why).", **PLACE)
    assert proven.line() == (
        "Study 1.2 in in: 3 instances proven in P/s/e, 2 files removed, 1 file kept. First kept: a (why)."
    )
    failed = result(reason="No.", hint="Do it.", retry_in=60.0)
    assert failed.line() == "Study 1.2 in in: No. Do it. It is tried again in 60 s, or when it changes."
    assert result(reason="No.").line() == "Study 1.2 in in: No. It is tried again when it changes."
    assert "no rule matches" in result(state=StudyState.UNMATCHED).line()


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ({}, 0),
        ({"a": 0, "b": 0}, 0),
        ({"a": 7}, 7),  # nothing was sent
        ({"a": 0, "b": 7}, 5),
        ({"a": 0, "b": 6}, 6),
        ({"a": 0, "b": 4}, 4),
        ({"a": 4, "b": 6}, 5),
    ],
)
def test_the_exit_code_of_all(codes, expected):
    states = {0: StudyState.PROVEN}
    found = [result(study, states.get(code, StudyState.FAILED), exit_code=code) for study, code in codes.items()]
    assert exit_code_of_all(found) == expected


def test_the_last_attempt_of_a_study_counts():
    first, second = result(exit_code=4), result(state=StudyState.PROVEN)
    assert exit_code_of_all([first, second]) == 0
    document = closing_document([first, second, result("1.3", StudyState.UNMATCHED)], 2)
    assert document.summary == ("2 studies tried, 1 proven, 1 unmatched, 2 not quiet yet.",)
    assert [row["exit_code"] for row in document.rows] == [4, 0, 0]
