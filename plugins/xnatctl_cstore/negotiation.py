"""Negotiates an association with pynetdicom's PDU and primitive classes (PS3.8 7.1.1, 9.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import xnatctl
from xnatctl.api import FailureClass
from xnatctl_cstore.contexts import Pair
from xnatctl_cstore.receiver import Receiver
from xnatctl_cstore.trouble import NotAssociated

#: Our implementation class UID and version name.
IMPLEMENTATION_CLASS_UID = "2.25.304907890279222069516446729321530420984"
_VERSION_NAME = f"XNATCTL_{xnatctl.__version__}"[:16]
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

#: The longest PDU that we accept; answers are short.
LONGEST = 1 << 16
#: The longest PDU that we send, even if the receiver accepts longer ones.
_OURS = 1 << 20
#: A shorter limit leaves no room for a fragment.
_SHORTEST = 32

_NO_CLASS, _NO_SYNTAX = 3, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """The result of a negotiation.

    `ids` are the contexts that were accepted; `refused` says of the others by which result (PS3.8 table 9-18).
    `fragment` is the most bytes of one fragment.
    """

    ids: Mapping[Pair, int]
    refused: Mapping[Pair, int]
    fragment: int
    longest_pdu: int
    implementation_class_uid: str = ""
    implementation_version: str = ""


def request(receiver: Receiver, pairs: Sequence[Pair]) -> bytes:
    """The A-ASSOCIATE-RQ for these contexts, whose IDs are 1, 3, 5 ..."""
    from pynetdicom import build_context
    from pynetdicom.pdu import A_ASSOCIATE_RQ
    from pynetdicom.pdu_primitives import (
        A_ASSOCIATE,
        ImplementationClassUIDNotification,
        ImplementationVersionNameNotification,
        MaximumLengthNotification,
    )

    primitive = A_ASSOCIATE()
    primitive.application_context_name = _APPLICATION_CONTEXT
    primitive.calling_ae_title, primitive.called_ae_title = receiver.calling, receiver.called
    contexts = []
    for number, (abstract, transfer) in enumerate(pairs):
        cx = build_context(abstract, transfer)
        cx.context_id = 2 * number + 1
        contexts.append(cx)
    primitive.presentation_context_definition_list = contexts
    longest, who, version = (
        MaximumLengthNotification(),
        ImplementationClassUIDNotification(),
        ImplementationVersionNameNotification(),
    )
    longest.maximum_length_received = LONGEST
    who.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version.implementation_version_name = _VERSION_NAME
    primitive.user_information = [longest, who, version]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    encoded: bytes = pdu.encode()
    return encoded


def accepted(pdu_bytes: bytes, pairs: Sequence[Pair], receiver: Receiver) -> Terms:
    """The terms of an A-ASSOCIATE-AC. Raises NotAssociated for an invalid one."""
    from pynetdicom.pdu import A_ASSOCIATE_AC

    pdu = A_ASSOCIATE_AC()
    try:
        pdu.decode(pdu_bytes)
        primitive = pdu.to_primitive()
        results = {
            cx.context_id: (cx.result, [str(uid) for uid in cx.transfer_syntax])
            for cx in primitive.presentation_context_definition_results_list
        }
        longest = primitive.maximum_length_received or 0
        names = {type(item).__name__: item for item in primitive.user_information}
        if not results:
            raise ValueError("no presentation context")
    except Exception as error:
        raise NotAssociated(
            f"{receiver.place} accepts the association with an answer that cannot be read ({type(error).__name__}).",
            FailureClass.ASSOCIATION,
            hint="This is a bug in the receiver: report it to its administrator.",
        ) from error
    ids: dict[Pair, int] = {}
    refused: dict[Pair, int] = {}
    for number, pair in enumerate(pairs):
        result, syntaxes = results.get(2 * number + 1, (2, []))
        if result == 0 and syntaxes[:1] == [pair[1]]:
            ids[pair] = 2 * number + 1
        else:
            refused[pair] = result or _NO_SYNTAX
    who = names.get("ImplementationClassUIDNotification")
    version = names.get("ImplementationVersionNameNotification")
    return Terms(
        ids=ids,
        refused=refused,
        fragment=_fragment(longest, receiver),
        longest_pdu=longest,
        implementation_class_uid=str(getattr(who, "implementation_class_uid", "") or ""),
        implementation_version=str(getattr(version, "implementation_version_name", "") or ""),
    )


def _fragment(longest: int, receiver: Receiver) -> int:
    """Bytes of a fragment: even, because some receivers take no other, and six less than the PDU (PS3.8 9.3.5)."""
    if 0 < longest < _SHORTEST:
        raise NotAssociated(
            f"{receiver.place} accepts PDUs of at most {longest} bytes, which is too short for any message.",
            FailureClass.ASSOCIATION,
            hint="Ask its administrator to set a longer PDU, such as 16384 bytes.",
        )
    return (min(longest or _OURS, _OURS) - 6) & ~1


def refusal(result: int) -> str:
    """Why the receiver refused a context."""
    return {
        _NO_CLASS: "it does not accept this SOP class",
        _NO_SYNTAX: "it does not accept this transfer syntax, and xnatctl does not convert files",
    }.get(result, "it gives no reason")


def at_fault(receiver: Receiver) -> str:
    """The hint if a receiver gives no reason."""
    return (
        f"Ask its administrator for the reason in its log, and check that its AE title is {receiver.called} and "
        "accepts the "
        f"caller {receiver.calling} (--called-aet, --calling-aet)."
    )


def rejected(pdu_bytes: bytes, receiver: Receiver) -> NotAssociated:
    """What an A-ASSOCIATE-RJ means (PS3.8 table 9-21; xnat-api 5.2)."""
    from pynetdicom.pdu import A_ASSOCIATE_RJ

    pdu = A_ASSOCIATE_RJ()
    try:
        pdu.decode(pdu_bytes)
        reason = str(pdu.reason_str)
    except Exception:  # noqa: BLE001 - a rejection that cannot be read is one without a reason
        reason = "no reason that can be read"
    source, diagnostic, transient = pdu.source, pdu.reason_diagnostic, pdu.result == 2
    if (source, diagnostic) == (1, 7):
        usual = f" It is often XNAT; try: {receiver.echo(called='XNAT')}" if receiver.called != "XNAT" else ""
        return NotAssociated(
            f"The receiver at {receiver.place} rejects the association: it has no AE title {receiver.called}.",
            FailureClass.ASSOCIATION,
            hint="--called-aet must match the receiver's AE title exactly, including capitals. Its administrator "
            "knows it; "
            f"in an XNAT it is listed with the DICOM SCP receivers.{usual}",
        )
    if (source, diagnostic) == (1, 3):
        return NotAssociated(
            f"The receiver at {receiver.place} rejects the association: it does not accept the caller "
            f"{receiver.calling}.",
            FailureClass.ASSOCIATION,
            hint=f"It accepts only callers on its list. Ask its administrator to add the AE title {receiver.calling} "
            "and the address of this machine, or give a title of the list with --calling-aet.",
        )
    if transient or source == 3:
        return NotAssociated(
            f"The receiver at {receiver.place} accepts no further associations ({reason.lower()}).",
            FailureClass.CROWDED,
            hint="Use fewer --workers, or run the command again later.",
            busy=True,
        )
    return NotAssociated(
        f"The receiver at {receiver.place} rejects the association: {reason.lower()}.",
        # After an accepted association, a rejection without a reason most likely means too many associations.
        FailureClass.CROWDED if diagnostic == 1 else FailureClass.ASSOCIATION,
        hint=at_fault(receiver),
    )
