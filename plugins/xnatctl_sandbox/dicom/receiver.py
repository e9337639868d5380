"""The DICOM Receiver: associations, C-ECHO, C-STORE into the prearchive (xnat-api 5).

Written with pynetdicom, in the sandbox's process. It stores an object before it answers, with file meta information
of its own, through the importer that also serves HTTP: the head of the data set is written anew, the rest copied.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_context, evt, register_uid
from pynetdicom.fsm import InvalidEventError
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

from xnatctl_sandbox.dicom.contexts import STORAGE, VERIFICATION, syntaxes_for, whitelisted
from xnatctl_sandbox.dicom.file_meta import Part10Stream, file_meta
from xnatctl_sandbox.faults.connections import drop_connection
from xnatctl_sandbox.faults.dicom_faults import ON_REQUEST, ON_STORE, REJECTIONS, refused, stores
from xnatctl_sandbox.faults.rules import Faults
from xnatctl_sandbox.receive.import_params import ImportParams
from xnatctl_sandbox.receive.importer import DicomImporter
from xnatctl_sandbox.world.errors import PortUnavailable, StatusError
from xnatctl_sandbox.world.records import ScpInstance
from xnatctl_sandbox.world.routing_expressions import NO_EXPRESSIONS
from xnatctl_sandbox.world.state import State
from xnatctl_sandbox.world.switches import Switches
from xnatctl_sandbox.world.traffic import Association

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
_MAX_PDU = 0x4000
_IMPLEMENTATION = ("1.2.40.0.13.1.1", "dcm4che-2.0")
_GRACE = 10.0  # seconds for the threads of connections to end
_COMMENT_LENGTH = 64  # VR LO


@dataclass
class _Live:
    """An open association: its record, the receiver that it called, its connection."""

    known: Association
    scp: ScpInstance | None
    socket: socket.socket


class DicomReceiver:
    """The listener of one sandbox. Raises PortUnavailable."""

    def __init__(
        self,
        port: int,
        *,
        state: State,
        switches: Switches,
        importer: DicomImporter,
        faults: Faults,
        associations: list[Association],
    ) -> None:
        self._state = state
        self._switches = switches
        self._importer = importer
        self._faults = faults
        self._associations = associations
        self._live: WeakKeyDictionary[Any, _Live] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        _register()
        self._ae = AE("XNAT")
        self._ae.maximum_pdu_size = _MAX_PDU
        self._ae.maximum_associations = 10_000  # our own limit is a switch
        self._ae.implementation_class_uid = UID(_IMPLEMENTATION[0])
        self._ae.implementation_version_name = _IMPLEMENTATION[1]
        self._ae.add_supported_context(VERIFICATION)  # replaced for each association by what it asks for
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._open),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_RELEASED, lambda event: self._end(event.assoc, "released")),
            (evt.EVT_ABORTED, lambda event: self._end(event.assoc, "aborted")),
            (evt.EVT_CONN_CLOSE, lambda event: self._end(event.assoc, "closed")),
        ]
        try:
            server: Any = self._ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        except OSError as error:
            raise PortUnavailable(port, error, dicom=True) from error
        server.socket.listen(128)  # pynetdicom's five are few for workers that connect at once
        self.port: int = server.server_address[1]
        self._server = server

    def stop(self) -> None:
        """Close the port and end all connections, as a server that ends."""
        self._stopping.set()
        self._server.shutdown()  # first: an association that opens after it would be missing below
        associations = self._server.active_associations
        for association in associations:
            # Not by pynetdicom's `abort`: it waits for ever for the rest of a message, and closes the socket meanwhile.
            with suppress(AttributeError):  # it has just been closed
                drop_connection(association.dul.socket.socket, reset=False)
            association.dul.to_user_queue.put(None)  # the request has not come in time
        end = time.monotonic() + _GRACE
        for thread in (*associations, *(association.dul for association in associations)):
            if thread.ident is not None:  # pynetdicom has started it
                thread.join(max(0.0, end - time.monotonic()))

    # associations, xnat-api 5.2

    def _open(self, event: Any) -> None:
        """Keep pynetdicom's thread alive where an error would end it with a traceback."""
        assoc = event.assoc
        with suppress(RuntimeError):  # it runs already
            assoc.dul.daemon = True  # no connection holds the process at its end
        act = assoc.dul.state_machine.do_action

        def guarded(event: str) -> None:
            try:
                act(event)
            except InvalidEventError:  # an answer to a connection that has ended meanwhile
                assoc.dul._kill_thread = True  # noqa: SLF001 - pynetdicom waits for ever for a thread that goes on
            except Exception:  # noqa: BLE001 - a message that cannot be taken apart
                if event != "Evt19":
                    assoc.dul.event_queue.put("Evt19")  # an invalid PDU: A-ABORT (PS3.8, 9.2.3)

        assoc.dul.state_machine.do_action = guarded

    def _requested(self, event: Any) -> None:
        assoc, request = event.assoc, event.assoc.requestor.primitive
        connection = assoc.dul.socket.socket
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address = assoc.requestor.address_info.address
        known = Association(
            number=self._state.next_number("association"), calling=request.calling_ae_title.strip(),
            called=request.called_ae_title.strip(), address=address, last=time.monotonic(),
        )  # fmt: skip
        scp = self._instance(known.called)
        with self._lock:
            self._live[assoc] = _Live(known, scp, connection)
            self._associations.append(known)
        if not self._state.site["enableDicomReceiver"]:
            self._cut(assoc)  # nobody listens when the site's switch is off (5.1)
            return
        rule = self._faults.pick(_describe(known), ON_REQUEST)
        action = rule["action"] if rule is not None else ""
        if rule is not None and action in ("ignore-request", "cut-request"):
            if action == "ignore-request":
                self._wait(assoc, float(rule.get("seconds", 3600)))
            self._cut(assoc, reset=bool(rule.get("reset")))
            return
        reason = str(rule.get("reason", "no-reason")) if rule is not None and action == "reject" else ""
        if reason or (reason := self._objection(known, scp)):
            known.ended = "rejected"
            assoc.acse.send_reject(*REJECTIONS[reason])
            assoc.kill()
            return
        self._offer(assoc, request, rule)
        assoc.acse._check_async_ops = lambda: _mirrored(assoc)  # noqa: SLF001 - pynetdicom always answers (1, 1)
        assoc.network_timeout = self._switches.dicom_idle_seconds
        if rule is not None and action == "close-idle":
            self._close_idle(assoc, known, float(rule.get("seconds", 1)), str(rule.get("how", "abort")))

    def _instance(self, called: str) -> ScpInstance | None:
        """The receiver of this exact AE title."""
        with self._state.lock:
            return next((scp for scp in self._state.scps if scp.enabled and scp.ae_title == called), None)

    def _objection(self, known: Association, scp: ScpInstance | None) -> str:
        """Why this association is rejected; empty when it is not."""
        if scp is None:
            return "called-ae"
        if scp.whitelist_enabled and not whitelisted(scp.whitelist, known.calling, known.address):
            return "calling-ae"
        limit = self._switches.dicom_max_associations
        with self._lock:
            alive = sum(not live.known.ended for live in self._live.values())
        return "too-many" if limit and alive > limit else ""

    @staticmethod
    def _offer(assoc: Any, request: Any, rule: Mapping[str, Any] | None) -> None:
        """Offer the presentation contexts that the server supports, in its order of preference."""
        supported = {}
        for context in request.presentation_context_definition_list:
            sop_class = str(context.abstract_syntax)
            syntaxes = [s for s in syntaxes_for(sop_class) if not refused(rule, sop_class, s)]
            if syntaxes:
                supported[sop_class] = build_context(sop_class, syntaxes)
        assoc.acceptor.supported_contexts = list(supported.values())

    def _accepted(self, event: Any) -> None:
        known = self._live[event.assoc].known
        for context in event.assoc.accepted_contexts + event.assoc.rejected_contexts:
            known.contexts.append(
                {
                    "id": context.context_id,
                    "sop_class": str(context.abstract_syntax),
                    "result": context.result,
                    "transfer_syntax": str(context.transfer_syntax[0]) if context.result == 0 else "",
                }
            )

    def _end(self, assoc: Any, how: str) -> None:
        with self._lock:
            live = self._live.get(assoc)
        if live is None:
            return
        if live.known.ended in ("", "closed"):  # a lost connection is told as closed first, then as aborted
            live.known.ended = how
        if how == "closed":
            live.socket.close()  # pynetdicom leaves it open when the other side has reset it

    def _close_idle(self, assoc: Any, known: Association, seconds: float, how: str) -> None:
        if how == "abort":
            assoc.network_timeout = seconds
            return

        def watch() -> None:
            while not self._stopping.wait(min(seconds, 0.05)) and not known.ended:
                if not known.busy and time.monotonic() - known.last >= seconds:
                    self._cut(assoc)
                    return

        threading.Thread(target=watch, name="sandbox-idle", daemon=True).start()

    def _cut(self, assoc: Any, *, reset: bool = False) -> None:
        live = self._live[assoc]
        live.known.ended = "cut"
        drop_connection(live.socket, reset=reset)
        assoc.is_aborted = True  # pynetdicom negotiates and answers nothing any more
        assoc.is_established = False

    def _wait(self, assoc: Any, seconds: float) -> None:
        """Keep the peer waiting until it disconnects or the sandbox stops."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._stopping.wait(0.02) and not assoc.acse.is_aborted():
            if not assoc.dul.is_alive():
                return

    # services, xnat-api 5.3

    def _echo(self, event: Any) -> int:
        known = self._live[event.assoc].known
        known.last = time.monotonic()
        return SUCCESS

    def _store(self, event: Any) -> Dataset:
        assoc, request = event.assoc, event.request
        known, scp = self._live[assoc].known, self._live[assoc].scp
        entry: dict[str, Any] = {
            "sop_instance_uid": str(request.AffectedSOPInstanceUID),
            "sop_class_uid": str(request.AffectedSOPClassUID),
            "transfer_syntax": str(event.context.transfer_syntax),
            "status": None,  # None = was never answered
        }
        known.instances.append(entry)
        known.busy = True
        rule = self._faults.pick(_describe(known, entry), ON_STORE)
        if rule is not None and rule["action"] == "delay":
            self._wait(assoc, float(rule.get("seconds", 1)))
        status, comment = SUCCESS, ""
        if stores(rule) and scp is not None:
            status, comment = self._file(event, known, scp, entry, rule or {})
        if rule is not None and rule["action"] == "status":
            status, comment = int(rule.get("status", CANNOT_UNDERSTAND)), str(rule.get("comment", ""))
        elif rule is not None and rule["action"] not in ("delay", "truncate"):
            self._break(assoc, rule)
            return _response(CANNOT_UNDERSTAND, "")  # nobody reads it
        entry["status"] = status
        known.last, known.busy = time.monotonic(), False
        return _response(status, comment)

    def _break(self, assoc: Any, rule: Mapping[str, Any]) -> None:
        """End an association without an answer."""
        action = str(rule["action"]).removeprefix("store-then-")
        if action == "cut":
            self._cut(assoc, reset=bool(rule.get("reset")))
            return
        if action == "hold":
            self._wait(assoc, float(rule.get("seconds", 3600)))
        assoc.abort()

    def _file(
        self, event: Any, known: Association, scp: ScpInstance, entry: Mapping[str, Any], rule: Mapping[str, Any]
    ) -> tuple[int, str]:
        """(status, comment): 0000 also for what a filter drops; C000 for whatever the importer refuses."""
        state = self._state
        login = str(state.site["receivedFileUser"])
        if login not in state.users:
            return OUT_OF_RESOURCES, f"Unable to find user {login}"
        params = ImportParams(
            direct=scp.direct_archive,
            rename=True,  # the stream has no name, so the server's namer decides
            prevent_anon=not scp.anonymization_enabled,
            login=login,
            routing=scp.routing if scp.routing_enabled else NO_EXPRESSIONS,
            sender=known.calling,
        )
        with event.request.DataSet.getbuffer() as whole:
            end = int(rule.get("bytes", 0)) if rule.get("action") == "truncate" else len(whole)
            data = whole[:end]
            try:
                self._importer.store(
                    "null", Part10Stream(file_meta(entry, known.calling, _IMPLEMENTATION), data), params
                )
            except StatusError as error:
                return CANNOT_UNDERSTAND, error.description
            except Exception as error:  # noqa: BLE001 - no trouble of the server gets through as itself (5.3)
                return CANNOT_UNDERSTAND, str(error) or type(error).__name__
            finally:
                data.release()
        return SUCCESS, ""


def _mirrored(assoc: Any) -> AsynchronousOperationsWindowNegotiation:
    """Grant the requested window; requests are still handled one after the other."""
    item = AsynchronousOperationsWindowNegotiation()
    invoked, performed = assoc.requestor.asynchronous_operations
    item.maximum_number_operations_invoked, item.maximum_number_operations_performed = invoked, performed
    return item


def _response(status: int, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = status
    if comment:
        answer.ErrorComment = comment[:_COMMENT_LENGTH]
    return answer


def _describe(known: Association, entry: Mapping[str, Any] | None = None) -> dict[str, str]:
    values = {
        "calling": known.calling,
        "called": known.called,
        "address": known.address,
        "association": str(known.number),
    }
    if entry is not None:
        values["sop_class"] = entry["sop_class_uid"]
        values["sop_instance"] = entry["sop_instance_uid"]
        values["transfer_syntax"] = entry["transfer_syntax"]
    return values


def _register() -> None:
    """Register the vendors' SOP classes as storage."""
    for uid in sorted(STORAGE):
        if uid_to_service_class(uid) is not StorageServiceClass:
            register_uid(uid, f"XnatStorage_{uid.replace('.', '_')}", StorageServiceClass)
