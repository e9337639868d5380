"""`XNAT_USER` and `XNAT_PASS`, or `XNAT_TOKEN`: an alias token or a session token."""

from __future__ import annotations

import os

from xnatctl.api import ConfigError, Credential, CredentialRequest
from xnatctl_credentials.tokens import is_session_token


class Environment:
    """A token wins over user and password: an alias token is `alias:secret`, a session token holds no colon.

    A user without a password says who, not how: the next source is asked for that user. A password without a user goes
    with the user that flag or profile names; with both, never with another user than its own. All of them are for the
    server of XNAT_URL, where it is set, and are sent to no other.
    """

    def get(self, request: CredentialRequest) -> Credential | None:
        """Raises ConfigError for an XNAT_TOKEN that is neither."""
        if not request.environment:
            return None
        if token := os.environ.get("XNAT_TOKEN"):
            return _token(token, request.username)
        user, password = os.environ.get("XNAT_USER"), os.environ.get("XNAT_PASS")
        if password and user:
            return Credential(
                kind="password", username=user, secret=password, source="variables XNAT_USER and XNAT_PASS"
            )
        if password and request.username:
            return Credential(kind="password", username=request.username, secret=password, source="variable XNAT_PASS")
        return None


def _token(text: str, username: str | None) -> Credential:
    """A session token is of the user that is named, where one is."""
    source = "variable XNAT_TOKEN"
    alias, colon, secret = text.partition(":")
    if colon and alias and secret:
        return Credential(kind="token", username=alias, secret=secret, source=source)
    if colon or not is_session_token(text):
        half = "an alias token without alias or secret" if colon else "neither kind of token"
        raise ConfigError(
            f"XNAT_TOKEN holds {half}.",
            hint="Set alias:secret (XNAT issues it: Manage Alias Tokens), or the JSESSIONID of a login.",
        )
    return Credential(kind="session", username=username or "", secret=text, source=source, final=True)
