"""`XNAT_USER` and `XNAT_PASS`, or `XNAT_TOKEN`: an alias token or a session token."""

from __future__ import annotations

import os

from xnatctl.api import AliasToken, ConfigError, Credential, CredentialRequest, Password, SessionToken
from xnatctl_credentials.tokens import is_session_token


class Environment:
    """A token takes precedence over user and password: an alias token is `alias:secret`, a session token has no colon.

    With a user but no password, the next source is asked for that user. A password without a user applies to the user
    of flag or profile; with both, only to its own user. All of them apply to the server of XNAT_URL, if set, and are
    sent to no other.
    """

    def get(self, request: CredentialRequest) -> Credential | None:
        """Raises ConfigError for an XNAT_TOKEN that is neither."""
        if not request.environment:
            return None
        if token := os.environ.get("XNAT_TOKEN"):
            return _token(token, request.username)
        user, password = os.environ.get("XNAT_USER"), os.environ.get("XNAT_PASS")
        if password and user:
            return Password(username=user, secret=password, source="variables XNAT_USER and XNAT_PASS")
        if password and request.username:
            return Password(username=request.username, secret=password, source="variable XNAT_PASS")
        return None


def _token(text: str, username: str | None) -> Credential:
    """Parse XNAT_TOKEN; a session token belongs to the named user, if any."""
    source = "variable XNAT_TOKEN"
    alias, colon, secret = text.partition(":")
    if colon and alias and secret:
        return AliasToken(alias=alias, secret=secret, source=source)
    if colon or not is_session_token(text):
        half = "an alias token without alias or secret" if colon else "neither kind of token"
        raise ConfigError(
            f"XNAT_TOKEN holds {half}.",
            hint="Set alias:secret (XNAT issues it: Manage Alias Tokens), or the JSESSIONID of a login.",
        )
    return SessionToken(username=username or "", secret=text, source=source, final=True)
