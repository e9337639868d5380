"""An external command that returns the credential: `credential_helper: [command, argument, ...]` in the profile.

It is started without a shell, with `get` as its last argument, and reads `{"server": ..., "username": ...}` as JSON. It
writes one credential as JSON, see `_credential`; nothing, or `{}`, means "not mine". When the server refuses what the
command wrote, or its `expires` has passed, it is started once more, and the question holds `"rejected": true`.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from xnatctl.api import (
    AliasToken,
    AuthenticationError,
    ClientCertificate,
    Credential,
    CredentialRequest,
    Headers,
    Password,
    SessionToken,
)
from xnatctl.api.system import NEEDED_VARIABLES, end_group, own_group

#: Limits of a helper: seconds and bytes of output.
_LIMIT_SECONDS = 10
_LIMIT_BYTES = 64 * 1024

#: What a helper may need of our environment: to find itself, its agents and its locale. Other secrets stay here.
_PASSED_ON = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME",
     "DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "GNUPGHOME", "KRB5CCNAME"}
)  # fmt: skip


class Helper:
    """Asks the command of the profile."""

    def get(self, request: CredentialRequest) -> Credential | None:
        """Raises AuthenticationError if the helper fails, hangs or prints other output."""
        return self._ask({"server": request.server, "username": request.username}, request)

    def renew(self, request: CredentialRequest, rejected: Credential) -> Credential | None:
        """None when the helper answers as before. Raises AuthenticationError like `get`."""
        found = self._ask({"server": request.server, "username": request.username, "rejected": True}, request)
        return None if found == rejected else found

    def _ask(self, question: dict[str, object], request: CredentialRequest) -> Credential | None:
        command = request.profile.get("credential_helper")
        if not command:
            return None
        name = Path(command[0]).name
        answer = _Run([str(Path(command[0]).expanduser()), *command[1:], "get"], name).ask(question)
        if not answer.strip():
            return None
        try:
            said = json.loads(answer)
        except (ValueError, RecursionError):
            raise _trouble(name, "did not answer with JSON") from None
        return _credential(said, name)


def _credential(said: Any, name: str) -> Credential | None:
    """The credential of an answer, by the names of its fields. `expires` is a number: seconds since the epoch."""
    if not isinstance(said, dict):
        raise _trouble(name, "did not answer with a JSON object of texts")
    fields = {key: value for key, value in said.items() if value not in ("", None)}
    headers, expires = fields.pop("headers", None), fields.pop("expires", None)
    mapping = headers is None or (isinstance(headers, dict) and _are_texts(headers))
    number = expires is None or (isinstance(expires, int | float) and not isinstance(expires, bool))
    if not (_are_texts(fields) and mapping and number):
        raise _trouble(name, "did not answer with a JSON object of texts")
    user, rest = fields.get("username", ""), {"source": f"helper {name}", "expires": expires}
    match fields:
        case {"username": _, "password": secret}:
            return Password(username=user, secret=secret, **rest)
        case {"alias": alias, "secret": secret}:
            return AliasToken(alias=alias, secret=secret, **rest)
        case {"session_token": secret}:
            return SessionToken(secret=secret, username=user, **rest)
        case {"certificate": certificate}:
            key, passphrase = fields.get("key"), fields.get("passphrase")
            return ClientCertificate(certificate=certificate, key=key, passphrase=passphrase, username=user, **rest)
    if headers:
        return Headers(headers=headers, username=user, **rest)
    if said:
        raise _trouble(
            name,
            "answered with neither username and password nor alias and secret, session_token, headers or certificate",
        )
    return None


def _are_texts(values: dict[Any, Any]) -> bool:
    return all(isinstance(value, str) for value in values.values())


class _Run:
    """One call of a helper, bounded in time and in what it may say; nothing of it is left when it is over."""

    def __init__(self, command: list[str], name: str) -> None:
        self._command = command
        self._name = name

    def ask(self, question: dict[str, object]) -> bytes:
        """What the helper wrote on stdout. What it wrote on stderr is dropped: it might be the secret."""
        request = json.dumps(question).encode()
        environment = {key: value for key, value in os.environ.items() if key in _PASSED_ON | NEEDED_VARIABLES}
        deadline = time.monotonic() + _LIMIT_SECONDS
        try:
            process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env=environment, **own_group(),
            )  # fmt: skip
        except OSError as error:
            raise _trouble(self._name, f"cannot be started: {error.strerror}") from None
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                # A helper need not read, which Windows reports as an invalid argument. A pipe holds more than this.
                with suppress(OSError):
                    process.stdin.write(request)
                    process.stdin.flush()
                with suppress(OSError):
                    process.stdin.close()
                answer = self._read(process.stdout, deadline)
                code = process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                end_group(process)
                raise self._late() from None
            except BaseException:
                end_group(process)
                raise
        if code != 0:
            raise _trouble(self._name, f"ended with exit code {code}")
        return answer

    def _read(self, stream: IO[bytes], deadline: float) -> bytes:
        """Read in a thread, because no call of every system waits for a pipe with a limit."""
        pieces: list[bytes] = []
        reader = threading.Thread(target=_collect, args=(stream, pieces), name="credential helper", daemon=True)
        reader.start()
        reader.join(max(0.0, deadline - time.monotonic()))
        if reader.is_alive():
            raise self._late()
        answer = b"".join(pieces)
        if len(answer) > _LIMIT_BYTES:
            raise _trouble(self._name, "returned too much output")
        return answer

    def _late(self) -> AuthenticationError:
        return _trouble(self._name, f"did not answer within {_LIMIT_SECONDS} s")


def _collect(stream: IO[bytes], pieces: list[bytes]) -> None:
    """Read to the end, or until it is too much."""
    left = _LIMIT_BYTES + 1
    while left > 0 and (piece := os.read(stream.fileno(), left)):
        pieces.append(piece)
        left -= len(piece)


def _trouble(name: str, what: str) -> AuthenticationError:
    return AuthenticationError(
        f"The credential helper {name} {what}.",
        hint="Run it by hand with `get`, or remove credential_helper from the profile.",
    )
