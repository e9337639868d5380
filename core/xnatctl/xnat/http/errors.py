"""Messages for network failures, which depend on whether the server may have received the request."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from xnatctl.errors import AuthenticationError, ConnectionFailed, TransportError, XnatctlError
from xnatctl.model.words import human_duration
from xnatctl.xnat.http.sockets import ConnectError, Exchange, Halted
from xnatctl.xnat.http.urls import ProxyAddress

_OTHER_SERVICE = "Check the port in the URL: it may belong to another service, such as a DICOM receiver."


class CertificateRefused(AuthenticationError):
    """The server ended the connection because of the client certificate, so it has not seen the request."""


def explain(
    error: Exception,
    exchange: Exchange,
    server: str,
    proxy: ProxyAddress | None,
    clean: Callable[[str], str],
    *,
    known: bool,
) -> XnatctlError:
    """ConnectionFailed if nothing of the request was sent, else TransportError: the server may have carried it out.

    CertificateRefused if the server refuses the client certificate.
    `known`: the server answered an earlier request, so the address is right. `clean` prepares foreign text for a
    message.
    """
    if exchange.aborted:
        return TransportError(f"The request to {server} was aborted before the response arrived.")
    if isinstance(error, Halted):
        return _halted(error, exchange, server)
    reason = _reason(error, clean)
    if _is_about_certificate(error.__cause__):
        return CertificateRefused(
            f"{server} does not accept the client certificate, or requires one: {reason}.",
            hint="client_cert and client_key of the profile name a client certificate and its key.",
        )
    if isinstance(error, ConnectError) or exchange.sent == 0:
        through = f" through the proxy {proxy.url}" if proxy is not None else ""
        return ConnectionFailed(f"Cannot reach {server}{through}: {reason}.", hint=_hint(reason, proxied=bool(proxy)))
    return TransportError(
        f"The connection to {server} broke before the complete response arrived: {reason}.",
        hint=None if known else _OTHER_SERVICE,
    )


def _halted(error: Halted, exchange: Exchange, server: str) -> ConnectionFailed:
    if error.why == "stalled":
        what = "sent nothing more of its response" if exchange.answered else "accepted no more data"
        return TransportError(
            f"{server} {what} for {human_duration(exchange.stall_timeout)}, so the connection was closed.",
            hint="The network or a proxy may have lost the connection; run the command again.",
        )
    kind = TransportError if exchange.sent else ConnectionFailed
    return kind(
        f"{server} did not answer in time.",
        hint="A larger `timeout` in the profile, or XNAT_TIMEOUT, gives it more time.",
    )


def _is_about_certificate(cause: BaseException | None) -> bool:
    """Whether the server sent a TLS alert that refuses our certificate (RFC 8446, 6.2)."""
    reason = cause.reason if isinstance(cause, ssl.SSLError) else None
    return "ALERT" in (reason or "") and any(
        word in (reason or "") for word in ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
    )


def _reason(error: Exception, clean: Callable[[str], str]) -> str:
    return clean(str(error)) or type(error).__name__


def _hint(reason: str, *, proxied: bool) -> str:
    low = reason.lower()
    if "certificate" in low:
        return "For a server with its own certificate authority, name the CA file with `ca_cert` in the profile."
    if "wrong version number" in low or "record layer" in low:
        return "That port does not speak TLS: should the URL begin with http://?"
    if proxied:
        return "Check the proxy settings (HTTP_PROXY, HTTPS_PROXY), or name the server in NO_PROXY."
    if any(text in low for text in ("name or service", "temporary failure", "nodename", "no address")):
        return "Check the host name in the URL."
    if "refused" in low:
        return "Check the port in the URL, and that the server is running."
    return "Check the URL, the network and the proxy settings."
