"""`auth login | logout | status`."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from xnatctl.cli.app import App, pass_app
from xnatctl.cli.options import common_options, server_options
from xnatctl.errors import AuthenticationError, NotFound, PluginUnavailable, XnatctlError
from xnatctl.model.document import Column, Document
from xnatctl.plugin.protocols import Credential, CredentialRequest

if TYPE_CHECKING:
    from xnatctl.plugin.guarded import GuardedSource
    from xnatctl.xnat.client import XnatClient

_SCHEMA = "xnatctl.auth/1"
#: Seconds to wait for the server to end a session; the local token is erased in any case.
_PATIENCE = 10
#: Most users of one server and profile that a store may return tokens for; more means a faulty store.
_MOST_KEPT = 1000


def _stores(app: App) -> list[GuardedSource]:
    """The credential sources that store session tokens. Raises PluginUnavailable when there is none."""
    stores = [
        app.registry.credential_source(provided)
        for provided in app.registry.credential_sources()
        if {"store", "erase"} <= provided.spec.verbs and not provided.missing
    ]
    if not stores:
        raise PluginUnavailable(
            "No active plugin stores session tokens.",
            hint="The plugin `credentials` stores them unless it is blocked. See xnatctl plugins list.",
        )
    return stores


def _document(*, state: str, request: CredentialRequest, user: str, source: str, valid_until: float | None) -> Document:
    moment = None if valid_until is None else datetime.fromtimestamp(valid_until, UTC).isoformat(timespec="seconds")
    row = {
        "state": state,
        "server": request.server,
        "profile": request.profile_name,
        "user": user,
        "source": source,
        "valid_until": moment,
    }
    return Document(
        schema=_SCHEMA,
        data={"schema": _SCHEMA, **row},
        columns=tuple(Column(key=key) for key in row),
        rows=[{key: "" if value is None else value for key, value in row.items()}],
        identifiers=(user,),
    )


def _expires(client: XnatClient) -> float | None:
    """When an idle session ends; every request extends it (xnat-api 1.3)."""
    return None if client.session_timeout is None else time.time() + client.session_timeout


def _kept_until(client: XnatClient, credential: Credential | None) -> float | None:
    """When a stored session ends; None for a session that is not stored.

    A server that is silent about it leaves us with what was noted at the login, unless that is over: the session holds,
    so it was renewed since.
    """
    if credential is None or credential.kind != "session":
        return None
    if (end := _expires(client)) is not None:
        return end
    return credential.expires if credential.expires is not None and credential.expires > time.time() else None


@click.command(help="Log in and keep the session token, so that other commands need no password.")
@server_options
@common_options
@pass_app
def login(app: App) -> None:
    """Always request a fresh session; a stored token is not used."""
    from xnatctl.settings.credentials import request_for

    stores, request = _stores(app), request_for(app.settings)
    for store in stores:
        store.check(request)
    client = app.new_client()
    chain = app.credential_chain(fresh=True)
    app.log_in(client, chain)
    user, expires = client.login_name or "", _expires(client)
    credential = Credential(
        kind="session", username=user, secret=client.keep_session(), source="auth login", expires=expires
    )
    try:
        for store in stores:
            store.store(replace(request, username=user), credential)
    except XnatctlError:
        _end_on_server(app, credential)  # it would be unusable and count against the user's session limit (1.2)
        raise
    app.render(_document(state="logged in", request=request, user=user, source=chain.source, valid_until=expires))


@click.command(help="End the kept session of the server and profile, and forget its token.")
@server_options
@common_options
@pass_app
def logout(app: App) -> None:
    """Log out every stored user of the server and profile, or the one that is named.

    The tokens are erased even when the server cannot be reached to end the sessions.
    """
    from xnatctl.settings.credentials import request_for

    request = request_for(app.settings)
    users: list[str] = []
    for store in _stores(app):
        ended: set[str] = set()
        while isinstance(credential := store.get(request), Credential):
            if credential.secret in ended or len(ended) >= _MOST_KEPT:
                raise PluginUnavailable(f"{store} still returns session tokens that it was told to erase.")
            ended.add(credential.secret)
            _end_on_server(app, credential)
            if not store.erase(replace(request, username=credential.username)):
                break  # a store that returns a token that it cannot erase
            users.append(credential.username)
        store.erase(request)  # tokens that are too old to be returned
    if not users:
        raise NotFound(
            f"No session token is stored for {request.server}"
            + (f" as {request.username}" if request.username else "")
            + (f" in profile {request.profile_name}." if request.profile_name else "."),
            hint="You are already logged out.",
        )
    names = ", ".join(dict.fromkeys(users))
    app.render(_document(state="logged out", request=request, user=names, source="session token", valid_until=None))


def _end_on_server(app: App, credential: Credential) -> None:
    app.redactor.register_secret(credential.secret)
    client = app.new_client()
    client.set_cookies({"JSESSIONID": credential.secret})
    try:
        with suppress(AuthenticationError):  # it has ended already
            client.request("DELETE", "/data/JSESSION", relogin=False, timeout=_PATIENCE)
    except XnatctlError as error:
        app.warn(f"The local token was erased, but the session was not ended on the server: {error.message}")


@click.command(help="Show the server, profile, user and source of the login; checks the login with the server.")
@server_options
@common_options
@pass_app
def status(app: App) -> None:
    """Never prompt for a password. Exit code 3 when there is no valid login."""
    from xnatctl.settings.credentials import request_for

    client = app.new_client()
    chain = app.credential_chain(interactive=False)
    app.log_in(client, chain)
    app.render(
        _document(
            state="logged in",
            request=request_for(app.settings),
            user=client.login_name or "",
            source=chain.source,
            valid_until=_kept_until(client, chain.given),
        )
    )
