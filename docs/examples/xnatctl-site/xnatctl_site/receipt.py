"""Keeps a receipt of each delivered session: what was delivered, where it is, and how closely it was checked."""

from __future__ import annotations

import json
from pathlib import Path

from xnatctl.api import RunContext, Stage, UsageError, VerificationFailed


class KeepReceipt:
    """Runs after the stage that delivers, so there is a receipt of complete deliveries only."""

    def __init__(self, context: RunContext, stage: Stage) -> None:
        self.context = context
        self.folder = Path(str(stage.options["folder"]))

    def check(self) -> None:
        """Before the first byte of the whole run."""
        if not self.folder.is_dir():
            raise UsageError(f"{self.folder} is not a directory.", hint="Create it, or unset SITE_RECEIPTS.")

    def run(self) -> None:
        """Write the receipt, read it again, and compare."""
        report, plan = self.context.report, self.context.plan
        session = f"{plan.destination.project}_{plan.destination.session}"
        receipt = {
            "project": plan.destination.project,
            "session": plan.destination.session,
            "uri": report.uri,
            "instances": sorted(item.sop_instance_uid for item in plan.items),
            "level": str(report.verification.level),
        }
        path = self.folder / f"{session}.json"
        path.write_text(json.dumps(receipt, indent=2), encoding="utf-8")
        if json.loads(path.read_text(encoding="utf-8")) != receipt:
            raise VerificationFailed(f"{path} does not hold the receipt that was written.")

    def give_up(self) -> None:
        """Nothing takes long."""
