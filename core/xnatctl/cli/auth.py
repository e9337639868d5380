"""`auth login | logout | status`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import click

from xnatctl.cli.app import App, pass_app
from xnatctl.cli.options import common_options, server_options
from xnatctl.errors import AuthenticationError, NotFound, PluginUnavailable, XnatctlError
from xnatctl.model.document import Column, Document
from xnatctl.plugin.protocols import Credential, CredentialRequest
from xnatctl.settings.credentials import CredentialChain, request_for

_SCHEMA = "xnatctl.auth/1"


def _stores(app: App) -> list[Any]:
    """The credential sources that keep session tokens."""
    return [
        app.registry.load(provided)()
        for provided in app.registry.credential_sources()
        if {"store", "erase"} <= provided.spec.verbs and not provided.missing
    ]


def _document(app: App, **data: Any) -> Document:
    columns = tuple(Column(key=key, title=key) for key in data)
    return Document(
        schema=_SCHEMA, data={"schema": _SCHEMA, **data}, columns=columns, rows=[data], identifiers=(str(data["user"]),)
    )


def _moment(expires: float | None) -> str | None:
    return None if expires is None else datetime.fromtimestamp(expires, UTC).isoformat(timespec="seconds")


@click.command(help="Log in and keep the session token, so that other commands need no password.")
@server_options
@common_options
@pass_app
def login(app: App) -> None:
    """A kept token is not used here: whoever logs in wants a fresh one."""
    from xnatctl import log

    client = app.new_client()
    chain = CredentialChain(
        app.registry, app.settings, interactive=app.interactive, register_secret=log.register_secret, fresh=True
    )
    client.login(chain)
    stores = _stores(app)
    if not stores:
        raise PluginUnavailable(
            "No active plugin can keep a session token.", hint="Unblock the plugin credentials: xnatctl plugins list"
        )
    expires = None if client.session_timeout is None else time.time() + client.session_timeout
    credential = Credential(
        kind="session",
        username=client.login_name or "",
        secret=client.keep_session(),
        source="auth login",
        expires=expires,
    )
    log.register_secret(credential.secret)
    request = request_for(app.settings)
    named = CredentialRequest(
        server=client.server, username=credential.username, profile_name=request.profile_name, profile=request.profile
    )
    for store in stores:
        store.store(named, credential)
    app.render(
        _document(
            app, server=client.server, user=credential.username, source="session token", valid_until=_moment(expires)
        )
    )


@click.command(help="End the kept session on the server and forget its token.")
@server_options
@common_options
@pass_app
def logout(app: App) -> None:
    """Forgetting works without the server; ending the session there is tried."""
    request = request_for(app.settings)
    ended: Credential | None = None
    for store in _stores(app):
        credential = store.get(request)
        if credential is not None:
            ended = credential
            _end_on_server(app, credential)
        store.erase(request)
    if ended is None:
        raise NotFound(
            f"No session token is kept for {app.settings.server()}.", hint="There is nothing to log out from."
        )
    app.render(
        _document(app, server=app.settings.server(), user=ended.username, source="session token", valid_until=None)
    )


def _end_on_server(app: App, credential: Credential) -> None:
    client = app.new_client()
    client.adopt({"JSESSIONID": credential.secret})
    try:
        client.request("DELETE", "/data/JSESSION", relogin=False, timeout=10)
    except XnatctlError as error:
        app.warn(f"The session was forgotten here, but not ended on the server: {error.message}")


@click.command(help="Show which server, which user, and where the login comes from; asks the server whether it holds.")
@server_options
@common_options
@pass_app
def status(app: App) -> None:
    """Exit code 3 when the login does not hold."""
    from xnatctl import log

    client = app.new_client()
    chain = CredentialChain(app.registry, app.settings, interactive=False, register_secret=log.register_secret)
    client.login(chain)
    if client.login_name is None:
        raise AuthenticationError(f"{client.server} does not know us.", hint="Run xnatctl auth login.")
    expires = None if client.session_timeout is None else time.time() + client.session_timeout
    app.render(
        _document(app, server=client.server, user=client.login_name, source=chain.source, valid_until=_moment(expires))
    )
