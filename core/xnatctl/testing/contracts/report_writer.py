"""The contract of report writers."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from xnatctl.delivery.journal.journal import Journal
from xnatctl.delivery.planning import plan_session_upload
from xnatctl.delivery.reporting import fill_items
from xnatctl.delivery.service import new_report
from xnatctl.errors import ConnectionFailed, Interrupted, XnatctlError
from xnatctl.inventory.sources import content_hash
from xnatctl.model.outcome import ItemOutcome, Outcome
from xnatctl.model.plan import UploadPlan, UploadRequest
from xnatctl.model.refs import Destination
from xnatctl.model.report import Status
from xnatctl.plugin.protocols import FinishedUpload, ReportWriter, ReportWriterContext
from xnatctl.testing.contracts.base import Contract, with_defaults
from xnatctl.testing.exam import write_exam
from xnatctl.testing.watch import expect

#: How uploads end: status and error.
_ENDINGS: Mapping[Status, XnatctlError | None] = {
    Status.COMPLETE: None,
    Status.PARTIAL: ConnectionFailed("The server does not answer."),
    Status.FAILED: ConnectionFailed("The server does not answer."),
    Status.INTERRUPTED: Interrupted("Interrupted."),
}


class ReportWriterContract(Contract):
    """For report writers. Set `spec`, the ReportWriterSpec, and override `options_for` where it has options.

    `failing` makes options with which the report cannot be kept, such as a folder that does not exist.
    """

    failing: ClassVar[Mapping[str, Any] | None] = None

    def options_for(self, directory: Path) -> Mapping[str, Any]:
        """Options that make it keep a report; `directory` is empty, and the writer may use it."""
        self.require(not self.spec.options, "override `options_for`: its options say where the report is kept")
        return {}

    def make(self, options: Mapping[str, Any]) -> ReportWriter:
        """The writer, as a command makes it."""
        context = ReportWriterContext(request=_request("exam"), options=with_defaults(self.spec.options, options))
        with self.calling("target", network=False):
            writer: Any = self.target(context)
        for name in ("check", "write"):
            expect(callable(getattr(writer, name, None)), f"the writer has no method {name}")
        made: ReportWriter = writer
        return made

    @pytest.mark.parametrize("status", _ENDINGS)
    def test_it_keeps_a_report(self, tmp_path: Path, status: Status) -> None:
        """Of an upload that succeeded, failed or was interrupted; the report stays as it is."""
        (tmp_path / "kept").mkdir()
        writer = self.make(self.options_for(tmp_path / "kept"))
        upload = _finished(tmp_path, status)
        before = copy.deepcopy(upload.report.as_document())
        with self.calling("check"):
            writer.check()
        with self.calling("write"):
            place: object = writer.write(upload)
        expect(isinstance(place, str) and bool(str(place).strip()), "`write` does not return where the report is kept")
        self.expect_no_secret("what `write` returned", place)
        expect(upload.report.as_document() == before, "`write` changes the report, which is core's")

    def test_it_keeps_a_report_without_a_plan(self, tmp_path: Path) -> None:
        """Of an upload that failed before its files were known."""
        (tmp_path / "kept").mkdir()
        writer = self.make(self.options_for(tmp_path / "kept"))
        upload = dataclasses.replace(_finished(tmp_path, Status.FAILED), plans=(), user="")
        upload.report.items = ()
        with self.calling("check"):
            writer.check()
        with self.calling("write"):
            writer.write(upload)

    def test_it_refuses_what_it_cannot_keep(self) -> None:
        """Before the first byte, so that no upload is made whose report cannot be kept."""
        if self.failing is None:
            pytest.skip("set `failing` to test options with which the report cannot be kept")
        try:
            with self.calling("target and check"):
                writer = self.make(self.failing)
                writer.check()
        except XnatctlError as error:
            expect(error.message.strip(), "the error has no message")
            self.expect_no_secret("the message of the error", error.message, error.hint)
        else:
            expect(False, "`check` raises nothing for the options of `failing`; files would be sent first")


def _request(path: str) -> UploadRequest:
    return UploadRequest(
        command="session upload",
        path=path,
        destination=Destination(server="http://127.0.0.1", project="P", subject="S", session="E"),
        transport="tar",
        workers=1,
    )


def _finished(directory: Path, status: Status) -> FinishedUpload:
    """A finished upload of a small exam; one that did not succeed delivered one file."""
    write_exam(directory / "exam", series=2, instances=2, seed=5)
    plan: UploadPlan = plan_session_upload(_request(str(directory / "exam")))
    journal = Journal()
    journal.open(plan.items)
    sent = plan.items if status is Status.COMPLETE else () if status is Status.FAILED else plan.items[:1]
    journal.record([ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED) for item in sent])
    report = new_report(plan)
    fill_items(report, journal.states(), plan)
    report.items = list(report.items)
    report.status, report.failure = status, _ENDINGS[status]
    return FinishedUpload(
        report=report,
        plans=(plan,),
        user="alice",
        started=1_700_000_000.0,
        ended=1_700_000_002.5,
        code=0 if report.failure is None else report.failure.exit_code,
        plugins=(("zip", "xnatctl", "0"),),
        digest_of=content_hash,
    )
