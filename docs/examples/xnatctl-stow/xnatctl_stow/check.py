"""The stage `stow-check`: finds each delivered instance at the service, by QIDO-RS (PS3.18 10.6).

The answer to a store request says what a server took. This asks the server what it has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from xnatctl.api import (
    ConnectionFailed,
    Difference,
    Level,
    RunContext,
    Stage,
    UploadItem,
    UploadPlan,
    UploadRequest,
    UsageError,
    Verification,
    VerificationFailed,
    counted,
)
from xnatctl.api.commands import plan_session_upload
from xnatctl.api.xnat import Finding
from xnatctl_stow.connection import Connection
from xnatctl_stow.reply import instance_uid
from xnatctl_stow.service import Service

#: Instances of one answer.
_PAGE = 1000
_SOP_INSTANCE_UID = "00080018"
_WITHOUT = "Add --no-stow-check to rely on the answers to the store requests alone."


def with_check(request: UploadRequest) -> UploadPlan:
    """The plan of `session upload`, with the stage at its end."""
    plan = plan_session_upload(request)
    name = "find each instance at the DICOMweb service"
    return replace(plan, stages=(*plan.stages, Stage(kind="stow-check", name=name)))


class QidoCheck:
    """Asks for the instances of each series until all of them are listed, or the time is over."""

    def __init__(self, context: RunContext, stage: Stage) -> None:
        self._context = context
        sending = next((other for other in context.plan.sending if other.transport == "stow"), None)
        if sending is None:
            raise UsageError("The plan has no stage that sends by stow, so there is nothing to check.")
        self._service = Service.from_options(sending.transport_options)
        self._wait = float(sending.transport_options["stow_wait"])
        self._connection = Connection(self._service)

    def check(self) -> None:
        """The transport asks the service before it sends."""

    def give_up(self) -> None:
        """End the request in flight."""
        self._connection.close()

    def run(self) -> None:
        """Compare, and fill the report. Raises VerificationFailed, Interrupted."""
        context = self._context
        context.settling()
        items = context.journal.states().delivered.items
        try:
            missing = self._missing(items)
        finally:
            self._connection.close()
        lost = {item.sop_instance_uid for item in missing}
        context.journal.reached(
            items, (Finding.ABSENT if item.sop_instance_uid in lost else Finding.UNSIZED for item in items)
        )
        context.report.verification = Verification(
            ok=not missing,
            level=Level.NONE if missing else Level.UID,
            differences=[self._difference(item) for item in missing],
        )
        if missing:
            context.journal.doubt(missing)
            context.report.next.append(context.rerun)
            raise VerificationFailed(
                f"{self._service.url} accepted {counted(len(missing), 'instance')} of {len(items)} and does not list "
                f"{'it' if len(missing) == 1 else 'them'}, first: {missing[0].path}.",
                hint="The same command sends again what is missing. If that does not help, see the log of the server.",
            )

    def _missing(self, items: Sequence[UploadItem]) -> Sequence[UploadItem]:
        """The items that the service does not list in time. Raises VerificationFailed if it cannot be asked."""
        polls = self._context.schedule.polls(self._wait)
        missing = items
        while True:
            problem = ""
            try:
                missing = list(self._absent(missing))
            except ConnectionFailed as error:
                problem = error.message
            if not missing:
                return missing
            if not polls():
                break
        if problem:
            raise VerificationFailed(f"The instances were not looked up: {problem}", hint="Run the same command again.")
        return missing

    def _absent(self, items: Iterable[UploadItem]) -> Iterable[UploadItem]:
        """The items that are not listed now. Raises ConnectionFailed, VerificationFailed."""
        series: dict[tuple[str, str], list[UploadItem]] = {}
        for item in items:
            series.setdefault((item.study_instance_uid, item.series_instance_uid), []).append(item)
        for (study, uid), group in series.items():
            wanted = {item.sop_instance_uid for item in group}
            left = self._unlisted(f"/studies/{study}/series/{uid}/instances", wanted)
            yield from (item for item in group if item.sop_instance_uid in left)

    def _unlisted(self, path: str, wanted: set[str]) -> set[str]:
        """The UIDs that a list does not contain. A server may give fewer per answer than it was asked for."""
        seen: set[str] = set()
        while wanted - seen:
            page = self._page(path, len(seen))
            if page <= seen:  # the end; or a server that ignores the offset
                break
            seen |= page
        return wanted - seen

    def _page(self, path: str, offset: int) -> set[str]:
        answer = self._connection.get(path, {"limit": _PAGE, "offset": offset})
        if answer.status in (204, 404):  # no such series, or no more
            return set()
        if answer.status in (429, 503) or answer.status >= 502:
            raise ConnectionFailed(f"{self._service.url} answered HTTP {answer.status}.")
        if answer.status == 401:
            refused = self._service.login_refused
            raise VerificationFailed(refused.message, hint=refused.hint)
        if answer.status != 200:
            raise VerificationFailed(
                f"{self._service.url} does not list instances by QIDO-RS (HTTP {answer.status}).", hint=_WITHOUT
            )
        try:
            return {instance_uid(entry, _SOP_INSTANCE_UID) for entry in json.loads(answer.content)}
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            raise VerificationFailed(
                f"{self._service.url} does not list instances by QIDO-RS: its answer is not DICOM JSON.", hint=_WITHOUT
            ) from None

    def _difference(self, item: UploadItem) -> Difference:
        return Difference(
            kind="missing",
            message=f"not listed by {self._service.url}",
            series_instance_uid=item.series_instance_uid,
            sop_instance_uid=item.sop_instance_uid,
            path=item.path,
        )
