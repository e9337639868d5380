"""`XNAT_USER` and `XNAT_PASS`, or `XNAT_TOKEN`."""

from __future__ import annotations

import os

from xnatctl.api import ConfigError, Credential, CredentialRequest


class Environment:
    """A user without a password says who, not how: the next source is asked for that user."""

    def get(self, request: CredentialRequest) -> Credential | None:
        """Raises ConfigError for an XNAT_TOKEN that is not `alias:secret`."""
        token = os.environ.get("XNAT_TOKEN")
        if token:
            alias, colon, secret = token.partition(":")
            if not (alias and colon and secret):
                raise ConfigError("XNAT_TOKEN must be alias:secret.", hint="Issue one in XNAT: Manage Alias Tokens.")
            return Credential(kind="token", username=alias, secret=secret, source="variable XNAT_TOKEN")
        user, password = os.environ.get("XNAT_USER"), os.environ.get("XNAT_PASS")
        if user and password:
            return Credential(
                kind="password", username=user, secret=password, source="variables XNAT_USER and XNAT_PASS"
            )
        return None
