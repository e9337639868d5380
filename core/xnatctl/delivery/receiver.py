"""The stage `receiver`: hands files to a DICOM receiver, which acknowledges each file.

Only a later stage, which finds the studies in the XNAT behind the receiver, can prove more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from xnatctl.delivery.context import RunContext
from xnatctl.delivery.journal.states import record_name
from xnatctl.delivery.reporting import UPLOAD_DICOM, helps_again, incomplete
from xnatctl.delivery.session.resume import find_accepted
from xnatctl.errors import VerificationFailed
from xnatctl.model.outcome import Outcome
from xnatctl.model.plan import Stage, UploadItem
from xnatctl.model.words import part_of

#: Most studies that the journal lists.
_MOST_STUDIES = 1000


class ReceiverRunner:
    """Sends the items of one stage to a receiver that acknowledges each."""

    def __init__(self, context: RunContext, stage: Stage) -> None:
        self._context = context
        self._send = stage

    def check(self) -> None:
        """Nothing can be checked before the first association."""

    def give_up(self) -> None:
        """The engine stops its own workers."""

    def run(self) -> None:
        """Send the items. Raises DeliveryIncomplete, VerificationFailed for instances that the receiver already had."""
        context, journal = self._context, self._context.journal
        resumed = find_accepted(self._send.items, journal, context.arrived)
        for warning in resumed.warnings:
            context.warn(warning)
        in_doubt = self._in_doubt()
        studies = sorted({item.study_instance_uid for item in self._send.items})
        context.begin(studies=json.dumps(studies if len(studies) <= _MOST_STUDIES else []))
        left = journal.open(self._send.items, resumed.proven)
        context.started(left)
        context.send(self._send, left)
        error = incomplete(
            journal.states(), context.plan.unsendable, (), context.commands, receiver=context.plan.command
        )
        if error is not None:
            undelivered = journal.states().undelivered
            if not undelivered or helps_again(undelivered):
                context.report.next.append(context.rerun)
            raise error
        if context.arrived is not None:
            return  # a later stage compares the archive
        duplicates = context.duplicates()
        if foreign := [item for item in duplicates if item.path not in in_doubt]:
            raise _foreign(foreign, journal.total, context.plan.command)
        journal.prove(map(record_name, duplicates))

    def _in_doubt(self) -> frozenset[str]:
        """The paths of items that an earlier run sent without an answer: the receiver may have them."""
        items = self._send.items
        recorded = zip(items, self._context.journal.recorded(items), strict=True)
        lost = (Outcome.SENDING, Outcome.AMBIGUOUS)
        return frozenset(item.path for item, past in recorded if past is not None and past.outcome in lost)


def _foreign(items: Sequence[UploadItem], total: int, command: str) -> VerificationFailed:
    hint = "Compare them on the receiver, or delete them there and run the command again."
    if command == UPLOAD_DICOM:
        hint = (
            "If the receiver belongs to an XNAT, add --verify -P PROJECT to compare them. Otherwise compare them "
            "on the receiver, or delete them there and run the command again."
        )
    return VerificationFailed(
        f"The receiver says that it already has {part_of(len(items), total, 'instance')} and did not store them, "
        f"first: {items[0].path}. It does not report whether they equal the files on disk.",
        hint=hint,
    )
