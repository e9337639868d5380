"""TLS: the verification of the server, and the client certificate."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xnatctl.errors import UsageError
from xnatctl.plugin.credentials import ClientCertificate


def tls_context(
    default: Callable[[], ssl.SSLContext], *, verify: bool | str, cert: ClientCertificate | None
) -> ssl.SSLContext:
    """A context with the CA bundle in `verify`, else the one of `default`; with the client certificate, if given.

    Raises UsageError for files that cannot be used.
    """
    for path in (verify, *(() if cert is None else (cert.certificate, cert.key))):
        if isinstance(path, str) and os.path.exists(path) and not os.path.isfile(path):
            # OpenSSL would wait for a FIFO and read a device for ever.
            raise UsageError(f"The certificate file {path} is not a regular file.", hint="Name a PEM file.")
    with _usable(verify if isinstance(verify, str) else "of this machine", "Name a PEM file that this user may read."):
        context = ssl.create_default_context(cafile=verify) if isinstance(verify, str) else default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if cert is not None:
        passphrase = "the passphrase must be right" if cert.passphrase else "the key must not be encrypted"
        with _usable(cert.certificate, f"Name PEM files that this user may read; {passphrase}."):
            context.load_cert_chain(cert.certificate, cert.key, password=cert.passphrase or _no_passphrase)
    return context


@contextmanager
def _usable(file: str, hint: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"The certificate file {file} cannot be used: {why}.", hint=hint) from error


def _no_passphrase() -> str:
    """OpenSSL would ask for the passphrase at the terminal."""
    raise ValueError("the key is encrypted")
