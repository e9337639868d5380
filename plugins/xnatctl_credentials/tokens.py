"""Session tokens kept by `auth login`: one file per server and user, readable by this user only."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from xnatctl.api import Credential, CredentialRequest, readable_by_others, token_directory, write_private

_SCHEMA = "xnatctl.token/1"


class SessionTokens:
    """Keyed by server URL and user; without a user, the newest token of the server counts."""

    def get(self, request: CredentialRequest) -> Credential | None:
        """The newest token. Whether it still holds is the server's to say: every use prolongs a session."""
        entry = max(self._entries(request), key=lambda entry: float(entry["stored"]), default=None)
        if entry is None:
            return None
        return Credential(
            kind="session",
            username=entry["user"],
            secret=entry["token"],
            source="session token of auth login",
            expires=entry["expires"],
        )

    def store(self, request: CredentialRequest, credential: Credential) -> None:
        """Keep a session token; replaces an older one of the same server and user."""
        entry = {
            "schema": _SCHEMA,
            "server": request.server,
            "user": credential.username,
            "token": credential.secret,
            "expires": credential.expires,
            "stored": time.time(),
        }
        write_private(self._path(request.server, credential.username), json.dumps(entry))

    def erase(self, request: CredentialRequest) -> bool:
        """Forget the tokens of the server, or of the one user that is named."""
        found = list(self._entries(request))
        for entry in found:
            self._path(entry["server"], entry["user"]).unlink(missing_ok=True)
        return bool(found)

    @staticmethod
    def _path(server: str, user: str) -> Path:
        key = hashlib.sha256(f"{server}\n{user.lower()}".encode()).hexdigest()
        return token_directory() / f"{key[:32]}.json"

    def _entries(self, request: CredentialRequest) -> list[dict[str, Any]]:
        directory = token_directory()
        if not directory.is_dir():
            return []
        entries = [entry for path in sorted(directory.glob("*.json")) if (entry := _read(path)) is not None]
        wanted = (request.username or "").lower()
        return [e for e in entries if e["server"] == request.server and (not wanted or e["user"].lower() == wanted)]


def _read(path: Path) -> dict[str, Any] | None:
    """None for a file that others can read, or that is not ours: such a token is not trusted."""
    try:
        if readable_by_others(path):
            return None
        entry = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    keys: dict[str, type | tuple[type, ...]] = {"server": str, "user": str, "token": str, "stored": (int, float)}
    good = isinstance(entry, dict) and all(isinstance(entry.get(key), kind) for key, kind in keys.items())
    return entry if good and entry.get("schema") == _SCHEMA else None
