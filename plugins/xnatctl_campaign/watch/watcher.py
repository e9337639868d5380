"""Watches an inbox: lists it, sends what is quiet, and removes what is proven."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from xnatctl.api import (
    AuthenticationError,
    ConnectionFailed,
    Interrupted,
    NotFound,
    NotXnat,
    PermissionDenied,
    ServerError,
    VerificationFailed,
    XnatctlError,
)
from xnatctl_campaign.folder import now
from xnatctl_campaign.watch.inbox import Inbox, InboxStudy, signature_of
from xnatctl_campaign.watch.listing import list_inbox
from xnatctl_campaign.watch.proofs import Proofs
from xnatctl_campaign.watch.removal import Remover
from xnatctl_campaign.watch.results import StudyResult, StudyState
from xnatctl_campaign.watch.rules import NoPlace, Place
from xnatctl_campaign.watch.schedule import Attempts
from xnatctl_campaign.watch.sender import Sent, StudySender

#: Shortest and longest time between two listings in seconds.
_POLL: Final = (0.2, 10.0)
#: Errors of the server in a row after which it is left alone for a while.
_IN_A_ROW: Final = 3
#: The exit code of a study that was refused before anything was sent.
_REFUSED: Final = 7


class AfterProof(StrEnum):
    """What happens to files that were proven."""

    KEEP = "keep"
    MOVE = "move"
    DELETE = "delete"


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """What to watch. `inbox` and `move_to` are absolute; `quiet` and `retry_after` are in seconds."""

    inbox: str
    quiet: float
    after_proof: AfterProof = AfterProof.KEEP
    move_to: str | None = None
    retry_after: float = 60.0


class Watcher:
    """Watches one inbox. `tell` gets each result, `warn` lines for people; `sleep` waits for seconds."""

    def __init__(
        self,
        watch: Watch,
        sender: StudySender,
        proofs: Proofs,
        *,
        tell: Callable[[StudyResult], None],
        warn: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._watch = watch
        self._sender = sender
        self._proofs = proofs
        self._tell = tell
        self._warn = warn
        self._sleep = sleep
        self._inbox = Inbox(sender.identify, watch.quiet)
        self._attempts = Attempts(watch.retry_after)
        self._warned: set[str] = set()
        self._tried: set[tuple[str, str]] = set()
        self._server_errors = 0
        self.waiting = 0  # studies that were not quiet at the last look

    def run(self) -> None:
        """Watch until an interrupt. Raises KeyboardInterrupt, Interrupted, AuthenticationError."""
        poll = min(max(self._watch.quiet / 4, _POLL[0]), _POLL[1])
        while True:
            if not self._step():
                self._sleep(poll)

    def run_once(self) -> None:
        """Wait for one quiet period, and try each study that was quiet once. Raises as `run`, and NotFound."""
        self._look(must=True)
        self._sleep(self._watch.quiet)
        while self._step(once=True):
            pass

    def _step(self, *, once: bool = False) -> bool:
        """List the inbox and try the first study that is due; returns whether there was one."""
        if not self._look(must=once):
            return False
        at = time.monotonic()
        studies = self._inbox.studies()
        self._forget(studies)
        restless = self._inbox.restless(studies, at)
        self.waiting = len(restless)
        for path, reason in self._inbox.strays(studies, at).items():
            self._warn_once(f"stray {path}", f"{path} belongs to no study that can be sent: {reason}.")
        if at < self._attempts.server.due and not once:
            return False
        for study in sorted(studies, key=lambda study: self._attempts.failures(study.uid)):
            signature = study.signature
            if study.uid in restless or not self._attempts.is_due(study.uid, signature, at):
                continue
            if once and (study.uid, signature) in self._tried:
                continue
            if self._proofs.holds(study.uid, signature) and self._watch.after_proof is AfterProof.KEEP:
                self._attempts.settled(study.uid, signature)
                continue
            if once:
                self._tried.add((study.uid, signature))
            self._try(study, signature, once=once)
            return not (once and self._attempts.server.due)  # the others would fail alike
        return False

    def _look(self, *, must: bool) -> bool:
        """Take a listing; False if the inbox cannot be read. Raises NotFound, PermissionDenied if it `must`."""
        try:
            listing = list_inbox(self._watch.inbox)
        except OSError as error:
            message = f"{self._watch.inbox} cannot be read: {error.strerror}."
            if must:
                kind = NotFound if isinstance(error, FileNotFoundError) else PermissionDenied
                raise kind(message) from None
            self._inbox.unsettle(time.monotonic())
            self._warn_once("inbox", message)
            return False
        self._warned.discard("inbox")
        self._inbox.update(listing, time.monotonic())
        for folder, reason in listing.closed.items():
            self._warn_once(f"closed {folder}", f"The folder {folder} cannot be read: {reason}.")
        for link in listing.links:
            self._warn_once(f"link {link}", f"{link} is a symbolic link, which is not followed.")
        return True

    def _forget(self, studies: Sequence[InboxStudy]) -> None:
        uids = {study.uid for study in studies}
        self._attempts.forget(uids)
        self._proofs.forget(uids)

    def _warn_once(self, key: str, text: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            self._warn(text)

    # one study

    def _try(self, study: InboxStudy, signature: str, *, once: bool) -> None:
        """Try a study and tell the result. Raises Interrupted, AuthenticationError."""
        result = StudyResult(
            at=now(), study=study.uid, state=StudyState.FAILED, folder=study.folder, files=len(study.files)
        )
        try:
            place, inventory = self._sender.place(study)
            if place is None:
                self._attempts.settled(study.uid, signature)
                self._tell(replace(result, state=StudyState.UNMATCHED, exit_code=_REFUSED, code="unmatched"))
                return
            result = _placed(result, place)
            sent = self._sender.send(place, inventory, study)
        except NoPlace as problem:
            self._attempts.settled(study.uid, signature)
            self._tell(replace(result, exit_code=_REFUSED, code="no-place", reason=f"{problem}."))
            return
        except XnatctlError as error:
            self._failed(study, signature, result, error, once=once)
            return
        report = sent.report
        result = replace(result, uri=report.uri or "", verified=report.counts.verified)
        if report.failure is not None:
            self._failed(study, signature, result, report.failure, once=once)
        elif not sent.proven:
            self._failed(study, signature, result, _unproven(report.counts.verified, report.counts.found), once=once)
        else:
            self._proven(study, signature, result, sent)

    def _failed(
        self, study: InboxStudy, signature: str, result: StudyResult, error: XnatctlError, *, once: bool
    ) -> None:
        """Tell a failure and when the study is tried again. Raises what no other study would survive."""
        if isinstance(error, Interrupted):
            raise error
        at = time.monotonic()
        delay = self._attempts.failed(study.uid, signature, at)
        if self._is_of_the_server(error):
            delay = max(delay, self._attempts.server.failed(at))
        ends = once or isinstance(error, AuthenticationError)
        self._tell(
            replace(
                result,
                exit_code=error.exit_code,
                code=error.code,
                reason=error.message,
                hint=error.hint or "",
                retry_in=None if ends else delay,
            )
        )
        if isinstance(error, AuthenticationError):
            raise error  # asking again might lock the account

    def _is_of_the_server(self, error: XnatctlError) -> bool:
        """Whether other studies would fail alike: the server is not there, or answered with errors several times."""
        if not isinstance(error, ConnectionFailed | ServerError):
            self._server_errors = 0
            self._attempts.server.succeeded()
            return False
        self._server_errors += 1
        gone = isinstance(error, ConnectionFailed | NotXnat) or error.code == "throttled"
        return gone or self._server_errors >= _IN_A_ROW

    def _proven(self, study: InboxStudy, signature: str, result: StudyResult, sent: Sent) -> None:
        """Remove what was proven, as far as it is unchanged."""
        self._server_errors = 0
        self._attempts.server.succeeded()
        result = replace(result, state=StudyState.PROVEN)
        if self._watch.after_proof is AfterProof.KEEP:
            self._proofs.add(study.uid, signature)
            self._attempts.settled(study.uid, signature)
            self._tell(replace(result, kept=len(sent.proven)))
            return
        remover = Remover(self._watch.inbox, self._watch.move_to)
        stayed: dict[str, str] = {}
        for item, digest in sent.proven.items():
            if reason := remover.remove(item, digest):
                stayed[item.path] = reason
        self._inbox.removed(item.path for item in sent.proven if item.path not in stayed)
        done = len(sent.proven) - len(stayed)
        # Files that were not sent, such as duplicates, are a study of their own once the others are gone.
        left = {path: state for path, state in study.files.items() if path in stayed or not done}
        self._attempts.settled(study.uid, signature_of(left))
        first = next(iter(stayed), "")
        self._tell(
            replace(
                result,
                removed=done if self._watch.move_to is None else 0,
                moved=done if self._watch.move_to is not None else 0,
                kept=len(stayed),
                reason=f"First kept: {first} ({stayed[first]})." if first else "",
            )
        )


def _placed(result: StudyResult, place: Place) -> StudyResult:
    return replace(result, project=place.project, subject=place.subject, session=place.session, rule=place.rule)


def _unproven(verified: int, found: int) -> XnatctlError:
    return VerificationFailed(f"The server shows {verified:,} of {found:,} instances.")
