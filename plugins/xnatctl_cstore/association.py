"""Our own association: one blocking socket, and the unchanged bytes of the files.

pynetdicom negotiates. Its sending decodes and encodes every data set, and loses answers of fast receivers, so it is not
used. Here an instance is one request with the file's own bytes, followed by one answer.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from xnatctl.api import FailureClass, Reader
from xnatctl_cstore import dimse, negotiation, other_service, statuses
from xnatctl_cstore.contexts import Pair
from xnatctl_cstore.dataset import read_fully
from xnatctl_cstore.dimse import Answer
from xnatctl_cstore.other_service import Service
from xnatctl_cstore.receiver import Receiver, Tls
from xnatctl_cstore.stream import STALL, Buffer, Stream, connect, other_port
from xnatctl_cstore.trouble import Lost, NotAssociated

#: Seconds for the answer to an association request, and for that to a release.
_ASSOCIATE = 30.0
#: Seconds without an answer after which the service is identified.
_SUSPICIOUS = 2.0
_RELEASE = 5.0
#: Idle seconds after which the receiver may have ended the association (XNAT: 60; xnat-api 5.2).
_REST = 0.25
#: Seconds to read what a receiver sent before it closed the connection.
_LAST_WORDS = 1.0

#: Bytes per additional second of the answer time-out.
_SECOND = 10 * 2**20

#: Bytes of a data set in memory at once.
WINDOW = 1 << 20

#: A link is slow if one such piece takes longer (seconds).
_SLOW = 0.5

#: PDU type, reserved, length; and with the header of the one fragment that each of ours holds (PS3.8 9.3.5).
_PDU = struct.Struct(">BxI")
_DATA = struct.Struct(">BxIIBB")
_RQ, _AC, _RJ, _P_DATA, _RELEASE_RQ, _RELEASE_RP, _ABORT = 1, 2, 3, 4, 5, 6, 7
_COMMAND, _LAST = 1, 2


class Association:
    """An open association. `answered` counts the answered instances."""

    def __init__(self, receiver: Receiver, stream: Stream, terms: negotiation.Terms) -> None:
        self._receiver = receiver
        self._stream = stream
        self.terms = terms
        self._message = 0
        self._over = self._midway = False
        self._heard = time.monotonic()
        self._said: Lost | None = None
        self._slow = False
        self.answered = 0

    # opening

    @classmethod
    def open(
        cls,
        receiver: Receiver,
        pairs: Sequence[Pair],
        opened: Callable[[Stream], None] | None = None,
        *,
        first: bool = False,
    ) -> Association:
        """Connect and negotiate. `opened` gets the stream, which it may cut.

        With `first`, a peer that does not answer like a receiver is identified. Raises NotAssociated.
        """
        try:
            stream = connect(receiver)
        except NotAssociated as error:
            if first and error.failure is FailureClass.ASSOCIATION:  # of TLS
                _refuse_web_server(receiver)
            raise
        try:
            if opened is not None:
                opened(stream)
            terms = _agree(receiver, stream, pairs, first=first)
            stream.limit(receiver.answer_timeout)
        except BaseException:
            stream.close()
            raise
        return cls(receiver, stream, terms)

    # sending

    def store(
        self,
        pair: Pair,
        instance: str,
        head: memoryview,
        rest: int,
        reader: Reader,
        progress: Callable[[int], None],
        *,
        tail: bytes = b"",
    ) -> Answer:
        """Send one instance and read its answer.

        `head` is the beginning of the data set, `rest` the number of bytes that `reader` still has, `tail` what follows
        them; with `rest`, `head` is even in length, as fragments must be (PS3.8 E.1). Raises Lost, and what the reader
        raises; after that the association is over. `progress` gets the number of bytes that were sent.
        """
        self._message = self._message % 65535 + 1
        context = self.terms.ids[pair]
        command = dimse.store_request(pair[0], instance, self._message)
        parts = [*self._fragments(context, _COMMAND, memoryview(command), last=True)]
        whole = memoryview(bytes(head) + tail) if tail and not rest else head
        parts += self._fragments(context, 0, whole, last=not rest)
        more = rest // _SECOND
        if more:
            self._stream.limit(self._receiver.answer_timeout + more)
        early = self._send_counted(parts, len(head), progress)
        while rest and early is None:
            window = read_fully(reader, min(WINDOW, rest))
            rest -= len(window)
            piece = window if rest else window + tail
            parts = self._fragments(context, 0, memoryview(piece), last=not rest)
            early = self._send_counted(parts, len(window), progress)
            if rest and early is None and self._stream.pending():
                early = self._answer(dimse.C_STORE)
        if early is not None and statuses.says_stored(early.status):  # it cannot have stored an incomplete instance
            self.abort()
            raise self._remember(
                Lost("the receiver reported success before it had received the whole instance", "garbled")
            )
        self.answered += 1
        if early is not None:
            self.abort()  # the answer came before the request was complete, so the association cannot be reused
            return early
        answer = self._answer(dimse.C_STORE)
        if more:
            self._stream.limit(self._receiver.answer_timeout)
        self._heard = time.monotonic()
        return answer

    def echo(self) -> Answer:
        """C-ECHO. Raises Lost."""
        self._message = self._message % 65535 + 1
        (context,) = {number for pair, number in self.terms.ids.items() if pair[0] == dimse.VERIFICATION}
        command = dimse.echo_request(self._message)
        self._send([*self._fragments(context, _COMMAND, memoryview(command), last=True)])
        return self._answer(dimse.C_ECHO)

    def _fragments(self, context: int, kind: int, data: memoryview, *, last: bool) -> list[Buffer]:
        """P-DATA-TF PDUs of one fragment each; only their headers are new."""
        most, size = self.terms.fragment, len(data)
        parts: list[Buffer] = []
        full = _DATA.pack(_P_DATA, most + 6, most + 2, context, kind)
        end = max(0, size - 1) // most * most
        for offset in range(0, end, most):
            parts += (full, data[offset : offset + most])
        left = size - end
        parts += (_DATA.pack(_P_DATA, left + 6, left + 2, context, kind | (_LAST if last else 0)), data[end:])
        return parts

    def _send_counted(self, parts: list[Buffer], size: int, progress: Callable[[int], None]) -> Answer | None:
        """Send PDUs with `size` bytes of data and report progress; one by one over a slow link."""
        step = 2 if self._slow else len(parts)
        begun, reported = time.monotonic(), 0
        for end in range(step, len(parts) + 1, step):  # each PDU is two parts
            if (early := self._send(parts[end - step : end])) is not None:
                return early
            progress(size * end // len(parts) - reported)
            reported = size * end // len(parts)
        self._slow = time.monotonic() - begun > _SLOW
        return None

    def _send(self, parts: list[Buffer]) -> Answer | None:
        """Send; if the receiver has closed the connection, read its last answer or raise the reason as Lost."""
        try:
            self._stream.send(parts)
        except TimeoutError:
            self._midway = True
            raise Lost(f"the receiver took no more data for {STALL:.0f} s", "silent") from None
        except OSError:
            self._midway = True
            self._stream.limit(_LAST_WORDS)
            with suppress(Lost):
                return self._answer(dimse.C_STORE)
            if self._said is None or self._said.how == "silent":
                raise Lost("the receiver closed the connection", "closed") from None
            raise self._said from None
        return None

    # reading

    def _answer(self, field: int) -> Answer:
        """The answer to the last message. Raises Lost."""
        command = b""
        while True:
            kind, body = self._pdu()
            if kind != _P_DATA:
                raise self._ended(kind, body)
            position = 0
            while position + 6 <= len(body):
                length, flags = int.from_bytes(body[position : position + 4], "big"), body[position + 5]
                if not flags & _COMMAND or length < 2 or position + 4 + length > len(body):
                    raise self._remember(Lost("the receiver sent data instead of an answer", "garbled"))
                command += body[position + 6 : position + 4 + length]
                if flags & _LAST:
                    return dimse.read_answer(command, self._message, field)
                position += 4 + length
            if len(command) > negotiation.LONGEST:
                raise self._remember(Lost("the receiver's answer does not end", "garbled"))

    def _pdu(self) -> tuple[int, bytes]:
        """The next PDU: type and what follows its header. Raises Lost."""
        try:
            kind, length = _PDU.unpack(self._stream.read(6))
            if length > negotiation.LONGEST:
                raise self._remember(Lost("the receiver sent data that is not DICOM", "garbled"))
            return kind, self._stream.read(length)
        except TimeoutError:
            seconds = self._stream.seconds
            raise self._remember(Lost(f"the receiver gave no answer for {seconds:g} s", "silent")) from None
        except (OSError, EOFError):
            raise self._remember(Lost("the receiver closed the connection without an answer", "closed")) from None

    def _ended(self, kind: int, body: bytes) -> Lost:
        """The Lost for a PDU that is not an answer."""
        if kind == _ABORT:
            return self._remember(Lost(f"the receiver aborted the association{_by_whom(body)}", "aborted"))
        if kind == _RELEASE_RQ:
            with suppress(OSError):
                self._stream.send([_PDU.pack(_RELEASE_RP, 4), bytes(4)])
            return self._remember(Lost("the receiver ended the association", "closed"))
        return self._remember(Lost(f"the receiver sent a PDU of type {kind} instead of an answer", "garbled"))

    def _remember(self, lost: Lost) -> Lost:
        self._said = self._said or lost
        return lost

    # ending

    @property
    def usable(self) -> bool:
        """False if the association has ended: data that arrives without a request can only be its end.

        Checked only after an idle time; otherwise the next instance detects the end.
        """
        rested = time.monotonic() - self._heard > _REST
        return not self._over and not (rested and self._stream.pending())

    def release(self) -> None:
        """Release the association; never raises."""
        if self._over:
            return
        self._over = True
        with suppress(OSError, EOFError):
            self._stream.limit(_RELEASE)
            self._stream.send([_PDU.pack(_RELEASE_RQ, 4), bytes(4)])
            kind, length = _PDU.unpack(self._stream.read(6))
            if kind == _RELEASE_RP and length <= negotiation.LONGEST:
                self._stream.read(length)
        self._stream.close()

    def abort(self) -> None:
        """Abort the association; never raises."""
        if self._over:
            return
        self._over = True
        if not self._midway:  # within a PDU the receiver could not parse an abort
            with suppress(OSError):
                self._stream.send([_PDU.pack(_ABORT, 4), bytes(4)])
        self._stream.close()


def _agree(receiver: Receiver, stream: Stream, pairs: Sequence[Pair], *, first: bool) -> negotiation.Terms:
    """Request an association. Raises NotAssociated."""
    try:
        stream.limit(_SUSPICIOUS if first else _ASSOCIATE)
        stream.send([negotiation.request(receiver, pairs)])
        try:
            header = stream.read(6)
        except TimeoutError:
            if not first:
                raise
            _refuse_other_service(receiver, other_service.identify(receiver))
            stream.limit(_ASSOCIATE)
            header = stream.read(6)
        kind, length = _PDU.unpack(header)
        if kind not in (_AC, _RJ, _ABORT) or length > negotiation.LONGEST:
            service = other_service.of_bytes(header)
            if service is Service.TLS and first:
                _refuse_web_server(receiver)
            _refuse_other_service(receiver, service)
            raise NotAssociated(
                f"{receiver.place} is not a DICOM receiver: its answer is not DICOM.",
                FailureClass.ASSOCIATION,
                hint=other_port(receiver),
            )
        pdu = header + stream.read(length)
    except TimeoutError:
        raise NotAssociated(
            f"{receiver.place} accepts the connection, but does not answer an association request for "
            f"{_ASSOCIATE:.0f} s.",
            FailureClass.CROWDED,
            hint=f"It may be busy with another association, or may not be a DICOM receiver.  {other_port(receiver)}",
        ) from None
    except (OSError, EOFError):
        if first:
            _refuse_other_service(receiver, other_service.identify(receiver))
        raise NotAssociated(
            f"{receiver.place} closes the connection instead of answering an association request.",
            FailureClass.UNREACHABLE,
            hint=f"It may accept known addresses only, or may not be a DICOM receiver.  {other_port(receiver)}",
        ) from None
    if kind == _RJ:
        raise negotiation.rejected(pdu, receiver)
    if kind == _ABORT:
        raise NotAssociated(
            f"The receiver at {receiver.place} aborts the association request{_by_whom(pdu[6:])}.",
            FailureClass.UNREACHABLE,
            hint=negotiation.at_fault(receiver),
        )
    return negotiation.accepted(pdu, pairs, receiver)


def _refuse_web_server(receiver: Receiver) -> None:
    """Raise NotAssociated for a web server; nothing for anything else."""
    if (service := other_service.identify(receiver)) is Service.WEB:
        _refuse_other_service(receiver, service)


def _refuse_other_service(receiver: Receiver, service: Service | None) -> None:
    """Raise NotAssociated if the service is known not to be a DICOM receiver."""
    if service is None:
        return
    message, hint = f"{receiver.place} is a web server, not a DICOM receiver.", other_port(receiver)
    if service is Service.TLS:
        message, hint = f"{receiver.place} expects TLS.", f"Add --tls: {receiver.echo(tls=Tls())}"
    raise NotAssociated(message, FailureClass.ASSOCIATION, hint=hint)


def _by_whom(body: bytes) -> str:
    """Source and reason of an A-ABORT (PS3.8 table 9-26), if meaningful."""
    if len(body) < 4 or body[2] != 2:
        return ""
    reason = {1: "unrecognized PDU", 2: "unexpected PDU", 4: "unrecognized parameter", 5: "unexpected parameter",
              6: "invalid parameter"}.get(body[3])  # fmt: skip
    return f" ({reason})" if reason else ""
