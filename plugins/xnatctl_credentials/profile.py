"""Credentials in the profile."""

from __future__ import annotations

from xnatctl.api import AliasToken, ConfigError, Credential, CredentialRequest, Password


class Profile:
    """`username` with `password`, or `token` (alias:secret)."""

    def get(self, request: CredentialRequest) -> Credential | None:
        """Raises ConfigError for a half-written pair."""
        profile, source = request.profile, f"profile {request.profile_name}"
        if token := profile.get("token"):
            alias, _, secret = token.partition(":")
            if not (alias and secret):
                raise ConfigError(f"token in {source} must be alias:secret.")
            return AliasToken(alias=alias, secret=secret, source=source)
        password = profile.get("password")
        if not password:
            return None
        if not profile.get("username"):
            raise ConfigError(f"{source} has a password but no username.", hint="Add username to the profile.")
        return Password(username=profile["username"], secret=password, source=source)
