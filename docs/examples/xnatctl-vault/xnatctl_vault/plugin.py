"""Declares the credential source `vault` and its options."""

from __future__ import annotations

from xnatctl.api import CredentialSourceSpec, Option, hookimpl

requires_api = 1


@hookimpl
def xnatctl_credential_sources() -> list[CredentialSourceSpec]:
    """The source is passed over in profiles that set none of its options."""
    return [
        CredentialSourceSpec(
            name="vault",
            summary="the entry of the site's vault",
            target="xnatctl_vault.source:Vault",
            order=60,
            verbs=frozenset({"get", "renew"}),
            options=(
                Option(name="address", help="The base URL of the vault.", envvar="VAULT_ADDR", required=True),
                Option(name="path", help="The path of the entry.", envvar="VAULT_PATH", required=True),
                Option(name="token", help="A token of the vault.", envvar="VAULT_TOKEN", secret=True),
                Option(name="token_file", help="A file that holds a token of the vault.", envvar="VAULT_TOKEN_FILE"),
            ),
        )
    ]
