"""Credential sources: environment, stored session token, profile, netrc, keyring, helper command, prompt."""

from __future__ import annotations

from xnatctl.api import CredentialSourceSpec, hookimpl

requires_api = 1


@hookimpl
def xnatctl_credential_sources() -> list[CredentialSourceSpec]:
    """`credential_sources` in the configuration file changes the order."""
    return [
        CredentialSourceSpec(
            name="environment",
            summary="XNAT_USER with XNAT_PASS, or XNAT_TOKEN (alias:secret, or a session token)",
            target="xnatctl_credentials.environment:Environment",
            order=20,
        ),
        CredentialSourceSpec(
            name="token",
            summary="the session token that auth login stores",
            target="xnatctl_credentials.tokens:SessionTokens",
            order=30,
            verbs=frozenset({"get", "check", "store", "erase"}),
        ),
        CredentialSourceSpec(
            name="profile",
            summary="username with password, or token, of the profile",
            target="xnatctl_credentials.profile:Profile",
            order=40,
        ),
        CredentialSourceSpec(
            name="netrc",
            summary="the host's entry in $NETRC or ~/.netrc",
            target="xnatctl_credentials.netrc:Netrc",
            order=45,
        ),
        CredentialSourceSpec(
            name="keyring",
            summary="the desktop's secret store",
            target="xnatctl_credentials.keyring_store:Keyring",
            order=50,
            modules=("keyring",),
            extra="keyring",
        ),
        CredentialSourceSpec(
            name="helper",
            summary="the profile's credential_helper command",
            target="xnatctl_credentials.helper:Helper",
            order=55,
            verbs=frozenset({"get", "renew"}),
        ),
        CredentialSourceSpec(
            name="prompt",
            summary="ask on the terminal",
            target="xnatctl_credentials.prompt:Prompt",
            order=90,
            interactive=True,
        ),
    ]
