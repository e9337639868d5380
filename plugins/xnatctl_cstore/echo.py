"""Identifies a receiver and finds which contexts it accepts, without sending instances."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from xnatctl.api import ConnectionFailed, UploadItem
from xnatctl_cstore import dimse, negotiation
from xnatctl_cstore.association import Association
from xnatctl_cstore.contexts import MOST, Pair, counted
from xnatctl_cstore.receiver import Receiver
from xnatctl_cstore.trouble import Lost, NotAssociated

_IMPLICIT = "1.2.840.10008.1.2"
_VERIFICATION: Pair = (dimse.VERIFICATION, _IMPLICIT)

#: The root of an implementation class UID -> whose it is.
_KNOWN = {
    "1.2.40.0.13.1.1": "dcm4che, which XNAT's receiver uses",
    "1.2.40.0.13.1.3": "dcm4che",
    "1.2.276.0.7230010.3.0.3": "DCMTK, or software based on it, such as Orthanc",
    "1.2.826.0.1.3680043.9.3811": "pynetdicom",
    "1.3.6.1.4.1.30071.8": "fo-dicom",
}


@dataclass(kw_only=True)
class Reply:
    """The answers of a receiver. `echo` is the status of C-ECHO, None when it offers none; `seconds` the round trip.

    `takes` says of every context (with how many files need it) None, or by which result it was refused.
    """

    implementation_class_uid: str
    implementation_version: str
    longest_pdu: int
    echo: int | None = None
    seconds: float = 0.0
    takes: dict[Pair, tuple[int, int | None]] = field(default_factory=dict)

    @property
    def known_as(self) -> str:
        """The implementation of the receiver; empty if not known."""
        uid = self.implementation_class_uid
        return next((name for root, name in _KNOWN.items() if uid == root or uid.startswith(f"{root}.")), "")


def ask(receiver: Receiver, items: Sequence[UploadItem] = ()) -> Reply:
    """Send a C-ECHO and negotiate the contexts of the items. Raises ConnectionFailed."""
    contexts = counted(items)
    pairs = list(contexts)
    try:
        reply = _echo(receiver, pairs[: MOST - 1], contexts)
        for first in range(MOST - 1, len(pairs), MOST):
            association = Association.open(receiver, pairs[first : first + MOST])
            association.release()
            _note(reply, association.terms, pairs[first : first + MOST], contexts)
    except NotAssociated as error:
        raise ConnectionFailed(error.message, hint=error.hint) from None
    except Lost as lost:
        raise ConnectionFailed(
            f"{receiver.place} does not answer C-ECHO: {lost.reason}.", hint="Ask the receiver's administrator."
        ) from None
    return reply


def _echo(receiver: Receiver, pairs: Sequence[Pair], contexts: dict[Pair, int]) -> Reply:
    association = Association.open(receiver, [_VERIFICATION, *pairs], first=True)
    try:
        terms = association.terms
        reply = Reply(
            implementation_class_uid=terms.implementation_class_uid,
            implementation_version=terms.implementation_version,
            longest_pdu=terms.longest_pdu,
        )
        _note(reply, terms, pairs, contexts)
        if _VERIFICATION in terms.ids:
            begun = time.monotonic()
            reply.echo = association.echo().status
            reply.seconds = time.monotonic() - begun
        return reply
    finally:
        association.release()


def _note(reply: Reply, terms: negotiation.Terms, pairs: Sequence[Pair], contexts: dict[Pair, int]) -> None:
    for pair in pairs:
        reply.takes[pair] = (contexts[pair], terms.refused.get(pair))
