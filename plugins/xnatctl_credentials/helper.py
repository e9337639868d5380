"""An in-house command that knows the secret: `credential_helper: [command, argument, ...]` in the profile.

It is started without a shell, with `get` as its last argument, reads `{"server": ..., "username": ...}` as JSON and
writes
`{"username": ..., "password": ...}` or `{"alias": ..., "secret": ...}`; nothing, or `{}`, means "not mine".
"""

from __future__ import annotations

import json
import os
import subprocess

from xnatctl.api import AuthenticationError, Credential, CredentialRequest

#: Seconds and bytes that a helper may take.
_LIMIT_SECONDS = 10
_LIMIT_BYTES = 64 * 1024


class Helper:
    """Asks the command of the profile."""

    def get(self, request: CredentialRequest) -> Credential | None:
        """Raises AuthenticationError when the helper fails, hangs or says something else than JSON."""
        command = request.profile.get("credential_helper")
        if not command:
            return None
        answer = self._run([*map(str, command), "get"], request)
        if not answer.strip():
            return None
        try:
            said = json.loads(answer)
        except ValueError:
            raise _trouble(command[0], "did not answer with JSON") from None
        if not isinstance(said, dict):
            raise _trouble(command[0], "did not answer with a JSON object")
        for kind, who, secret in (("password", "username", "password"), ("token", "alias", "secret")):
            if said.get(who) and said.get(secret):
                return Credential(
                    kind="password" if kind == "password" else "token",
                    username=str(said[who]),
                    secret=str(said[secret]),
                    source=f"helper {command[0]}",
                )
        return None

    @staticmethod
    def _run(command: list[str], request: CredentialRequest) -> str:
        kept = {
            key: os.environ[key]
            for key in ("PATH", "HOME", "LANG", "USER", "DISPLAY", "SSH_AUTH_SOCK")
            if key in os.environ
        }
        question = json.dumps({"server": request.server, "username": request.username})
        try:
            done = subprocess.run(
                command, input=question.encode(), capture_output=True, timeout=_LIMIT_SECONDS, env=kept, check=False
            )
        except subprocess.TimeoutExpired:
            raise _trouble(command[0], f"did not answer within {_LIMIT_SECONDS} s") from None
        except OSError as error:
            raise _trouble(command[0], f"cannot be started: {error.strerror}") from error
        if done.returncode != 0:
            raise _trouble(command[0], f"ended with exit code {done.returncode}")
        if len(done.stdout) > _LIMIT_BYTES:
            raise _trouble(command[0], "answered more than a credential")
        return done.stdout.decode("utf-8", "replace")


def _trouble(command: str, what: str) -> AuthenticationError:
    return AuthenticationError(
        f"The credential helper {command} {what}.", hint="Run it by hand, or take credential_helper out of the profile."
    )
