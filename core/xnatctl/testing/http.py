"""The XNAT server behind `TransportContext.http`, for tests of transports that send by requests of their own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from xnatctl.errors import (
    AuthenticationError,
    NotFound,
    ServerError,
    Throttled,
    TooLarge,
    TransportError,
    XnatctlError,
)
from xnatctl.model.outcome import FailureClass
from xnatctl.plugin.protocols import Body
from xnatctl.testing.fakes import PLACE, FakeImporter, Received

_IMPORT: Final = "/data/services/import"


@dataclass(frozen=True)
class FakeResponse:
    """A response with status 200."""

    content: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode()

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.content)

    def lines(self) -> list[str]:
        """The lines of the body, without blank ones."""
        return [line for line in self.text.splitlines() if line.strip()]


@dataclass(eq=False)
class FakeHttp:
    """Keeps files that are PUT, by path. Gives what is imported to `importer`: a body, or the file that `src` names.

    `importer.script` holds the failures of the first imports, as for `FakeImporter.deliver`. A mistake in a body is
    added to `importer.mistakes`.
    """

    importer: FakeImporter
    stored: dict[str, bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, path: str, *, params: Mapping[str, str] | None = None) -> FakeResponse:
        """The kept file. Raises NotFound without one."""
        return FakeResponse(self._file(path))

    def put(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        content_type: str | None = None,
        on_bytes: Callable[[int], None] | None = None,
    ) -> FakeResponse:
        """Keep a file."""
        content = self._read(body, on_bytes)
        with self._lock:
            self.stored[path] = content
        return FakeResponse()

    def post(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        content_type: str | None = None,
        on_bytes: Callable[[int], None] | None = None,
    ) -> FakeResponse:
        """Import; any other path takes the body and answers with nothing."""
        query = dict(params or {})
        content = self._read(body, on_bytes)
        if path != _IMPORT:
            return FakeResponse()
        if "src" in query:
            content = self._file("/data" + query["src"].removeprefix("/data"))
        received = Received(query.get("import-handler", ""), content_type or "", content, ())
        with self.importer.lock:
            self.importer.received.append(received)
            failure = self.importer.script.popleft() if self.importer.script else None
        if failure is FailureClass.FILTERED:
            return FakeResponse()
        if failure is not None:
            raise _error(failure)
        return FakeResponse(f"{PLACE}\r\n".encode())

    def delete(self, path: str, *, params: Mapping[str, str] | None = None) -> FakeResponse:
        """Remove a kept file. Raises NotFound without one."""
        self._file(path)
        with self._lock:
            self.stored.pop(path, None)
        return FakeResponse()

    def _file(self, path: str) -> bytes:
        with self._lock:
            if path not in self.stored:
                raise NotFound(f"The server has no {path}.")
            return self.stored[path]

    def _read(self, body: Body | bytes | None, on_bytes: Callable[[int], None] | None) -> bytes:
        content = body if isinstance(body, bytes) else b"" if body is None else self.importer.content_of(body)
        if on_bytes is not None:
            on_bytes(len(content))
        return content


def _error(failure: FailureClass) -> XnatctlError:
    """The error that a request raises for a failure."""
    text = f"scripted: {failure}"
    errors: dict[FailureClass, XnatctlError] = {
        FailureClass.ANSWER_LOST: TransportError(text),
        FailureClass.AUTHENTICATION: AuthenticationError(text),
        FailureClass.TOO_LARGE: TooLarge(text, status=413),
        FailureClass.THROTTLED: Throttled(text, status=503, retry_after=0.0),
        FailureClass.REFUSED: ServerError(text, status=400),
    }
    return errors.get(failure, ServerError(text, status=500))
