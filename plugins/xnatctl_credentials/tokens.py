"""Session tokens stored by `auth login`: one private file per server, profile and user."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnatctl.api import CredentialRequest, PrivateFolder, SessionToken

_SCHEMA = "xnatctl.token/2"
#: Files of this schema do not say to which profile their token belongs. They are not used; the next login removes them.
_WITHOUT_PROFILE = "xnatctl.token/1"

#: Every request renews a session on the server (xnat-api 1.3), so that one may live on long after the end that
#: was noted at the login. Until then plus this (seconds) the server is asked; after it the token is forgotten.
_GRACE = 24 * 3600.0
#: A session whose end nobody knows.
_UNKNOWN = 15 * 60.0

#: What may go into a Cookie header.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=!-]{1,200}")


@dataclass(frozen=True, slots=True)
class _Kept:
    """One token. `profile` is None for a login without one. `expires` and `stored` are seconds since the epoch, UTC."""

    server: str
    profile: str | None
    user: str
    token: str
    expires: float
    stored: float


class SessionTokens:
    """Keyed by server URL, profile and user; without a user, the newest token of server and profile counts.

    Two profiles with one URL are two logins: the user of one is never taken for the user of the other.
    """

    def get(self, request: CredentialRequest) -> SessionToken | None:
        """The clock decides only about what is long over; about the rest the server does."""
        now = time.time()
        for kept in sorted(self._matching(request), key=lambda kept: kept.stored, reverse=True):
            if now < kept.expires + _GRACE:
                return SessionToken(
                    username=kept.user,
                    secret=kept.token,
                    source="session token of auth login",
                    expires=kept.expires,
                )
            _path(kept.server, kept.profile, kept.user).unlink(missing_ok=True)
        return None

    def check(self, request: CredentialRequest) -> None:
        """Raise ConfigError when a token could not be written."""
        _folder().check_writable("Session tokens are stored there.")

    def store(self, request: CredentialRequest, credential: SessionToken) -> None:
        """Store a session token; replaces an older one of the same server, profile and user."""
        now = time.time()
        entry = {
            "schema": _SCHEMA,
            "server": request.server,
            "profile": request.profile_name,
            "user": credential.username,
            "token": credential.secret,
            "expires": now + _UNKNOWN if credential.expires is None else credential.expires,
            "stored": now,
        }
        path = _path(request.server, request.profile_name, credential.username)
        _folder().write(path.name, json.dumps(entry))
        for path in _folder().path.glob("*.json"):
            if _entry(path).get("schema") == _WITHOUT_PROFILE:
                path.unlink(missing_ok=True)

    def erase(self, request: CredentialRequest) -> bool:
        """Erase the tokens of server and profile, or of the named user."""
        found = list(self._matching(request))
        for kept in found:
            _path(kept.server, kept.profile, kept.user).unlink(missing_ok=True)
        return bool(found)

    @staticmethod
    def _matching(request: CredentialRequest) -> Iterator[_Kept]:
        wanted = _plain(request.username or "")
        for path in sorted(_folder().path.glob("*.json")):
            kept = _read(path)
            # A file that was moved or copied under another name is not the one that its key stands for.
            if kept is None or path != _path(kept.server, kept.profile, kept.user):
                continue
            if (kept.server, kept.profile) != (request.server, request.profile_name):
                continue
            if wanted in ("", _plain(kept.user)):
                yield kept


def _plain(user: str) -> str:
    """Without the provider of `provider/login`; logins are compared without case (xnat-api 1.2)."""
    return user.rpartition("/")[2].lower()


def _folder() -> PrivateFolder:
    """Beside the journals: losing the tokens means logging in again."""
    return PrivateFolder("tokens")


def _path(server: str, profile: str | None, user: str) -> Path:
    key = json.dumps([server, profile, _plain(user)])
    digest = hashlib.sha256(key.encode()).hexdigest()
    return _folder().path / f"{digest[:32]}.json"


def _entry(path: Path) -> dict[str, Any]:
    """Empty for a file that others can read, or that is not ours: such a token is not trusted."""
    try:
        entry: Any = json.loads(_folder().read(path.name) or "null")
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _read(path: Path) -> _Kept | None:
    """None for a file with anything else in it than a token of our schema."""
    entry = _entry(path)
    if entry.get("schema") != _SCHEMA:
        return None
    try:
        kept = _Kept(
            str(entry["server"]),
            None if entry["profile"] is None else str(entry["profile"]),
            str(entry["user"]),
            str(entry["token"]),
            float(entry["expires"]),
            float(entry["stored"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    return kept if is_session_token(kept.token) else None


def is_session_token(text: str) -> bool:
    """Whether a text can go into a Cookie header as the JSESSIONID."""
    return _TOKEN.fullmatch(text) is not None
