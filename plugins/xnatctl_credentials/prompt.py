"""Ask on the terminal."""

from __future__ import annotations

from xnatctl.api import CredentialRequest, Password, ask, ask_secret


class Prompt:
    """Prompts for missing values; an empty answer cancels."""

    def get(self, request: CredentialRequest) -> Password | None:
        """The password is not shown while it is typed."""
        try:
            user = request.username or ask(f"User name for {request.server}: ")
            password = ask_secret(f"Password of {user} for {request.server}: ") if user else ""
        except EOFError:
            return None
        return Password(username=user, secret=password, source="prompt") if password else None
