"""Alias tokens: issue, show, validate, invalidate; all by GET (xnat-api 1.5)."""

from __future__ import annotations

import secrets
import uuid

from werkzeug import Response

from xnatctl_sandbox.http.accounts import Accounts
from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.http.responses import json_response
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import AliasToken
from xnatctl_sandbox.world.state import State


class AliasTokens:
    """Handlers of `/services/tokens`."""

    def __init__(self, state: State, accounts: Accounts) -> None:
        self._state = state
        self._accounts = accounts

    def answer(self, call: Call) -> Response:
        """Carry out an operation; 403 for guests."""
        if call.login is None:
            raise StatusError(403)
        pieces = [piece for piece in call.rest.split("/") if piece]
        match call.parts["operation"]:
            case "issue":
                return json_response(self._document(self._issue(call.login, pieces)))
            case "show":
                own = [token for token in self._state.tokens.values() if token.login == call.login]
                return json_response([self._document(token) for token in own])
            case "validate":
                if len(pieces) < 2:
                    raise StatusError(401)
                token = self._known(pieces[0])
                return json_response({"valid": token.login if token.secret == pieces[1] else None})
            case "invalidate" if pieces:
                token = self._known(pieces[0])
                if token.login != call.login:
                    raise StatusError(403)
                del self._state.tokens[token.alias]
                return json_response({"result": "OK"})
        raise StatusError(400)

    def _issue(self, login: str, pieces: list[str]) -> AliasToken:
        """Issue a token for the caller; administrators may name another with `user/{login}`."""
        if pieces:
            if not self._state.is_admin(login):
                raise StatusError(403)
            login = pieces[-1]
            if login not in self._state.users:
                raise StatusError(404)
        token = AliasToken(
            alias=str(uuid.uuid4()), secret=secrets.token_hex(32), login=login,
            id=self._state.next_number("token"), created=self._state.clock.now(),
        )  # fmt: skip
        self._state.tokens[token.alias] = token
        return token

    def _known(self, alias: str) -> AliasToken:
        token = self._state.tokens.get(alias)
        if token is None:
            raise StatusError(404)
        return token

    def _document(self, token: AliasToken) -> dict[str, object]:
        created = int(token.created * 1000)
        return {
            "id": token.id,
            "enabled": True,
            "created": created,
            "timestamp": created,
            "disabled": 0,
            "alias": token.alias,
            "secret": token.secret,
            "xdatUserId": token.login,
            "singleUse": False,
            "estimatedExpirationTime": created + int(self._accounts.token_life * 1000),
            "validIPAddresses": None,
        }
