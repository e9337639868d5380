"""The login of a run, which its worker processes share: one session, renewed once for all."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from xnatctl.api import XnatctlError

if TYPE_CHECKING:
    from xnatctl.api.xnat import XnatClient


class SharedLogin:
    """The session of a client that is logged in; `token` is a secret.

    Raises ValueError for a login that cannot be shared.
    """

    def __init__(self, client: XnatClient) -> None:
        token = client.shared_session()
        if not token:
            raise ValueError("each process has to log in by itself")
        self._client = client
        self._lock = threading.Lock()
        self.token = token
        self.user = client.login_name or ""

    def answer(self, rejected: str) -> dict[str, str]:
        """The token that follows a rejected one, or the error, as a message to a worker."""
        with self._lock:
            if rejected == self.token:
                try:
                    token = self._client.renew_shared_session(rejected)
                except XnatctlError as error:
                    return {"error": error.message, "code": error.code}
                if not token:
                    return {"error": "The server's session cannot be shared any more."}
                self.token = token
            return {"token": self.token}
