"""The credential source: one entry of the vault becomes a credential."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xnatctl.api import AliasToken, ConfigError, Credential, CredentialRequest, Headers, Password, ServerError
from xnatctl_vault.client import read

_SOURCE = "the vault"
#: Length of a token file, in bytes.
_LONGEST = 4096


class Vault:
    """Reads the entry at each call, so that nothing outdated is kept."""

    def get(self, request: CredentialRequest) -> Credential | None:
        """None when the vault has no entry at this path. Raises XnatctlError."""
        address, path = request.options["address"], request.options["path"]
        answer = read(address, path, _token(request.options))
        return None if answer is None else _credential(answer, path)

    def renew(self, request: CredentialRequest, rejected: Credential) -> Credential | None:
        """Read the entry again: the vault has written it anew when the old one ended. None when it has not."""
        found = self.get(request)
        return None if found == rejected else found


def _token(options: Mapping[str, Any]) -> str:
    """The login to the vault. Raises ConfigError."""
    token, file = options["token"], options["token_file"]
    if bool(token) == bool(file):
        raise ConfigError(
            "The credential source vault needs either token or token_file.",
            hint="Set VAULT_TOKEN, or credentials: vault: token_file: of the profile.",
        )
    if token:
        return str(token)
    path = Path(file).expanduser()
    try:
        if not path.is_file():
            raise ConfigError(f"The token file {path} of the vault is not a regular file.")
        with path.open(encoding="ascii") as opened:
            found = opened.read(_LONGEST).strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"The token file {path} of the vault cannot be read.") from None
    if not found:
        raise ConfigError(f"The token file {path} of the vault is empty.")
    return found


def _credential(answer: Mapping[str, Any], path: str) -> Credential:
    """The credential of an entry, by the names of its fields. Raises ServerError for any other entry."""
    data, seconds = answer.get("data"), answer.get("lease_duration")
    expires = time.time() + seconds if isinstance(seconds, int) and seconds > 0 else None
    match data:
        case {"username": str(username), "password": str(password)}:
            return Password(username=username, secret=password, source=_SOURCE, expires=expires)
        case {"alias": str(alias), "secret": str(secret)}:
            return AliasToken(alias=alias, secret=secret, source=_SOURCE, expires=expires)
        case {"bearer": str(token)}:
            return Headers(headers={"Authorization": f"Bearer {token}"}, source=_SOURCE, expires=expires)
    raise ServerError(
        f"The entry {path} of the vault is not a credential.",
        hint="Its fields must be username and password, alias and secret, or bearer.",
    )
