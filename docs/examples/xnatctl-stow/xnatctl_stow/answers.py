"""Turns the answer to a STOW-RS request into one outcome per item (PS3.18 10.5.3, I.2).

The status of the response says little: servers answer 200, 202 and 409 to the same failures. So each instance is
accepted or refused by the sequence that names it, and one that the answer does not name is ambiguous.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xnatctl.api import FailureClass, ItemOutcome, Outcome, UploadItem, printable
from xnatctl_stow.connection import Answer
from xnatctl_stow.reply import StoreReply

_DUPLICATE = 0x0111
#: Failure Reason (0008,1197): PS3.18 I.2.2, PS3.4 GG.4.2, PS3.7 C.
_REASONS = {
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0117: "invalid SOP instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorized",
    0xC122: "transfer syntax not supported",
    0xC409: "the study is not the one that was named",
}
_RANGES = {0xA7: "out of resources", 0xA9: "the data set does not match its SOP class"}
#: Warning Reason (0008,1196): PS3.18 I.2.1.
_WARNINGS = {
    0xB000: "data elements were coerced",
    0xB006: "elements were discarded",
    0xB007: "the data set does not match its SOP class",
}
#: Longest text of the server in a reason.
_TEXT = 200

#: Statuses whose body says what became of each instance. Orthanc answers 400 when it stored some of them.
_NAMING = frozenset({200, 202, 400, 409})

_BASE_URL = "check that --stow-url is the base URL of a DICOMweb service"
#: What the status means for the whole request where its body names no instance.
_STATUSES: dict[int, tuple[FailureClass, Outcome, str]] = {
    401: (FailureClass.AUTHENTICATION, Outcome.FAILED, "check STOW_TOKEN, or STOW_USER and STOW_PASSWORD"),
    403: (FailureClass.PERMISSION, Outcome.FAILED, "this user may not store there"),
    404: (FailureClass.DESTINATION, Outcome.FAILED, _BASE_URL),
    405: (FailureClass.DESTINATION, Outcome.FAILED, _BASE_URL),
    406: (FailureClass.FATAL, Outcome.FAILED, "it cannot answer in DICOM JSON"),
    407: (FailureClass.FATAL, Outcome.FAILED, "a proxy wants a login"),
    410: (FailureClass.DESTINATION, Outcome.FAILED, _BASE_URL),
    411: (FailureClass.FATAL, Outcome.FAILED, "a proxy removed the length of the request"),
    413: (FailureClass.TOO_LARGE, Outcome.FAILED, "the request is too large"),
    415: (FailureClass.FATAL, Outcome.FAILED, "it takes no application/dicom"),
    429: (FailureClass.THROTTLED, Outcome.FAILED, "it is busy"),
    501: (FailureClass.DESTINATION, Outcome.FAILED, _BASE_URL),
    502: (FailureClass.ANSWER_LOST, Outcome.AMBIGUOUS, "a gateway got no answer"),
    503: (FailureClass.THROTTLED, Outcome.FAILED, "it is busy"),
    504: (FailureClass.ANSWER_LOST, Outcome.AMBIGUOUS, "a gateway got no answer"),
    507: (FailureClass.FATAL, Outcome.FAILED, "its storage is full"),
}


def outcomes_of(
    items: Sequence[UploadItem], answer: Answer, shown: Callable[[UploadItem, str], str]
) -> tuple[ItemOutcome, ...]:
    """One outcome per item. `shown` masks what must not be shown in a text of the server."""
    if answer.status not in _NAMING:
        return tuple(_of_status(item, answer, "", shown) for item in items)
    try:
        reply = StoreReply.parse(answer.content)
    except ValueError as error:
        return tuple(_of_status(item, answer, str(error), shown) for item in items)
    named = {item.sop_instance_uid for item in items} & (reply.stored.keys() | reply.failed.keys())
    if not named and not reply.unnamed and answer.status >= 400:
        return tuple(_of_status(item, answer, "it names no instance", shown) for item in items)
    # An instance that the server cannot read has no UID there. As many as are not named were refused then.
    unread = reply.unnamed if len(reply.unnamed) == len(items) - len(named) else []
    return tuple(_of_item(item, answer, reply, unread) for item in items)


def _of_item(item: UploadItem, answer: Answer, reply: StoreReply, unread: Sequence[int]) -> ItemOutcome:
    uid = item.sop_instance_uid
    if uid in reply.stored and uid in reply.failed:
        return _doubtful(item, f"the answer (HTTP {answer.status}) calls it both stored and failed")
    if uid in reply.stored:
        warning = reply.stored[uid]
        note = None if warning is None else f"stored with a warning: {_coded(warning, _WARNINGS.get(warning, ''))}"
        return ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED, note=note)
    if uid in reply.failed:
        return _refused(item, reply.failed[uid])
    if unread:
        return _refused(item, unread[0])
    return _doubtful(item, f"the answer (HTTP {answer.status}) does not mention it", refused=answer.status >= 400)


def _refused(item: UploadItem, code: int) -> ItemOutcome:
    """A failure of one instance: what may be temporary is sent again, what would be refused again is not."""
    vague = "cannot understand" if code >> 12 == 0xC else ""
    text = _coded(code, _REASONS.get(code) or _RANGES.get(code >> 8) or vague)
    if code == _DUPLICATE:
        note = f"not stored again, because the server already has this instance: {text}"
        return ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED, failure=FailureClass.DUPLICATE, note=note)
    failure = FailureClass.NONE
    if code >> 8 == 0xA7:
        failure = FailureClass.TRANSIENT
    elif code == 0x0110 or (code >> 12 == 0xC and code not in _REASONS):
        failure = FailureClass.UNPARSABLE
    outcome = Outcome.REJECTED if failure is FailureClass.NONE else Outcome.FAILED
    return ItemOutcome(path=item.path, outcome=outcome, failure=failure, reason=f"the server answered {text}")


def _of_status(item: UploadItem, answer: Answer, problem: str, shown: Callable[[UploadItem, str], str]) -> ItemOutcome:
    """The outcome of each item where the answer names none; `problem` says what the body lacks."""
    status = answer.status
    if answer.media_type == "text/html" and 200 <= status < 300:
        reason = f"a web page answered, and no DICOMweb service: {_BASE_URL}"
        return ItemOutcome(path=item.path, outcome=Outcome.AMBIGUOUS, failure=FailureClass.DESTINATION, reason=reason)
    if 200 <= status < 300:
        return _doubtful(item, f"the answer (HTTP {status}) is not usable" + f": {problem}" * bool(problem))
    if 300 <= status < 400:
        reason = f"the server redirects to {printable(answer.location)} (HTTP {status}): use the base URL of that place"
        return ItemOutcome(path=item.path, outcome=Outcome.FAILED, failure=FailureClass.DESTINATION, reason=reason)
    failure, outcome, meaning = _STATUSES.get(status) or _other(status)
    said = _said(answer)
    reason = f"the server answered HTTP {status}" + f": {meaning}" * bool(meaning)
    if said:
        reason += f" ({shown(item, said)})"
    after = answer.retry_after if failure is FailureClass.THROTTLED else None
    return ItemOutcome(path=item.path, outcome=outcome, failure=failure, reason=reason, retry_after=after)


def _other(status: int) -> tuple[FailureClass, Outcome, str]:
    """A client error may concern one file of the batch; after a server error some instances may be stored."""
    if status < 500:
        return FailureClass.REFUSED, Outcome.AMBIGUOUS, ""
    return FailureClass.TRANSIENT, Outcome.AMBIGUOUS, ""


def _doubtful(item: UploadItem, reason: str, *, refused: bool = False) -> ItemOutcome:
    """It may be stored or not. `refused`: the server refused something, so core sends it alone to find out."""
    failure = FailureClass.REFUSED if refused else FailureClass.ANSWER_LOST
    return ItemOutcome(path=item.path, outcome=Outcome.AMBIGUOUS, failure=failure, reason=reason)


def _said(answer: Answer) -> str:
    """What the server says in words, shortened; nothing of a web page."""
    if answer.media_type not in ("text/plain", "application/json"):
        return ""
    text = " ".join(answer.content[: 4 * _TEXT].decode("utf-8", "replace").split())
    return printable(text[:_TEXT])


def _coded(code: int, words: str) -> str:
    return f"0x{code:04X}" + f" ({words})" * bool(words)
