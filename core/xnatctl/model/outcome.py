"""The outcome of one file, and its cause."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """State of one instance or file.

    `ambiguous` means that the request may have been stored but no answer was read. It never counts as sent or unsent,
    and is resolved by sending again under the same member name.
    """

    PLANNED = "planned"  # not sent yet
    EXCLUDED = "excluded"  # skipped by a rule
    INVALID = "invalid"  # damaged DICOM
    SENDING = "sending"  # sent, not answered yet
    ACCEPTED = "accepted"  # the receiver has taken it
    AMBIGUOUS = "ambiguous"  # sent, and no answer was read
    FILTERED = "filtered"  # the server took it and did not store it
    REJECTED = "rejected"  # the receiver refused this file
    FAILED = "failed"  # not delivered
    CHANGED = "changed"  # the file on disk changed
    VERIFIED = "verified"  # found on the server
    MISSING = "missing"  # delivered, but not found on the server

    @property
    def delivered(self) -> bool:
        """True if the receiver confirmed that it took the file."""
        return self in (Outcome.ACCEPTED, Outcome.VERIFIED)


class FailureClass(StrEnum):
    """The cause of a failure, which decides what happens next."""

    NONE = "none"  # nothing failed
    AUTHENTICATION = "authentication"  # one shared re-login, then stop
    PERMISSION = "permission"  # stop
    DESTINATION = "destination"  # wrong or missing project, other session: stop
    CONCURRENT = "concurrent"  # "concurrent file sends": wait, then again
    TOO_LARGE = "too-large"  # halve the batch
    THROTTLED = "throttled"  # Retry-After
    TRANSIENT = "transient"  # 5xx: backoff
    UNREACHABLE = "unreachable"  # nothing was sent
    CROWDED = "crowded"  # the receiver accepts no further connection: the open ones continue
    ASSOCIATION = "association"  # the receiver rejects associations of this AE title: stop
    ANSWER_LOST = "answer-lost"  # may have been stored: ambiguous
    UNPARSABLE = "unparsable"  # a receiver cannot process a file that we can read: a few times
    REFUSED = "refused"  # 400, 404, 422, ... on a file that we can read: a few times, each file on its own
    FILTERED = "filtered"  # 200 and not stored
    NOT_XNAT = "not-xnat"  # HTML answered
    SOURCE = "source"  # the file changed or cannot be read
    DUPLICATE = "duplicate"  # accepted: the receiver has an instance of this UID, and whether it is ours is not known
    FATAL = "fatal"  # none of the above: stop


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemOutcome:
    """The result of one attempt to send one item.

    `path` is the item's path relative to the root; `uri` is its location according to the server or receiver, `note` a
    remark on a success (such as a C-STORE warning status), `reason` the cause of any other outcome.
    """

    path: str
    outcome: Outcome  # the state after this attempt
    reason: str | None = None
    uri: str | None = None
    note: str | None = None
    failure: FailureClass = FailureClass.NONE  # decides whether it is sent again
    retry_after: float | None = None  # seconds that the server asked to wait


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchResult:
    """One outcome per item of the batch, in any order, and the URIs in the answer of the receiver."""

    outcomes: tuple[ItemOutcome, ...]  # one per item of the batch
    uris: tuple[str, ...] = ()  # import sessions or resources, as the server named them
    bytes_sent: int = 0  # of the body
