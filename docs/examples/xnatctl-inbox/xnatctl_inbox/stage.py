"""The stage `copy-report`."""

from __future__ import annotations

import json
import os
from dataclasses import replace

from xnatctl.api import RunContext, Stage, UploadPlan, UploadRequest, UsageError, VerificationFailed
from xnatctl.api.commands import plan_session_upload


def with_copy(request: UploadRequest, folder: str) -> UploadPlan:
    """The plan of `session upload`, with one more stage."""
    plan = plan_session_upload(request)
    copy = Stage(kind="copy-report", name=f"copy the report to {folder}", options={"folder": os.path.abspath(folder)})
    return replace(plan, stages=(*plan.stages, copy))


class CopyReport:
    """Writes the report as JSON, and reads it back. Runs when the stages before it are done."""

    def __init__(self, context: RunContext, stage: Stage) -> None:
        self.context = context
        self.folder = str(stage.options["folder"])

    def check(self) -> None:
        """Refuse before anything is sent what would fail afterwards."""
        if not os.access(self.folder, os.W_OK):
            raise UsageError(
                f"Reports cannot be written to {self.folder}.", hint="Make the folder, or unset SITE_REPORTS."
            )

    def run(self) -> None:
        """One file per session; a later run replaces it."""
        report = self.context.current_report()
        where = report.destination
        path = os.path.join(self.folder, f"{where.project}_{where.session}.json")
        text = json.dumps(report.as_document(), indent=1)
        try:
            with open(path, "w", encoding="utf-8") as out:
                out.write(text)
            with open(path, encoding="utf-8") as back:
                same = back.read() == text
        except OSError as error:
            raise VerificationFailed(f"The report cannot be copied to {path}: {error.strerror}.") from error
        if not same:
            raise VerificationFailed(f"The copy of the report in {path} is not what was written.")

    def give_up(self) -> None:
        """Nothing waits."""
