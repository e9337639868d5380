"""The desktop's secret store, by the library keyring; a machine without one is no error."""

from __future__ import annotations

from xnatctl.api import CredentialRequest, Password


class Keyring:
    """Looks under the service name `xnatctl:<server>`, as `keyring set xnatctl:<server> <user>` writes it."""

    def get(self, request: CredentialRequest) -> Password | None:
        """Never raises: headless machines have no store, locked ones refuse, and broken ones raise what they like."""
        try:
            import keyring

            found = keyring.get_credential(f"xnatctl:{request.server}", request.username)
        except Exception:  # noqa: BLE001 - a backend may raise anything; the next source is asked
            return None
        if found is None or not found.password:
            return None
        user = found.username or request.username
        if not user:
            return None
        return Password(username=user, secret=found.password, source="keyring")
