"""How a credential goes into requests, and how the refusal of one looks."""

from __future__ import annotations

import base64

from xnatctl.errors import AuthenticationError, UsageError
from xnatctl.plugin.credentials import AliasToken, ClientCertificate, Credential, Headers, Password, described
from xnatctl.xnat.http.cookies import HeaderList, sent
from xnatctl.xnat.http.responses import LOGIN_HINT, Response, asks_for_login


def headers_of(credential: Credential) -> tuple[HeaderList, dict[str, str], HeaderList]:
    """The headers and cookies of the login, and the headers of every request after it.

    Raises UsageError for a `Cookie` header that is malformed.
    """
    match credential:
        case Password():
            return [_basic(credential.username, credential.secret)], {}, []
        case AliasToken():
            return [_basic(credential.alias, credential.secret)], {}, []
        case Headers():
            always = [
                (name.encode("ascii"), value.encode("ascii"))
                for name, value in credential.headers.items()
                if name.lower() != "cookie"
            ]
            lines = [value for name, value in credential.headers.items() if name.lower() == "cookie"]
            try:
                cookies = sent("; ".join(lines))
            except ValueError:
                raise UsageError(f"The header Cookie among {described(credential)} is malformed.") from None
            return always, cookies, always
    return [], {}, []


def _basic(username: str, secret: str) -> tuple[bytes, bytes]:
    pair = f"{username}:{secret}".encode("utf-8", "surrogateescape")
    return b"Authorization", b"Basic " + base64.b64encode(pair)


def is_refusal(reply: Response, credential: Credential, server: str) -> bool:
    """Whether the response to a login refuses the credential: that of XNAT, or of a gateway in front of it."""
    if reply.status == 401:
        return True
    if not isinstance(credential, Headers | ClientCertificate):
        return False
    # nginx answers 400 to a certificate that it does not trust.
    certificate = isinstance(credential, ClientCertificate) and reply.status == 400 and "certificate" in reply.message
    return reply.status == 403 or certificate or asks_for_login(reply, server)


def refusal_of(credential: Credential, server: str) -> AuthenticationError:
    """The error of a refused credential."""
    match credential:
        case Password():
            return AuthenticationError(f"{server} rejects {described(credential)}.", hint=LOGIN_HINT)
        case AliasToken():
            hint = "By default an alias token is valid for two days. Issue another one in XNAT: Manage Alias Tokens."
        case ClientCertificate():
            hint = "The certificate may have expired, or belong to no user of the server."
        case _:
            hint = "They may have expired. Get new ones from their source."
    return AuthenticationError(f"{server} does not accept {described(credential)}.", hint=hint)
