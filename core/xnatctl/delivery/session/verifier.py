"""Verifies an archived session at the end of an upload: compares, sends suspicious instances again, and concludes.

An instance with an unexplained stored size or sum is sent again once in a run (sending again is idempotent, xnat-import
4.3). The journal stores the size before: if the same size results, the server produces it, and this and later runs
accept it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from xnatctl.delivery.context import RunContext
from xnatctl.delivery.judgement import DOUBTFUL
from xnatctl.delivery.session import verify
from xnatctl.delivery.session.counting import JOINED, UNLISTED
from xnatctl.delivery.session.verify import Comparison, Wanted
from xnatctl.errors import VerificationFailed
from xnatctl.inventory.sources import content_hash
from xnatctl.model.events import EventKind
from xnatctl.model.plan import Stage, UploadItem
from xnatctl.model.report import Verification
from xnatctl.model.words import counted

#: Most reads of an incomplete listing, which may lag behind archiving.
_LOOKS = 3
_REFRESH = "Ask the administrator to refresh the catalogs of this session, then run the command again."
_LAGGING = frozenset({"missing", "remapped", "count", "contradiction"})


class SessionVerifier:
    """Compares the items of one session.

    `stage` is the stage of the plan, with the options `checksum` and `exact`. `resend` sends items again and archives
    them, or raises an error; None if nothing can be sent again. `may_resend` returns whether an item would replace only
    data of this upload.
    """

    def __init__(
        self,
        context: RunContext,
        stage: Stage,
        *,
        resend: Callable[[Sequence[UploadItem]], None] | None,
        may_resend: Callable[[UploadItem], bool],
    ) -> None:
        self._context = context
        self._client = context.client
        self._journal = context.journal
        self._checksum = bool(stage.options.get("checksum"))
        self.exact = bool(stage.options.get("exact"))
        self._resend = resend
        self._may_resend = may_resend
        self._sums: dict[str, bytes] = {}

    def verify(self, session_id: str, items: Sequence[UploadItem], *, was_there: bool) -> None:
        """Compare and conclude. `was_there`: the session held other data before. Raises VerificationFailed."""
        self._context.schedule.suspend()
        self._context.tell(EventKind.VERIFYING, state="comparing the session with the disk")
        comparison = self._compare(session_id, items, was_there=was_there)
        places = array("I", (place for place in comparison.suspects if self._may_resend(items[place])))
        if places and self._resend is not None and not self._context.stop.requested:
            self._send_again(comparison, places, self._resend)
            comparison = self._compare(session_id, items, was_there=was_there)
        # Items whose size changed again, or that this run cannot send again, are sent again by the next run.
        still = [place for place in comparison.suspects if self._may_resend(items[place])]
        self._journal.send_again((items[place], comparison.stored_as(place)) for place in still)
        self.conclude(comparison)

    def _compare(self, session_id: str, items: Sequence[UploadItem], *, was_there: bool) -> Comparison:
        for attempt in range(_LOOKS):
            comparison = self._once(session_id, items, was_there=was_there, checksum=False)
            lacking = any(difference.kind in _LAGGING for difference in comparison.verification.differences)
            if not lacking or not self._context.stop.wait(0.5 * (attempt + 1)):
                break
        if not self._checksum:
            return comparison
        return self._once(session_id, items, was_there=was_there, checksum=True)

    def _once(self, session_id: str, items: Sequence[UploadItem], *, was_there: bool, checksum: bool) -> Comparison:
        wanted = Wanted(
            was_there=was_there,
            exact=self.exact,
            checksum=checksum,
            seen=self._journal.stored_before,
            sum_of=self._sum_of,
        )
        return verify.verify_archived(self._client, session_id, items, wanted)

    def _sum_of(self, item: UploadItem) -> str:
        """The MD5 of a file on disk, read once. Raises SourceChanged."""
        known = self._sums.get(item.path)
        if known is None:
            if not len(self._sums) % 100:
                self._context.tell(EventKind.VERIFYING, state="reading files to compare their MD5")
            known = self._sums[item.path] = bytes.fromhex(content_hash(item, "md5"))
        return known.hex()

    def _send_again(
        self, comparison: Comparison, places: Sequence[int], resend: Callable[[Sequence[UploadItem]], None]
    ) -> None:
        items = [comparison.items[place] for place in places]
        first = next(d for d in comparison.verification.differences if d.path == items[0].path)
        self._context.warn(
            f"{counted(len(items), 'instance')} on the server may be damaged, first {first.path}: it {first.message}. "
            "Sending again."
        )
        self._journal.send_again((comparison.items[place], comparison.stored_as(place)) for place in places)
        resend(items)
        self._context.tell(EventKind.VERIFYING, state="comparing the session with the disk")

    def conclude(self, comparison: Comparison) -> None:
        """Write the verification into report and journal. Raises VerificationFailed if it failed."""
        report, journal = self._context.report, self._journal
        verification = report.verification = comparison.verification
        journal.reached(comparison.items, comparison.findings)
        if verification.ok:
            return
        report.next.append(self._context.rerun)
        wrong = {d.sop_instance_uid for d in verification.differences if d.kind in DOUBTFUL}
        journal.doubt(item for item in comparison.items if item.sop_instance_uid in wrong)
        raise failure(verification)


def failure(verification: Verification) -> VerificationFailed:
    """The error for a failed comparison."""
    differences = verification.differences
    if not differences:
        limit = verification.limits[0] if verification.limits else "Nothing could be compared."
        hint = None
        if limit in (JOINED, UNLISTED):
            hint = "Archive the session, then run the same command again: it compares SOP Instance UIDs and sizes then."
        return VerificationFailed(f"The files were delivered, but their arrival cannot be verified. {limit}", hint=hint)
    if differences[0].kind == "contradiction":
        return VerificationFailed(
            "The server's listings contradict each other, so nothing is verified: " + differences[0].message + ".",
            hint=_REFRESH,
        )
    first = differences[0]
    named = f"{first.path}: " if first.path else ""
    hint = (
        "Upload them again: they may have been lost when a connection broke. If they stay missing, a series import "
        "filter or an anonymisation script of the site drops or renames them; the report names each one."
    )
    if not any(difference.kind in ("missing", "remapped") for difference in differences):
        # The counts match and there are no UIDs, so sending again proves no more.
        unnamed = first.kind == "count" and (first.found or 0) >= (first.expected or 0)
        hint = _REFRESH if unnamed else "The report names each one."
    if first.kind == "checksum":
        hint = (
            "A transport of a plugin or a script of the site may have changed what follows the headers; the report "
            "names each one, and the same command sends them again."
        )
    return VerificationFailed(
        f"The server does not hold what is on disk: {counted(len(differences), 'difference')}, first: {named}"
        f"{first.message}.",
        hint=hint,
    )
