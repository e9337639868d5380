"""A DICOM receiver on raw sockets that does as it is told, however wrong that is."""

from __future__ import annotations

import hashlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext


@dataclass
class Stored:
    """One instance that was answered with success, or with a warning."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    data: Any
    association: int

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest() if isinstance(self.data, bytes) else self.data.digest


@dataclass
class Talk:
    """One connection."""

    number: int
    sock: socket.socket
    calling: str = ""
    called: str = ""
    contexts: dict[int, tuple[str, str]] = field(default_factory=dict)
    proposed: list[tuple[str, list[str]]] = field(default_factory=list)
    instances: int = 0
    ended: str = ""
    pdus: list[int] = field(default_factory=list)
    fragments: list[int] = field(default_factory=list)


class _Over(Exception):
    """The connection is done with."""


class ScriptedReceiver:
    """Accepts everything but fragments of odd length, unless told otherwise.

    `associate(talk)` returns None to accept, (result, source, reason) to reject, or `abort`, `close`, `silent`, or bytes
    to send instead. `take(sop_class, transfer_syntax)` is the result of a context. `answer(talk, number, instance)` is
    the status of an instance, the `number`-th of its association from 1, or `abort`, `close`, `reset`, `silent`,
    `release`, bytes to send instead; (`early`, status) answers after the first fragment; (`split`, status) answers in many
    small PDUs; (status, comment) comments. `after(talk, number)` does something behind an answer: `abort`, `close`.
    `during(talk)` does the same when a PDU of an
    instance was read; `talk.pdus` counts them. `places` connections are served at the same time.
    """

    def __init__(
        self,
        *,
        associate: Callable[[Talk], Any] = lambda talk: None,
        take: Callable[[str, str], int] = lambda sop_class, syntax: 0,
        answer: Callable[[Talk, int, str], Any] = lambda talk, number, instance: 0,
        after: Callable[[Talk, int], str] = lambda talk, number: "",
        during: Callable[[Talk], Any] = lambda talk: "",
        max_pdu: int = 16384,
        places: int = 999,
        tls: ssl.SSLContext | None = None,
        new_data: Callable[[], Any] = bytes,
        buffer: int = 0,
    ) -> None:
        self.associate, self.take, self.answer, self.after = associate, take, answer, after
        self.during, self.max_pdu, self.tls = during, max_pdu, tls
        self.new_data = new_data
        self.lock = threading.Lock()
        self.stored: list[Stored] = []
        self.talks: list[Talk] = []
        self.open = self.most_open = 0
        self.echoes = 0
        self._room = threading.Semaphore(places)
        self._server = socket.create_server(("127.0.0.1", 0), backlog=200)
        if buffer:
            self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.port = self._server.getsockname()[1]
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    # what the tests ask

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of the data sets by SOP Instance UID; nothing may be there twice."""
        with self.lock:
            found = {entry.sop_instance: entry.digest for entry in self.stored}
            assert len(found) == len(self.stored), "an instance was stored twice"
            return found

    @property
    def associations(self) -> list[Talk]:
        """Those that carried instances."""
        with self.lock:
            return [talk for talk in self.talks if talk.instances]

    def hang_up(self) -> None:
        """End every connection, as an idle limit would; returns when all have ended."""
        with self.lock:
            talks = list(self.talks)
        for talk in talks:
            with suppress(OSError):
                socket.socket.shutdown(talk.sock, socket.SHUT_RDWR)
        self.endings()

    def endings(self) -> set[str]:
        """How the connections ended, when all have."""
        with self.lock:
            talks = list(self.talks)
        deadline = time.monotonic() + 60
        while any(not talk.ended for talk in talks):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return {talk.ended for talk in talks}

    def close(self) -> None:
        """Stop; everything that is open ends."""
        self._stopped.set()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        with self.lock:
            talks = list(self.talks)
        for talk in talks:
            with suppress(OSError):
                socket.socket.shutdown(talk.sock, socket.SHUT_RDWR)
        self._accepting.join(timeout=30)
        for thread in self._threads:
            thread.join(timeout=30)

    # connections

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            with self.lock:
                talk = Talk(len(self.talks) + 1, sock)
                self.talks.append(talk)
            thread = threading.Thread(target=self._serve, args=(talk,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, talk: Talk) -> None:
        while not self._room.acquire(timeout=0.05):
            if self._stopped.is_set():
                return
        try:
            with self.lock:
                self.open += 1
                self.most_open = max(self.most_open, self.open)
            if self.tls is not None:
                talk.sock = self.tls.wrap_socket(talk.sock, server_side=True)
            talk.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._talk(talk)
        except (_Over, OSError):
            pass
        finally:
            talk.ended = talk.ended or "error"
            with suppress(OSError):
                talk.sock.close()
            with self.lock:
                self.open -= 1
            self._room.release()

    def _exactly(self, talk: Talk, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = talk.sock.recv(count - len(data))
            if not piece:
                talk.ended = talk.ended or "peer"
                raise _Over
            data += piece
        return data

    def _pdu(self, talk: Talk) -> tuple[int, bytes]:
        head = self._exactly(talk, 6)
        return head[0], self._exactly(talk, struct.unpack(">I", head[2:])[0])

    def _talk(self, talk: Talk) -> None:
        kind, body = self._pdu(talk)
        if kind != 1:
            return
        self._associate(talk, b"\1\0" + struct.pack(">I", len(body)) + body)
        command, data = b"", self.new_data()
        request: dict[int, bytes] = {}
        early = False
        while True:
            kind, body = self._pdu(talk)
            talk.pdus.append(len(body))
            if kind == 5:
                talk.ended = "release"
                talk.sock.sendall(b"\6\0\0\0\0\4\0\0\0\0")
                return
            if kind == 7:
                talk.ended = "abort by peer"
                return
            assert kind == 4, f"PDU type {kind}"
            if (then := self.during(talk)) != "":
                self._end(talk, then)
            position = 0
            while position < len(body):
                length = struct.unpack_from(">I", body, position)[0]
                context, flags = body[position + 4], body[position + 5]
                fragment = body[position + 6 : position + 4 + length]
                position += 4 + length
                if flags & 1:
                    command += fragment
                    if flags & 2:
                        request, command = _elements(command), b""
                        if request[0x0100] == b"\x30\0":
                            self.echoes += 1
                            self._reply(talk, context, request, 0x8030, 0, "")
                    continue
                talk.fragments.append(len(fragment))
                if len(fragment) % 2:  # as DCMTK does (PS3.8 E.1)
                    self._end(talk, "abort")
                data += fragment
                if not early and not flags & 2:
                    early = self._early(talk, context, request)
                if flags & 2:
                    if not early:
                        self._decide(talk, context, request, data)
                    data, early = self.new_data(), False

    # answers

    def _associate(self, talk: Talk, pdu: bytes) -> None:
        rq = A_ASSOCIATE_RQ()
        rq.decode(pdu)
        primitive = rq.to_primitive()
        talk.calling, talk.called = primitive.calling_ae_title.strip(), primitive.called_ae_title.strip()
        results = []
        for cx in primitive.presentation_context_definition_list:
            syntaxes = [str(uid) for uid in cx.transfer_syntax]
            talk.proposed.append((str(cx.abstract_syntax), syntaxes))
            answer = PresentationContext()
            answer.context_id = cx.context_id
            answer.abstract_syntax = cx.abstract_syntax
            answer.transfer_syntax = [syntaxes[0]]
            answer.result = self.take(str(cx.abstract_syntax), syntaxes[0])
            if answer.result == 0:
                talk.contexts[cx.context_id] = (str(cx.abstract_syntax), syntaxes[0])
            results.append(answer)
        decision = self.associate(talk)
        if isinstance(decision, tuple):
            talk.sock.sendall(b"\3\0\0\0\0\4\0" + bytes(decision))
            talk.ended = "rejected"
            raise _Over
        if decision is not None:
            self._end(talk, decision)
        ac = A_ASSOCIATE()
        ac.application_context_name = "1.2.840.10008.3.1.1.1"
        ac.calling_ae_title, ac.called_ae_title = primitive.calling_ae_title, primitive.called_ae_title
        ac.result, ac.result_source = 0, 1
        ac.presentation_context_definition_results_list = results
        longest, who = MaximumLengthNotification(), ImplementationClassUIDNotification()
        version = ImplementationVersionNameNotification()
        longest.maximum_length_received = self.max_pdu
        who.implementation_class_uid, version.implementation_version_name = "1.2.40.0.13.1.1", "dcm4che-2.0"
        ac.user_information = [longest, who, version]
        reply = A_ASSOCIATE_AC()
        reply.from_primitive(ac)
        talk.sock.sendall(reply.encode())

    def _early(self, talk: Talk, context: int, request: dict[int, bytes]) -> bool:
        decision = self.answer(talk, talk.instances + 1, _text(request[0x1000]))
        if not (isinstance(decision, tuple) and decision[0] == "early"):
            return False
        talk.instances += 1
        self._reply(talk, context, request, 0x8001, decision[1], "")
        return True

    def _decide(self, talk: Talk, context: int, request: dict[int, bytes], data: Any) -> None:
        talk.instances += 1
        instance = _text(request[0x1000])
        decision = self.answer(talk, talk.instances, instance)
        comment, small = "", False
        if isinstance(decision, tuple):
            if decision[0] == "split":
                small, decision = True, decision[1]
            elif decision[0] == "early":
                decision = decision[1]
            else:
                decision, comment = decision
        if not isinstance(decision, int):
            self._end(talk, decision)
        if decision == 0 or decision >> 12 == 0xB:
            sop_class, syntax = talk.contexts[context]
            assert sop_class == _text(request[0x0002])
            with self.lock:
                self.stored.append(Stored(sop_class, instance, syntax, data, talk.number))
        self._reply(talk, context, request, 0x8001, decision, comment, small=small)
        if (then := self.after(talk, talk.instances)) != "":
            self._end(talk, then)

    def _end(self, talk: Talk, how: Any) -> None:
        talk.ended = how if isinstance(how, str) else "unexpected error"
        if isinstance(how, bytes):
            talk.sock.sendall(how)
        elif how == "abort":
            talk.sock.sendall(b"\7\0\0\0\0\4\0\0\2\2")
        elif how == "release":
            talk.sock.sendall(b"\5\0\0\0\0\4\0\0\0\0")
            with suppress(_Over, OSError):
                self._exactly(talk, 10)
        elif how == "reset":
            talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "silent":
            while not self._stopped.wait(0.02):
                talk.sock.settimeout(0.02)
                try:
                    if not talk.sock.recv(1 << 16):
                        break
                except TimeoutError:
                    continue
        raise _Over

    def _reply(
        self, talk: Talk, context: int, request: dict[int, bytes], field: int, status: int, comment: str, *, small=False
    ) -> None:
        parts = [
            _element(0x0002, request[0x0002]),
            _element(0x0100, struct.pack("<H", field)),
            _element(0x0120, request[0x0110]),
            _element(0x0800, b"\x01\x01"),
            _element(0x0900, struct.pack("<H", status)),
        ]
        if comment:
            parts.append(_element(0x0902, comment.encode() + b" " * (len(comment) % 2)))
        if 0x1000 in request:
            parts.append(_element(0x1000, request[0x1000]))
        body = b"".join(parts)
        command = _element(0, struct.pack("<I", len(body))) + body
        step = 7 if small else len(command)  # odd, as PS3.8 E.1 forbids
        for first in range(0, len(command), step):
            piece = command[first : first + step]
            flags = 1 | (2 if first + step >= len(command) else 0)
            pdv = struct.pack(">IBB", len(piece) + 2, context, flags) + piece
            talk.sock.sendall(b"\4\0" + struct.pack(">I", len(pdv)) + pdv)


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def _elements(data: bytes) -> dict[int, bytes]:
    found, position = {}, 0
    while position < len(data):
        _, number, length = struct.unpack_from("<HHI", data, position)
        found[number] = data[position + 8 : position + 8 + length]
        position += 8 + length
    return found


def _text(value: bytes) -> str:
    return value.strip(b"\0 ").decode()
