"""`auth login | logout | status`."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from xnatctl.cli.app import App, pass_app
from xnatctl.cli.list_options import column_option
from xnatctl.cli.options import common_options, server_options
from xnatctl.errors import AuthenticationError, ConfigError, NotFound, PluginUnavailable, XnatctlError
from xnatctl.model.document import Column, Document
from xnatctl.plugin.credentials import Credential, CredentialRequest, SessionToken, problem_of
from xnatctl.settings.credentials import plain_name

if TYPE_CHECKING:
    from xnatctl.plugin.guarded import GuardedSource
    from xnatctl.xnat.client import XnatClient

_SCHEMA = "xnatctl.auth/1"
_COLUMNS = (
    *(Column(key=key) for key in ("state", "server", "profile", "user", "source")),
    Column(key="valid_until", time=True),
)
#: Seconds to wait for the server to end a session; the local token is erased in any case.
_PATIENCE = 10
#: Users that a store may hold sessions of; more come from a store that makes them up.
_MOST = 100


def _store(app: App) -> tuple[GuardedSource, CredentialRequest]:
    """The credential source that session tokens are stored in (`store` of the configuration), and the request to it.

    Raises ConfigError, PluginUnavailable when there is none.
    """
    from xnatctl.settings.credentials import request_to

    chosen = app.settings.store
    known = {provided.name: provided for provided in app.registry.credential_sources()}
    able = [name for name, provided in known.items() if {"store", "erase"} <= provided.spec.verbs]
    if chosen.value not in able:
        if chosen.origin == "default":
            raise PluginUnavailable(
                "No active plugin stores session tokens.",
                hint="The plugin `credentials` stores them unless it is blocked. See xnatctl plugins list.",
            )
        what = "cannot store session tokens" if chosen.value in known else "is not provided by an active plugin"
        raise ConfigError(
            f"The credential source {chosen.value} {what} (store in the {chosen.origin}).",
            hint=f"Sources that can: {', '.join(able) or 'none'}.",
        )
    provided = known[chosen.value]
    request = request_to(app.settings, provided.spec)
    if request is None:
        raise ConfigError(
            f"The credential source {chosen.value} is not configured (store in the {chosen.origin}).",
            hint=f"Its options belong below credentials: {chosen.value}: of the profile.",
        )
    return app.registry.credential_source(provided), request


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
        columns=tuple(replace(column, detail=row[column.key] is None) for column in _COLUMNS),
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
    if not isinstance(credential, SessionToken):
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
    store, request = _store(app)
    store.check(request)
    order, name = app.settings.credential_sources.value, app.settings.store.value
    if order is not None and name not in order:
        app.warn(f"credential_sources does not name {name}, so no other command will use this session.")
    client = app.new_client()
    chain = app.credential_chain(fresh=True)
    app.log_in(client, chain)
    token = _keep(app, client, store, request)
    app.render(
        _document(
            state="logged in", request=request, user=token.username, source=chain.source, valid_until=token.expires
        )
    )


def keep_login(app: App, client: XnatClient) -> None:
    """Store the session of a client as `auth login` does. Raises what storing raises."""
    store, request = _store(app)
    store.check(request)
    _keep(app, client, store, request)


def _keep(app: App, client: XnatClient, store: GuardedSource, request: CredentialRequest) -> SessionToken:
    user, expires = client.login_name or "", _expires(client)
    token = SessionToken(username=user, secret=client.keep_session(), source="auth login", expires=expires)
    try:
        store.store(replace(request, username=user), token)
    except XnatctlError:
        _end_on_server(app, token)  # it would be unusable and count against the user's session limit (1.2)
        raise
    return token


@click.command(help="End the kept session of the server and profile, and forget its token.")
@server_options
@common_options
@pass_app
def logout(app: App) -> None:
    """Log out every stored user of the server and profile, or the one that is named.

    The tokens are erased even when the server cannot be reached to end the sessions. Credentials of other kinds that
    the store returns are left alone.
    """
    store, request = _store(app)
    users: list[str] = []
    found = store.get(request)
    while (token := _stored(store, request, found)) is not None:
        if token.username in users or len(users) == _MOST:
            raise PluginUnavailable(
                f"{store} still returns a session token of {token.username} that it was told to erase.",
                hint="This is a bug in the plugin. Report it to its author.",
            )
        app.redactor.register_secret(token.secret)
        if not store.erase(replace(request, username=token.username or request.username)):
            break  # it stored no such token, so the session is that of somebody else
        _end_on_server(app, token)
        users.append(token.username)
        found = store.get(request)
    if found is None:
        store.erase(request)  # tokens that are too old to be returned
    if not users:
        raise NotFound(
            f"No session token is stored for {request.server}"
            + (f" as {request.username}" if request.username else "")
            + (f" in profile {request.profile_name}." if request.profile_name else "."),
            hint="You are already logged out.",
        )
    names = ", ".join(users)
    app.render(_document(state="logged out", request=request, user=names, source="session token", valid_until=None))


def _stored(store: GuardedSource, request: CredentialRequest, token: object) -> SessionToken | None:
    """What the store returned, if it may be a session that was stored for the request. Raises PluginUnavailable."""
    if not isinstance(token, SessionToken) or token.final:
        return None
    if (problem := problem_of(token)) is not None:
        raise PluginUnavailable(
            f"{store} returned a session token that cannot be used: {problem}.",
            hint="This is a bug in the plugin. Report it to its author.",
        )
    named = request.username
    return token if named is None or plain_name(token.username) in ("", plain_name(named)) else None


def _end_on_server(app: App, token: SessionToken) -> None:
    app.redactor.register_secret(token.secret)
    client = app.new_client()
    try:
        client.set_cookies({"JSESSIONID": token.secret})
        with suppress(AuthenticationError):  # it has ended already
            client.request("DELETE", "/data/JSESSION", relogin=False, timeout=_PATIENCE)
    except (XnatctlError, ValueError) as error:
        reason = error.message if isinstance(error, XnatctlError) else "the token is malformed."
        app.warn(f"The local token was erased, but the session was not ended on the server: {reason}")


@click.command(help="Show the server, profile, user and source of the login; checks the login with the server.")
@column_option(_COLUMNS)
@server_options
@common_options
@pass_app
def status(app: App) -> None:
    """Never prompt for a password. Exit code 3 when there is no valid login."""
    from xnatctl.settings.credentials import request_for

    client = app.new_client()
    chain = app.credential_chain(prompts=False)
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
