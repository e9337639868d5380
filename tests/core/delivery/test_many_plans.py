"""Several plans are delivered by an executor, and end in one report and one exit code."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from running import services

from xnatctl.delivery.joined_report import Part, together
from xnatctl.delivery.many import deliver_many, is_hopeless, run_many
from xnatctl.errors import (
    AuthenticationError,
    ConnectionFailed,
    Interrupted,
    JournalError,
    NotArchived,
    Refused,
    VerificationFailed,
)
from xnatctl.model.plan import RECEIVER, Exclusion, Overwrite, Placement, Stage, UploadPlan
from xnatctl.model.refs import Destination
from xnatctl.model.report import Report, Status


@pytest.fixture
def plans(make_items, tmp_path):
    """Three plans of one directory, each for a session of its own, which leave out the same file."""
    items = make_items(6)

    def plan(number):
        stage = Stage(
            kind=RECEIVER, name="send", transport="scripted", items=items[2 * number - 2 : 2 * number], options={}
        )
        return UploadPlan(
            command="send", root=str(tmp_path), workers=1, stages=(stage,),
            destination=Destination(server="there", project="P", subject="S", session=f"E_{number}"),
            placement=Placement.ARCHIVE, overwrite=Overwrite.DELETE,
            excluded=(Exclusion(path="note", reason="not DICOM"), Exclusion(path=f"note {number}", reason="hidden")),
        )  # fmt: skip

    return [plan(number) for number in (1, 2, 3)]


@pytest.fixture
def transport(scripted, accept):
    return scripted(accept)


@pytest.fixture
def made(transport, tmp_path):
    journals = tmp_path / "journals"
    journals.mkdir()
    return services({"scripted": transport}, journals, address=lambda name, options: "there")


def sent(transport):
    return [path for paths in transport.sent for path in paths]


def test_each_plan_has_a_journal_of_its_own_and_there_is_one_report(plans, made, transport):
    report = deliver_many(plans, made)
    assert (report.status, report.failure, report.next) == (Status.COMPLETE, None, [])
    assert sent(transport) == [f"0000{number}" for number in range(6)]
    assert (report.counts.found, report.counts.sent, report.counts.failed) == (6, 6, 0)
    assert [item.path for item in report.items] == [f"0000{number}" for number in range(6)]
    assert [entry.path for entry in report.excluded] == ["note", "note 1", "note 2", "note 3"]
    assert [study.session for study in report.studies] == ["E_1", "E_2", "E_3"]
    assert report.destination == Destination(server="there", project="P", subject="S", session="")
    assert len(list(made.journals.glob("*.sqlite"))) == 3


def test_an_executor_decides_the_order(plans, made, transport):
    def backwards(all_plans, run):
        for number in reversed(range(len(all_plans))):
            yield number, run(all_plans[number])

    report = deliver_many(plans, made, backwards)
    assert report.status is Status.COMPLETE
    assert sent(transport) == ["00004", "00005", "00002", "00003", "00000", "00001"]
    assert [study.session for study in report.studies] == ["E_1", "E_2", "E_3"]
    assert [item.path for item in report.items] == [f"0000{number}" for number in range(6)]


def test_a_plan_that_no_executor_tries_is_not_complete(plans, made):
    report = deliver_many(plans, made, lambda all_plans, run: iter([(1, run(all_plans[1]))]))
    assert [study.status for study in report.studies] == [Status.PLANNED, Status.COMPLETE, Status.PLANNED]
    assert (report.status, report.counts.sent, report.counts.failed) == (Status.PARTIAL, 2, 4)
    assert report.next == ["xnatctl again"]
    assert report.failure is not None
    assert report.failure.exit_code == 5


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted("")])
def test_an_interrupt_between_two_plans_ends_in_a_report(plans, made, error):
    def interrupted(all_plans, run):
        yield 0, run(all_plans[0])
        raise error

    report = deliver_many(plans, made, interrupted)
    assert (report.status, report.counts.sent, report.next) == (Status.INTERRUPTED, 2, ["xnatctl again"])
    assert isinstance(report.failure, Interrupted)
    assert "Finish with: xnatctl again" in (report.failure.hint or "")


def ended(error, number=1):
    """The report of a run; True is one that is complete, None one that was not tried."""
    status = Status.COMPLETE if error is True else Status.PLANNED if error is None else Status.FAILED
    where = Destination(server="S", project="P", subject="s", session=f"E_{number}")
    report = Report(command="session upload", status=status, destination=where, transport="tar")
    report.failure = error if isinstance(error, Exception) else None
    return report


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ((True,), None),
        ((True, True), None),
        ((None,), 5),
        ((True, None), 5),
        ((True, NotArchived("a")), 6),
        ((NotArchived("a"), VerificationFailed("b")), 6),
        ((True, VerificationFailed("a"), None), 5),
        ((True, Refused("a")), 5),
        ((Refused("a"), Refused("b")), 7),
        ((Refused("a"), NotArchived("b")), 5),
        ((AuthenticationError("a"), None, None), 3),
        ((True, AuthenticationError("a"), None), 5),
        ((ConnectionFailed("a"), None), 4),
        ((JournalError("a"), True), 5),
        ((JournalError("a"), JournalError("b")), 1),
        ((Refused("a"), Interrupted("b", signal_number=15), None), 143),
    ],
)
def test_several_endings_are_one_exit_code(errors, code):
    parts = [Part(plan=SimpleNamespace(), report=ended(error, number)) for number, error in enumerate(errors, 1)]
    error = together(parts)
    assert (error.exit_code if error else None) == code
    if error is not None and code != 143:
        assert error.message.startswith(f"{sum(e is not True for e in errors)} of {len(errors)}")
        assert "not complete." in error.message
        assert ("Not tried" in error.message) == (None in errors)


@pytest.mark.parametrize(
    ("error", "sent", "expected"),
    [
        (ConnectionFailed("a"), 0, True),
        (ConnectionFailed("a"), 5, False),
        (AuthenticationError("a"), 5, True),
        (Interrupted("a"), 5, True),
        (Refused("a"), 0, False),
        (NotArchived("a"), 5, False),
        (JournalError("a"), 0, False),
    ],
)
def test_what_the_next_plan_would_meet_as_well_ends_all(plans, error, sent, expected):
    tried = []

    def run(plan):
        tried.append(plan)
        report = ended(error)
        report.counts.sent = sent
        return report

    run_many(plans, run)
    assert (len(tried) == 1) is expected
    report = ended(error)
    report.counts.sent = sent
    assert is_hopeless(report) is expected
