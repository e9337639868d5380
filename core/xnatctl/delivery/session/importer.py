"""Sends bodies for one session to the import service and interprets the answers.

A 200 does not mean stored (xnat-import 0, 2): an empty answer means filtered, another project or session misfiled. Only
an answer that names exactly the expected session makes an item `accepted`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from xnatctl.delivery.engine.outcomes import ByteCounter, all_outcomes, failed_outcomes
from xnatctl.delivery.engine.retry import classify_import
from xnatctl.errors import XnatctlError
from xnatctl.model.events import Emit
from xnatctl.model.outcome import BatchResult, FailureClass, ItemOutcome, Outcome
from xnatctl.model.plan import UploadItem
from xnatctl.model.refs import Destination
from xnatctl.plugin.protocols import Body
from xnatctl.xnat import prearchive
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.importing import ImportUri, import_parameters, send_import


class SessionImporter:
    """Sends bodies for one session; shared by all workers.

    `project_id` is the project's real ID; `known` are URIs that hold a part of the session since an earlier run.
    """

    def __init__(
        self,
        client: XnatClient,
        destination: Destination,
        *,
        version: tuple[int, ...],
        direct: bool,
        project_id: str,
        study_instance_uid: str,
        known: Sequence[ImportUri] = (),
    ) -> None:
        self._client = client
        self._destination = destination
        self._version = version
        self._direct = direct
        self._project_id = project_id
        self._study = study_instance_uid
        self._lock = threading.Lock()
        self._placing = threading.Lock()
        self._uris: dict[str, ImportUri] = {uri.text: uri for uri in known}

    @property
    def version(self) -> tuple[int, ...]:
        """The server's version."""
        return self._version

    @property
    def direct(self) -> bool:
        """True if direct archive was requested (xnat-import 5)."""
        return self._direct

    @property
    def uris(self) -> tuple[ImportUri, ...]:
        """The session URIs that the server returned: one, or with direct archive possibly another one."""
        with self._lock:
            return tuple(self._uris.values())

    def deliver(
        self, items: Sequence[UploadItem], *, handler: str, content_type: str, body: Body, emit: Emit
    ) -> BatchResult:
        """POST `body`; one outcome per item, whatever happens."""
        sent = ByteCounter(emit, items, body.length)
        try:
            texts = send_import(
                self._client,
                self._destination,
                handler=handler,
                content_type=content_type,
                body=body,
                direct=self._direct,
                on_bytes=sent,
            )
        except XnatctlError as error:
            return BatchResult(outcomes=failed_outcomes(items, error, classify_import(error)), bytes_sent=sent.bytes)
        finally:
            sent.end()
        return BatchResult(outcomes=self._read(items, texts), uris=texts, bytes_sent=sent.bytes)

    def parameters(self, handler: str) -> dict[str, str]:
        """The query of an import, without what says where its bytes are."""
        return import_parameters(self._destination, handler=handler, direct=self._direct)

    def placed(self, outcomes: Sequence[ItemOutcome], uris: Sequence[str]) -> tuple[ItemOutcome, ...]:
        """The outcomes of a transport, whose URIs are checked and remembered for settling.

        An accepted item without a URI is where the first of `uris` says. Raises the errors of a request that looks at a
        place.
        """
        first = uris[0] if uris else None
        named = [replace(o, uri=o.uri or first) if o.outcome.delivered else o for o in outcomes]
        places = dict.fromkeys([*uris, *(o.uri for o in named if o.outcome.delivered and o.uri is not None)])
        new = [text for text in places if not self._knows(text)]
        problems = {text: problem for text in new if (problem := self._problem(text)) is not None}
        if not problems:
            return tuple(named)
        first_problem = next(iter(problems.values()))
        return tuple(
            ItemOutcome(
                path=o.path,
                outcome=Outcome.FAILED,
                failure=FailureClass.DESTINATION,
                reason=problems.get(o.uri or "", first_problem),
            )
            if o.outcome.delivered
            else o
            for o in named
        )

    def _problem(self, text: str) -> str | None:
        """The reason why a place that a transport names is not the session; None if it is, which is remembered."""
        with self._placing:
            if self._knows(text):
                return None
            uri = ImportUri.parse(str(text))
            problem = "the transport names no session" if uri.kind == "unknown" else self._stray(uri)
            problem = problem or self._other_session(uri)
            if problem is not None:
                return self._client.clean(f"{problem}: {text}")
            with self._lock:
                self._uris.setdefault(uri.text, uri)
        return None

    def _knows(self, text: str) -> bool:
        with self._lock:
            return text in self._uris

    def _other_session(self, uri: ImportUri) -> str | None:
        """The reason why a place is that of another session; an answer to our own request cannot be."""
        if uri.kind == "direct":
            same = (uri.study, uri.folder) == (self._study, self._destination.session)
            return None if same else "the transport names another session"
        row = prearchive.get_row(self._client, uri.ref)
        if row is None:
            return "the transport names a prearchive session that the server does not have"
        same = (row.tag, row.name) == (self._study, self._destination.session)
        return None if same else "the transport names another session of the prearchive"

    def _read(self, items: Sequence[UploadItem], texts: Sequence[str]) -> tuple[ItemOutcome, ...]:
        """The outcomes of a 200 answer (xnat-import 2)."""
        if not texts:
            reason = "the server answered 200 and stored nothing: a series import filter or an anonymisation rule"
            return all_outcomes(items, Outcome.FILTERED, FailureClass.FILTERED, reason)
        uris = [ImportUri.parse(text) for text in texts]
        for text, uri in zip(texts, uris, strict=True):
            if problem := self._stray(uri):
                reason = self._client.clean(f"{problem}: {text}")
                return all_outcomes(items, Outcome.FAILED, FailureClass.DESTINATION, reason)
        with self._lock:
            for uri in uris:
                self._uris.setdefault(uri.text, uri)
        return tuple(ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED, uri=texts[0]) for item in items)

    def _stray(self, uri: ImportUri) -> str | None:
        """The reason why a URI is not the requested session; None if it is."""
        if uri.project not in (self._project_id, self._destination.project):
            return f"the server filed it under project {uri.project or 'Unassigned'} instead of {self._project_id}"
        if self._client.redactor.redact_output(uri.text) != uri.text:
            return "the answer contains a secret instead of the session"
        if uri.kind == "archive":
            return "the server archived the session before everything was sent"
        if uri.kind == "direct":
            return None if self._direct else "the server used direct archive, which was not requested"
        with self._lock:
            staged = [known.text for known in self._uris.values() if known.kind == "prearchive"]
        if staged and uri.text not in staged:
            return f"the server opened a second prearchive session beside {staged[0]}"
        return None
