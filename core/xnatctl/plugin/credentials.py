"""The five types of credentials, and the protocols of their sources."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Password:
    """User name and password. xnatctl logs in with them once, then uses the session of the server."""

    username: str  # the login name
    secret: str = field(repr=False)  # the password
    source: str = ""  # its origin, for messages
    expires: float | None = None  # seconds since the epoch, UTC


@dataclass(frozen=True, kw_only=True, slots=True)
class AliasToken:
    """An alias token of XNAT (xnat-api 1.5). Only the server knows its user."""

    alias: str = field(repr=False)  # its first part
    secret: str = field(repr=False)  # its second part
    source: str = ""  # its origin, for messages
    expires: float | None = None  # seconds since the epoch, UTC


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionToken:
    """A session that is open: the value of the cookie JSESSIONID. xnatctl never ends it.

    Without a `username` the server tells the user. After a token that is `final` no other source is asked, because the
    user chose it for this run.
    """

    secret: str = field(repr=False)  # the value of the cookie
    username: str = ""
    final: bool = False
    source: str = ""  # its origin, for messages
    expires: float | None = None  # seconds since the epoch, UTC


@dataclass(frozen=True, kw_only=True, slots=True)
class Headers:
    """HTTP headers that log every request in, such as `Authorization: Bearer ...` or the `Cookie` of a gateway.

    The cookies of a `Cookie` header are sent beside those of XNAT, and the server may replace them. Headers that belong
    to xnatctl or to HTTP itself are refused (`Host`, `Content-Length`). Without a `username` the server tells the user.
    """

    headers: Mapping[str, str] = field(repr=False, hash=False)  # name -> value, ASCII
    username: str = ""
    source: str = ""  # its origin, for messages
    expires: float | None = None  # seconds since the epoch, UTC


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientCertificate:
    """The paths of a TLS client certificate and of its key, both PEM. Without `key` one file holds both.

    The server, or a gateway, tells the user by the certificate. Where a `username` is given, it must be the same.
    """

    certificate: str  # path of the certificate, with its chain
    key: str | None = None
    passphrase: str | None = field(default=None, repr=False)  # of an encrypted key
    username: str = ""
    source: str = ""  # its origin, for messages
    expires: float | None = None  # seconds since the epoch, UTC


#: What a source of credentials returns.
Credential = Password | AliasToken | SessionToken | Headers | ClientCertificate


@dataclass(frozen=True, kw_only=True, slots=True)
class CredentialRequest:
    """The request for a credential: for a server (base URL), optionally for one user and one profile.

    `profile_name` is None without a profile, and when the chosen profile is for another server. `profile` holds the
    settings of the chosen profile. `environment` is False when XNAT_USER, XNAT_PASS and XNAT_TOKEN were given for
    another server. `options` holds a value for every `Option` of the source.
    """

    server: str  # base URL
    username: str | None = None  # None: any user
    profile_name: str | None = None
    profile: Mapping[str, Any] = field(default_factory=dict, repr=False)
    environment: bool = True
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


class CredentialSource(Protocol):
    """Finds credentials. `verbs` of its spec says which of the other protocols it implements."""

    def get(self, request: CredentialRequest) -> Credential | None:
        """The credential, or None to ask the next source."""
        ...


class RenewingCredentialSource(CredentialSource, Protocol):
    """A source that can replace a credential which the server refuses or which has expired."""

    def renew(self, request: CredentialRequest, rejected: Credential) -> Credential | None:
        """Another credential of the same user, or None when there is none, which ends the command with exit code 3.

        Called once for all workers, perhaps not in the main thread, on the object that `get` was called on.
        """
        ...


class StoringCredentialSource(CredentialSource, Protocol):
    """A source that can store and erase the session token of `auth login`.

    A stored token belongs to the server, profile and user of the request. A request without a user means every user of
    that server and profile.
    """

    def check(self, request: CredentialRequest) -> None:
        """Raise ConfigError if `store` cannot work. Called only where `verbs` holds `check`, before the login."""
        ...

    def store(self, request: CredentialRequest, credential: SessionToken) -> None:
        """Remember."""
        ...

    def erase(self, request: CredentialRequest) -> bool:
        """Erase what `store` stored; True if there was something to erase."""
        ...


#: The fields that must not be empty.
_NEEDED: Mapping[type[Credential], tuple[str, ...]] = {
    Password: ("username", "secret"),
    AliasToken: ("alias", "secret"),
    SessionToken: ("secret",),
    Headers: (),
    ClientCertificate: ("certificate",),
}
#: The last second of the year 9999, as seconds since the epoch: what is later is in another unit.
_LATEST = 253402300799
#: Headers that xnatctl or HTTP sets, in lower case.
_TAKEN = frozenset(
    {
        "accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect",
        "host", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade", "user-agent",
    }
)  # fmt: skip
#: Name and value of a header (RFC 9110, 5.5 and 5.6.2). Values are limited to visible ASCII, blanks and tabs.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
#: Shorter values of headers are words such as `true`, not secrets (characters).
_SHORTEST = 8


def problem_of(credential: object) -> str | None:
    """Why an object cannot be used as a credential, without any part of a secret; None if it can."""
    if not isinstance(credential, Credential) or type(credential) not in _NEEDED:
        return f"a {type(credential).__name__} is not a credential"
    expires = credential.expires
    if expires is not None and not (type(expires) in (int, float) and abs(expires) <= _LATEST):
        return "`expires` is not a number of seconds since the epoch"
    needed = _NEEDED[type(credential)]
    for name in (entry.name for entry in fields(credential)):
        value = getattr(credential, name)
        if name in ("expires", "headers", "final") or (value is None and name in ("key", "passphrase")):
            continue
        if not isinstance(value, str):
            return f"`{name}` is not text"
        if name in needed and not value:
            return f"`{name}` is empty"
    return _problem_of_headers(credential.headers) if isinstance(credential, Headers) else None


def _problem_of_headers(headers: object) -> str | None:
    if not isinstance(headers, Mapping) or not headers:
        return "`headers` is not a mapping of names to values"
    seen: set[str] = set()
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return "the name of a header is malformed"
        if name.lower() in _TAKEN:
            return f"the header {name} is set by xnatctl itself"
        if name.lower() in seen:
            return f"the header {name} is there twice"
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            return f"the value of the header {name} is not one line of ASCII text"
        seen.add(name.lower())
    return None


def secrets_of(credential: Credential) -> Iterator[tuple[str | None, str]]:
    """(user or None, secret) of everything in a credential that must not be shown."""
    match credential:
        case Password() | SessionToken():
            yield credential.username, credential.secret
        case AliasToken():
            yield credential.alias, credential.secret
            yield None, credential.alias  # part of the token
        case ClientCertificate():
            if credential.passphrase:
                yield None, credential.passphrase
        case Headers():
            for value in credential.headers.values():
                # The scheme of `Bearer ...` is no secret; a cookie may be repeated alone.
                pieces = (value, *value.split()[1:], *(pair.partition("=")[2].strip() for pair in value.split(";")))
                for piece in dict.fromkeys(pieces):
                    if len(piece) >= _SHORTEST:
                        yield None, piece


def user_of(credential: Credential) -> str:
    """The user that a credential names; empty where only the server knows."""
    return "" if isinstance(credential, AliasToken) else credential.username


def described(credential: Credential) -> str:
    """A credential in words for a message: the type, the user of a password, and the source."""
    source = credential.source or "the command line"
    match credential:
        case Password():
            return f"the login of {credential.username} (from {source})"
        case AliasToken():
            return f"the alias token of {source}"
        case SessionToken():
            return f"the session token of {source}"
        case Headers():
            return f"the login headers of {source}"
        case ClientCertificate():
            return f"the client certificate of {source}"
