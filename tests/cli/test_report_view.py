"""What people read of a report: what is wrong first, said once however many files share it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from xnatctl.cli.report_view import excluded_lines, report_document
from xnatctl.cli.series_view import series_names
from xnatctl.errors import DeliveryIncomplete
from xnatctl.model.outcome import Outcome
from xnatctl.model.plan import Exclusion
from xnatctl.model.refs import Destination
from xnatctl.model.report import (
    SIZE_LIMIT,
    Counts,
    Difference,
    Level,
    PlaceState,
    Report,
    ReportItem,
    SeriesReport,
    Status,
    StudyReport,
    Verification,
)


def item(path: str, outcome: Outcome, reason: str | None = None) -> ReportItem:
    return ReportItem(
        path=path,
        outcome=outcome,
        reason=reason,
        sop_instance_uid=f"1.{path}",
        series_instance_uid="1.2",
        bytes=2048,
        attempts=int(outcome is not Outcome.PLANNED),
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
    assert said[1:] == ("may have arrived: c (no answer)", "not sent: 2 files, a, b")


def test_many_reasons_are_bounded() -> None:
    said = lines(*[item(f"f{number}", Outcome.CHANGED, f"f{number} has changed") for number in range(9)])
    assert said[-1] == "... and 4 more; -o json lists all."
    assert len(said) == 7


def test_what_was_delivered_and_is_not_archived_is_said_to_be_so() -> None:
    said = lines(item("a", Outcome.ACCEPTED), item("b", Outcome.FAILED), status=Status.PARTIAL, sent=1)
    assert said[0].startswith("1 of 2 instances delivered; this run archived nothing (")


def test_what_is_not_archived_is_said_once() -> None:
    report = Report(
        command="session upload",
        status=Status.PARTIAL,
        destination=Destination(server="https://x", project="P", subject="S", session="E"),
        transport="tar",
        items=[item("a", Outcome.ACCEPTED), item("b", Outcome.FAILED)],
        failure=DeliveryIncomplete(
            "1 of 2 files was not delivered. The other 1 was delivered; this run archived nothing."
        ),
    )
    report.counts.found, report.counts.sent = 2, 1
    assert report_document(report).summary[0].startswith("1 of 2 instances delivered (")


def test_what_was_sent_without_an_answer_is_explained() -> None:
    said = lines(item("a", Outcome.AMBIGUOUS), item("b", Outcome.SENDING), item("c", Outcome.VERIFIED), sent=1)
    assert said[1] == "may have arrived: 2 files, a, b (the connection broke before the answer)"


def test_a_difference_of_a_series_names_it_as_the_table_does() -> None:
    about = {"study_instance_uid": "1", "modality": "MR"}
    known = [
        SeriesReport(series_instance_uid="1.2", series_number="4", series_description="T1 MPRAGE", **about),
        SeriesReport(series_instance_uid="1.3", series_number="5", series_description="", **about),
        SeriesReport(series_instance_uid="1.4", series_number="5", series_description="", **about),
    ]
    assert series_names(known) == {"1.2": "4 (T1 MPRAGE, MR)"}
    differences = [Difference(kind="count", message="2, not 3", series_instance_uid=uid) for uid in ("1.2", "1.3")]
    report = Report(
        command="session upload",
        status=Status.PARTIAL,
        transport="tar",
        series=known,
        destination=Destination(server="http://x", project="P", subject="S", session="E"),
        items=[item("a", Outcome.ACCEPTED)],
        verification=Verification(ok=False, differences=differences),
    )
    report.counts.found = report.counts.sent = 1
    said = report_document(report).summary
    assert "count: series 4 (T1 MPRAGE, MR): 2, not 3" in said
    assert "count: series 1.3: 2, not 3" in said


def test_a_difference_of_the_whole_session_names_no_series() -> None:
    differences = [
        Difference(kind="subject", message="it is another"),
        Difference(kind="count", message="2, not 3", series_instance_uid="1.2"),
    ]
    verification = Verification(level=Level.UID, ok=False, differences=differences)
    said = lines(item("a", Outcome.ACCEPTED), sent=1, verification=verification, state=PlaceState.ARCHIVED)
    assert said[-2:] == ("subject: it is another", "count: series 1.2: 2, not 3")


def test_how_instances_and_files_were_compared_is_said_of_each() -> None:
    """By their own levels: a file has no UID, and not every site keeps checksums."""
    blank = replace(item("a.log", Outcome.VERIFIED), sop_instance_uid="", series_instance_uid="", resource="Physio")
    summed, sized = (replace(blank, path=str(level), level=level) for level in (Level.CHECKSUM, Level.SIZE))
    instance = replace(item("a", Outcome.VERIFIED), level=Level.UID)

    def said(*items: ReportItem) -> str:
        verification = Verification(level=Level.UID, ok=True)
        state = PlaceState.ARCHIVED
        line = lines(*items, status=Status.COMPLETE, sent=len(items), state=state, verification=verification)[0]
        return line.rpartition("; ")[2]

    assert said(instance, summed) == "instances checked by SOP Instance UID, files by checksum."
    assert (
        said(instance, replace(summed, level=Level.NONE)) == "instances checked by SOP Instance UID, files not checked."
    )
    assert said(summed) == "checked by checksum."
    assert said(summed, sized) == "checked by checksum (1), by path and size (1)."
    assert said(replace(summed, level=Level.NONE)) == "not checked."


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


def archived(**fields: Any) -> str:
    """The first line of a report of forty instances that were delivered and archived."""
    report = Report(
        command="session upload",
        status=fields.pop("status", Status.COMPLETE),
        destination=Destination(server="http://x", project="P", subject="S", session="E"),
        transport="tar",
        state=PlaceState.ARCHIVED,
        **fields,
    )
    return report_document(report).summary[0]


def test_the_first_line_counts_what_was_found() -> None:
    counts = Counts(found=40, sent=40, verified=39)
    verification = Verification(level=Level.SIZE, ok=False, levels={"none": 1, "size": 39})
    said = archived(counts=counts, verification=verification, status=Status.PARTIAL)
    assert said.startswith("39 of 40 instances archived as E in project P (")


def test_the_first_line_claims_nothing_that_was_not_compared() -> None:
    said = archived(counts=Counts(found=40, sent=40))
    assert said.startswith("40 of 40 instances delivered, archived as E in project P (")
    assert said.endswith("; not checked.")


def test_the_first_line_says_how_many_reached_which_level() -> None:
    counts = Counts(found=40, sent=40, verified=40)
    one = Verification(level=Level.SIZE, ok=True, levels={"size": 40})
    assert archived(counts=counts, verification=one).endswith("; checked by SOP Instance UID and size.")
    two = Verification(level=Level.UID, ok=True, levels={"uid": 2, "size": 38})
    assert archived(counts=counts, verification=two).endswith(
        "; checked by SOP Instance UID and size (38), by SOP Instance UID (2)."
    )


def test_what_others_added_and_what_cannot_be_told_are_said() -> None:
    verification = Verification(
        level=Level.UID,
        ok=True,
        extra=[
            Difference(kind="extra", message="on the server", series_instance_uid="1.2", sop_instance_uid="1.2.3"),
            Difference(kind="extra", message="4 more", series_instance_uid="1.2", found=4),
            Difference(kind="extra", message="scan 7 is on the server", series_instance_uid="1.3"),
        ],
        limits=["3 instances could not be compared by size: the server lists no size.", SIZE_LIMIT],
    )
    said = lines(item("a", Outcome.VERIFIED), status=Status.COMPLETE, sent=1, verification=verification)
    assert said[1:] == (
        "The server also holds 5 instances and 1 scan not on disk; -o json lists them.",
        "Note: 3 instances could not be compared by size: the server lists no size.",
    )


def test_a_refusal_says_nothing_of_what_was_skipped() -> None:
    excluded = [Exclusion(path="notes.txt", reason="not DICOM")]
    assert lines(status=Status.REFUSED, excluded=excluded, warnings=["a link leads to nothing"]) == (
        "Nothing was sent.",
    )


def test_links_that_a_warning_is_about_are_counted_and_not_described_again() -> None:
    entries = [Exclusion(path=f"gone{number}", reason="symbolic link to nothing") for number in range(3)]
    entries += [Exclusion(path=f"l{number}", reason=f"symbolic link to a/{number}") for number in range(4)]
    warning = "3 symbolic links lead to nothing, first gone0; what is missing there is not sent."
    assert tuple(excluded_lines(entries, [warning])) == (
        "Skipped 7 files:",
        "  4 x symbolic link to another file: l0, l1 and 2 more",
        "  3 x symbolic link (see the warnings)",
    )
    assert "  3 x symbolic link to nothing: gone0, gone1 and 1 more" in excluded_lines(entries)
    packed = [
        Exclusion(path=f"p{n}", reason=f"symbolic link to ../{n}, which is not in the archive file") for n in (1, 2)
    ]
    assert list(excluded_lines(packed))[1:] == ["  2 x symbolic link to a file that is not in the archive file: p1, p2"]


def test_table_and_text_call_other_content_by_one_name() -> None:
    entries = [Difference(kind="size", message="9 bytes on disk, 8 on the server", sop_instance_uid="1.a", path="a")]
    changed = item("a", Outcome.MISSING, entries[0].message)
    report = Report(
        command="session verify",
        status=Status.PARTIAL,
        destination=Destination(server="http://x", project="P", subject="S", session="E"),
        transport="",
        state=PlaceState.ARCHIVED,
        items=[
            changed,
            item("b", Outcome.MISSING, "not found"),
            item("c", Outcome.PLANNED),
            item("d", Outcome.VERIFIED),
        ],
        counts=Counts(found=4, failed=3, verified=1),
        verification=Verification(ok=False, level=Level.SIZE, levels={"size": 1}, differences=entries),
    )
    document = report_document(report)
    (row,) = document.rows
    assert row["state"] == "1 differs, 1 missing, 1 not compared, 1 verified"
    said = document.summary
    assert said[0].startswith("1 of 4 instances on disk is archived as E in project P; ")
    assert said[1:4] == (f"differs: a ({entries[0].message})", "missing: b (not found)", "not compared: c")


def test_a_file_that_cannot_be_read_has_no_series_and_no_size() -> None:
    damaged = replace(item("a", Outcome.INVALID, "damaged"), sop_instance_uid="", series_instance_uid="", bytes=0)
    document = report_document(
        Report(
            command="session upload",
            status=Status.PARTIAL,
            destination=Destination(server="http://x", project="P", subject="S", session="E"),
            transport="tar",
            items=[damaged],
            counts=Counts(found=1, failed=1),
        )
    )
    assert [(row["series"], row["files"], row["size"]) for row in document.rows] == [("(not readable)", 1, None)]


def test_one_file_of_one() -> None:
    assert lines(item("a", Outcome.ACCEPTED), sent=1)[0].startswith("1 of 1 instance delivered")


def test_what_sent_nothing_shows_no_table_and_no_skipped_files_before_its_error() -> None:
    report = Report(
        command="session upload-dicom",
        status=Status.FAILED,
        destination=Destination(server="x:104", project="", subject="", session=""),
        transport="cstore",
        items=[item("a", Outcome.PLANNED)],
        counts=Counts(found=1, failed=1),
        excluded=[Exclusion(path="notes.txt", reason="not DICOM")],
        next=["xnatctl session upload-dicom a"],
    )
    document = report_document(report)
    assert (document.columns, document.summary) == ((), ("Nothing was sent.", "Next: xnatctl session upload-dicom a"))


def named(*numbers: str, last: int = 0, resource: str = "") -> tuple[list[str], list[str]]:
    """The columns of the table that are dropped never, or with the priority `last`, and the names of the rows."""
    uids = ("1.2", "1.3")
    items = [replace(item(uid, Outcome.VERIFIED), series_instance_uid=uid) for uid in uids]
    if resource:
        items.append(replace(items[0], path="a.log", sop_instance_uid="", series_instance_uid="", resource=resource))
    report = Report(
        command="session upload",
        status=Status.COMPLETE,
        destination=Destination(server="", project="", subject="", session=""),
        transport="tar",
        items=items,
        counts=Counts(found=len(items), sent=len(items)),
        series=[
            SeriesReport(
                study_instance_uid="",
                series_instance_uid=uid,
                series_number=number,
                series_description=f"scan {number}",
                modality="MR",
            )
            for uid, number in zip(uids, numbers, strict=True)
        ],
    )
    document = report_document(report)
    assert [entry["series_description"] for entry in document.data["series"]] == [f"scan {n}" for n in numbers]
    columns = [column for column in document.columns if not column.detail]
    return [column.key for column in columns if column.drop in (0, last)], [row["name"] for row in document.rows]


def test_series_are_named_by_their_number_and_the_uid_is_dropped_first() -> None:
    assert named("1", "2", last=5) == (["name", "state", "series"], ["1", "2"])


@pytest.mark.parametrize("numbers", [("1", "1"), ("1", "")])
def test_the_uid_stays_where_numbers_do_not_tell_series_apart(numbers: tuple[str, str]) -> None:
    assert named(*numbers, last=0) == (["name", "state", "series"], list(numbers))


def test_without_numbers_series_are_named_by_uid() -> None:
    assert named("", "")[0] == ["series", "state"]


def test_beside_resources_a_series_is_called_one() -> None:
    assert named("1", "2", resource="Log") == (["name", "state"], ["series 1", "series 2", "resource Log"])


def test_what_the_error_below_says_is_not_said_before_it() -> None:
    """At a terminal; where the lines go elsewhere than the error, they say it."""
    error = DeliveryIncomplete("2 of 4 files were not delivered, first: a (too large).")
    items = [item("a", Outcome.FAILED, "too large."), item("b", Outcome.FAILED, "too large.")]
    items += [item("c", Outcome.FAILED, "not readable"), item("d", Outcome.ACCEPTED)]
    report = Report(
        command="session upload",
        status=Status.PARTIAL,
        destination=Destination(server="", project="", subject="", session=""),
        transport="tar",
        items=items,
        counts=Counts(found=4, sent=1, failed=3),
        failure=error,
    )
    said = report_document(report).summary[1:]
    assert said == ("failed: 2 files, a, b (too large.)", "failed: c (not readable)")
    assert report_document(report, error_follows=True).summary[1:] == ("failed: a, b", "failed: c (not readable)")
    report.items = [item(f"f{number}", Outcome.FAILED, "too large.") for number in range(9)]
    report.failure = DeliveryIncomplete("9 of 9 files were not delivered, first: f0 (too large).")
    assert report_document(report, error_follows=True).summary[1:] == ()


def test_a_difference_that_the_error_below_names_is_said_once() -> None:
    study = Difference(kind="study", message="it holds study 1.3; on disk is study 1.2")
    report = Report(
        command="session verify",
        status=Status.PARTIAL,
        destination=Destination(server="", project="", subject="", session=""),
        transport="tar",
        items=[],
        counts=Counts(),
        verification=Verification(ok=False, differences=[study, Difference(kind="subject", message="of s2")]),
        failure=DeliveryIncomplete(f"Session s belongs to a different study: {study.message}."),
    )
    assert f"study: {study.message}" in report_document(report).summary
    assert [line for line in report_document(report, error_follows=True).summary if "study 1.3" in line] == []
    assert "subject: of s2" in report_document(report, error_follows=True).summary


def test_a_session_gives_its_reason_unless_the_error_below_does() -> None:
    reason: dict[str, object] = {"message": "None of 3 files was delivered: busy."}
    report = Report(
        command="session upload",
        status=Status.FAILED,
        destination=Destination(server="", project="", subject="", session=""),
        transport="tar",
        items=[item("a", Outcome.FAILED)],
        counts=Counts(found=1, failed=1),
        studies=[
            StudyReport(
                study_instance_uid="1.2", state=PlaceState.UNKNOWN, session="s", status=Status.FAILED, error=reason
            )
        ],
        failure=DeliveryIncomplete("1 of 1 session not complete. s: None of 3 files was delivered: busy."),
    )
    assert "s: study 1.2, failed (None of 3 files was delivered: busy.)" in report_document(report).summary
    assert "s: study 1.2, failed" in report_document(report, error_follows=True).summary
