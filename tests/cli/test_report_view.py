"""What people read of a report: what is wrong first, said once however many files share it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from xnatctl.cli.report_view import report_document
from xnatctl.model.outcome import Outcome
from xnatctl.model.refs import Destination
from xnatctl.model.report import Counts, Difference, Level, PlaceState, Report, ReportItem, Status, Verification


def item(path: str, outcome: Outcome, reason: str | None = None) -> ReportItem:
    return ReportItem(
        path=path, outcome=outcome, reason=reason, sop_instance_uid=f"1.{path}", series_instance_uid="1.2", bytes=2048
    )


def lines(*items: ReportItem, status: Status = Status.FAILED, sent: int = 0, **fields: Any) -> tuple[str, ...]:
    report = Report(
        command="session upload",
        status=status,
        destination=Destination(server="http://x", project="P", subject="S", session="E"),
        transport="tar",
        items=list(items),
        counts=Counts(found=len(items), sent=sent, failed=len(items) - sent),
        **fields,
    )
    return report_document(report).summary


def test_a_reason_that_many_files_share_is_said_once() -> None:
    said = lines(*[item(f"f{number}", Outcome.FAILED, "too large") for number in range(300)])
    assert said == ("0 of 300 instances delivered (0 B, 0.0 s).", "failed: 300 files, f0, f1 and 298 more (too large)")


def test_what_was_not_tried_comes_behind_what_is_wrong() -> None:
    said = lines(item("a", Outcome.PLANNED), item("b", Outcome.PLANNED), item("c", Outcome.AMBIGUOUS, "no answer"))
    assert said[1:] == ("ambiguous: c (no answer)", "not sent: 2 files, a, b")


def test_many_reasons_are_bounded() -> None:
    said = lines(*[item(f"f{number}", Outcome.CHANGED, f"f{number} has changed") for number in range(9)])
    assert said[-1] == "... and 4 more; -o json lists all."
    assert len(said) == 7


def test_what_was_delivered_and_is_not_archived_is_said_to_be_so() -> None:
    said = lines(item("a", Outcome.ACCEPTED), item("b", Outcome.FAILED), status=Status.PARTIAL, sent=1)
    assert said[0].startswith("1 of 2 instances delivered, not archived (")


def test_a_difference_of_the_whole_session_names_no_series() -> None:
    differences = [
        Difference(kind="subject", message="it is another"),
        Difference(kind="count", message="2, not 3", series_instance_uid="1.2"),
    ]
    verification = Verification(level=Level.UID, ok=False, differences=differences)
    said = lines(verification=verification, state=PlaceState.ARCHIVED)
    assert said[-2:] == ("subject: it is another", "count: series 1.2: 2, not 3")


def test_files_of_a_resource_that_were_compared_by_checksum_are_said_to_be_so() -> None:
    """Beside instances, which are compared by UID: the level of all is the weaker one."""
    file = replace(item("a.log", Outcome.VERIFIED), sop_instance_uid="", series_instance_uid="", resource="Physio")
    said = lines(
        item("a", Outcome.VERIFIED),
        file,
        status=Status.COMPLETE,
        sent=2,
        state=PlaceState.ARCHIVED,
        verification=Verification(level=Level.UID),
    )
    assert said[0].endswith("; instances checked by SOP Instance UID, files by checksum.")


@pytest.mark.parametrize("key", ["size", "files"])
def test_rows_hold_numbers_for_programs(key: str) -> None:
    report = Report(
        command="session upload",
        status=Status.COMPLETE,
        destination=Destination(server="", project="", subject="", session=""),
        transport="tar",
        items=[item("a", Outcome.VERIFIED), item("b", Outcome.VERIFIED)],
    )
    (row,) = report_document(report).rows
    assert row[key] == {"size": 4096, "files": 2}[key]


def test_differences_that_read_the_same_are_counted() -> None:
    extra = [
        Difference(kind="extra", message="not on disk", series_instance_uid="1.2", sop_instance_uid=f"1.{n}")
        for n in range(7)
    ]
    verification = Verification(level=Level.UID, ok=False, differences=extra)
    said = lines(item("a", Outcome.ACCEPTED), status=Status.PARTIAL, sent=1, verification=verification)
    assert said[1:] == ("extra: 7 x series 1.2: not on disk",)


@pytest.mark.parametrize("status", [Status.REFUSED, Status.FAILED])
def test_a_comparison_that_did_not_begin_says_so(status: Status) -> None:
    report = Report(
        command="session verify",
        status=status,
        destination=Destination(server="", project="P", subject="", session="e"),
        transport="",
    )
    assert report_document(report).summary == ("Nothing was compared.",)
