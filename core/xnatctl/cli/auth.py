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
#: Seconds that ending a session on the server may take: it is forgotten here whatever the server says.
_PATIENCE = 10
#: Users of one server and profile whose tokens a store may keep; more is a store that makes them up.
_MOST_KEPT = 1000


def _stores(app: App) -> list[GuardedSource]:
    """The credential sources that keep session tokens. Raises PluginUnavailable when there is none."""
    stores = [
        app.registry.credential_source(provided)
        for provided in app.registry.credential_sources()
        if {"store", "erase"} <= provided.spec.verbs and not provided.missing
    ]
    if not stores:
        raise PluginUnavailable(
            "No active plugin can keep a session token.",
            hint="Look with xnatctl plugins list; the plugin credentials does it unless it is blocked.",
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
    """When the session ends if nothing is asked of it; every request puts the end off (xnat-api 1.3)."""
    return None if client.session_timeout is None else time.time() + client.session_timeout


def _kept_until(client: XnatClient, credential: Credential | None) -> float | None:
    """When a kept session ends; the end of any other does not matter to the next command.

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
    """A kept token is not used here: whoever logs in wants a fresh one."""
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
        _end_on_server(app, credential)  # nobody could use it, and it would count against the user's sessions (1.2)
        raise
    app.render(_document(state="logged in", request=request, user=user, source=chain.source, valid_until=expires))


@click.command(help="End the kept session of the server and profile, and forget its token.")
@server_options
@common_options
@pass_app
def logout(app: App) -> None:
    """Every kept user of the server and profile is logged out, or the one that is named.

    Forgetting works without the server; ending the session there is tried.
    """
    from xnatctl.settings.credentials import request_for

    request = request_for(app.settings)
    users: list[str] = []
    for store in _stores(app):
        ended: set[str] = set()
        while isinstance(credential := store.get(request), Credential):
            if credential.secret in ended or len(ended) >= _MOST_KEPT:
                raise PluginUnavailable(f"{store} gives session tokens again that it was told to forget.")
            ended.add(credential.secret)
            _end_on_server(app, credential)
            if not store.erase(replace(request, username=credential.username)):
                break  # a store that gives what it cannot forget
            users.append(credential.username)
        store.erase(request)  # what is too old to be given
    if not users:
        raise NotFound(
            f"No session token is kept for {request.server}"
            + (f" as {request.username}" if request.username else "")
            + (f" in profile {request.profile_name}." if request.profile_name else "."),
            hint="There is nothing to log out from.",
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
        app.warn(f"The session is forgotten here, but was not ended on the server: {error.message}")


@click.command(help="Show the server, profile, user and source of the login; checks the login with the server.")
@server_options
@common_options
@pass_app
def status(app: App) -> None:
    """Nobody is asked for a password. Exit code 3 when there is no login that holds."""
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
