"""`XNAT_USER` and `XNAT_PASS`, or `XNAT_TOKEN`."""

from __future__ import annotations

import os

from xnatctl.api import ConfigError, Credential, CredentialRequest


class Environment:
    """An alias token wins over user and password.

    A user without a password says who, not how: the next source is asked for that user. A password without a user goes
    with the user that flag or profile names; with both, never with another user than its own. All of them are for the
    server of XNAT_URL, where it is set, and are sent to no other.
    """

    def get(self, request: CredentialRequest) -> Credential | None:
        """Raises ConfigError for an XNAT_TOKEN that is not `alias:secret`."""
        if not request.environment:
            return None
        token = os.environ.get("XNAT_TOKEN")
        if token:
            alias, _, secret = token.partition(":")
            if not (alias and secret):
                raise ConfigError("XNAT_TOKEN must be alias:secret.", hint="Issue one in XNAT: Manage Alias Tokens.")
            return Credential(kind="token", username=alias, secret=secret, source="variable XNAT_TOKEN")
        user, password = os.environ.get("XNAT_USER"), os.environ.get("XNAT_PASS")
        if password and user:
            return Credential(
                kind="password", username=user, secret=password, source="variables XNAT_USER and XNAT_PASS"
            )
        if password and request.username:
            return Credential(kind="password", username=request.username, secret=password, source="variable XNAT_PASS")
        return None
