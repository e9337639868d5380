"""Ask on the terminal."""

from __future__ import annotations

import getpass
import sys

from xnatctl.api import CredentialRequest, Password, printable


class Prompt:
    """Prompts for missing values; an empty answer cancels."""

    def get(self, request: CredentialRequest) -> Password | None:
        """The password is not shown while it is typed."""
        try:
            user = request.username or self._ask(f"User name for {request.server}: ")
            if not user:
                return None
            question = printable(f"Password of {user} for {request.server}: ")
            password = getpass.getpass(question, stream=sys.stderr)
        except EOFError:
            return None
        return Password(username=user, secret=password, source="prompt") if password else None

    @staticmethod
    def _ask(question: str) -> str:
        # Not input(), which would write the prompt to stdout.
        sys.stderr.write(printable(question))
        sys.stderr.flush()
        return sys.stdin.readline().strip()
