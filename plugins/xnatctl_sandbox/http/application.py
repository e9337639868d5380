"""The WSGI application: log, faults, login, routing, error pages, in the order of XNAT's own filters.

See xnat-api 0.2.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from werkzeug import Request, Response
from werkzeug.exceptions import ClientDisconnected

from xnatctl_sandbox.faults import http_faults, responses
from xnatctl_sandbox.faults.connections import drop_connection
from xnatctl_sandbox.faults.rules import Faults
from xnatctl_sandbox.http.accounts import Accounts, HttpSession, Refused
from xnatctl_sandbox.http.call import Call, escape_parameter
from xnatctl_sandbox.http.control import Control
from xnatctl_sandbox.http.responses import status_page, text_response
from xnatctl_sandbox.http.rest_routes import Handlers, data_routes, xapi_routes
from xnatctl_sandbox.http.router import Router
from xnatctl_sandbox.world.concurrency import Concurrency
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.state import State

#: Open to anyone: `/data/JSESSION`, `/data/services/auth` and their twins, and a few xapi pages (0.3).
_OPEN = re.compile(r"/(data|REST)/(JSESSION|services/auth)/?|/xapi/siteConfig/(buildInfo|siteId|siteUrl)/?")
_LOGIN = "/app/template/Login.vm"
#: What Spring's firewall refuses in a raw path (0.11).
_FIREWALL = re.compile(r";|%2f|%5c|%25|%2e|//|/\.{1,2}(?=/|$)", re.IGNORECASE)


class Application:
    """The WSGI callable of one sandbox."""

    def __init__(
        self,
        state: State,
        accounts: Accounts,
        handlers: Handlers,
        control: Control,
        faults: Faults,
        requests: list[dict[str, Any]],
        concurrency: Concurrency,
        context_path: str,
    ) -> None:
        self._state = state
        self._accounts = accounts
        self._site = handlers.site
        self._control = control
        self._faults = faults
        self._requests = requests
        self._concurrency = concurrency
        self._context_path = context_path
        self._at_work = threading.Condition()
        self._connections: set[socket.socket] = set()  # of the requests at work
        self._ending = False
        self._data = Router(data_routes(handlers))
        self._xapi = Router(xapi_routes(handlers), exact=True)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        connection = environ["werkzeug.socket"]
        with self._at_work:
            if self._ending:
                drop_connection(connection, reset=True)
                raise ConnectionAbortedError
            self._connections.add(connection)
        try:
            return self._serve(environ, start_response)
        finally:
            with self._at_work:
                self._connections.discard(connection)
                self._at_work.notify_all()

    def end(self) -> None:
        """Let the requests at work finish, and cut those that still come on kept connections, as a stopped server does.

        It does not wait for a client that has not sent its whole request by then.
        """
        with self._at_work:
            self._ending = True
            if not self._at_work.wait_for(lambda: not self._connections, timeout=2):
                for connection in self._connections:
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RD)
            self._at_work.wait_for(lambda: not self._connections, timeout=10)

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        request.max_form_memory_size = None
        request.max_form_parts = 1_000_000
        entry = {"method": request.method, "path": request.path, "query": request.query_string.decode(), "status": 0}
        try:
            if request.path.startswith("/sandbox/"):
                response = self._control.answer(request)
            else:
                self._requests.append(entry)
                with self._concurrency.requests.during(id(entry)):
                    response = self._answer(request)
        except http_faults.Cut as cut:
            entry["status"] = -1
            drop_connection(environ["werkzeug.socket"], reset=cut.reset)
            raise ConnectionAbortedError from None  # werkzeug answers nothing, and says nothing
        except ClientDisconnected:
            entry["status"] = -1
            raise ConnectionAbortedError from None
        finally:
            request.close()  # the parts of a form
        entry["status"] = response.status_code
        _drain(request)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        rule = self._faults.pick(http_faults.describe(request))
        if rule is not None:
            if rule["action"] == "expire-session":
                self._accounts.end_all(str(rule.get("login", "alice")))
            elif (instead := http_faults.before(rule, request)) is not None:
                return instead
        response = self._handle(request, rule if rule is not None and rule["action"] in http_faults.STORING else None)
        if rule is not None and rule["action"] in http_faults.AFTER:
            response.close()  # of a file, it is open
            if rule["action"] == "store-then-cut":
                raise http_faults.Cut
            return responses.status(rule, request)
        return response

    def _handle(self, request: Request, fault: Mapping[str, Any] | None) -> Response:
        raw = urlsplit(request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or request.path).path
        prefix = self._context_path
        if not raw.startswith(prefix):
            return text_response("", 404)
        raw = raw[len(prefix) :]
        if _FIREWALL.search(raw):
            return Response("<html><body>The request was rejected.</body></html>", 500, content_type="text/html")
        try:
            session, new = self._accounts.identify(request)
        except Refused as refused:
            return refused.response
        response = self._guarded(request, raw, session, fault)
        if isinstance(response, tuple):
            response, session = response
            new = True
        self._accounts.set_cookies(response, session, prefix or "/", new=new)
        return response

    def _guarded(
        self, request: Request, raw: str, session: HttpSession, fault: Mapping[str, Any] | None
    ) -> Response | tuple[Response, HttpSession]:
        """Check for an expired password, then the rights to the URL, then call the handler."""
        state = self._state
        data_path = raw.startswith(("/data/", "/REST/", "/xapi/"))
        user = state.users.get(session.login or "")
        if user is not None and user.expired_password:
            return self._accounts.redirect("/app/template/XDATScreen_UpdateUser.vm", request)
        if not data_path:
            return self._page(request, raw, session)
        if session.login is None and state.site["requireLogin"] and not _OPEN.fullmatch(raw):
            return self._accounts.unauthenticated(request, data_path=True)
        call = Call(request, session.login, fault=fault, status_lists=session.status_lists)
        try:
            return self._dispatch(call, raw, session)
        except StatusError as error:
            if raw.startswith("/xapi/"):
                return text_response(error.description, error.status)
            return status_page(error.status, error.description)

    def _dispatch(self, call: Call, raw: str, session: HttpSession) -> Response | tuple[Response, HttpSession]:
        servlet, _, rest = raw.lstrip("/").partition("/")
        if servlet == "xapi":
            return self._run(call, self._xapi, rest)
        if not self._accounts.csrf_ok(call.request, session):
            raise StatusError(500)  # thrown by the guard (1.6)
        if rest.rstrip("/") == "JSESSION":
            return self._site.jsession(call, session)
        if rest.rstrip("/") == "auth":
            return self._site.auth(call, session)
        if rest.rstrip("/") == "services/auth":
            response, opened = self._site.services_auth(call)
            return (response, opened) if opened is not None else response
        if rest.startswith("archive/"):
            rest = rest.removeprefix("archive/")  # most routes exist below /data/archive too (0.1)
        return self._run(call, self._data, rest)

    @staticmethod
    def _run(call: Call, router: Router, rest: str) -> Response:
        found = router.find(rest)
        if found is None:
            raise StatusError(404)
        route, parts, call.rest = found
        call.parts = {name: escape_parameter(value) for name, value in parts.items()}
        method = "GET" if call.method == "HEAD" else call.method
        if route.methods is not None and method not in route.methods:
            raise StatusError(405)
        return route.handler(call)

    def _page(self, request: Request, raw: str, session: HttpSession) -> Response:
        """Pages for browsers: one login page for all; the home page carries the CSRF token of the session."""
        if raw == "/" and session.login is not None:
            body = f"<!DOCTYPE html>\n<html><head><script>var csrfToken = '{session.csrf}';</script></head></html>\n"
            return Response(body, 200, content_type="text/html")
        if raw.rstrip("/") == _LOGIN:
            body = "<!DOCTYPE html>\n<html><head><title>XNAT sandbox</title></head><body>Please log in.</body></html>\n"
            return Response(body, 200, content_type="text/html")
        return self._accounts.redirect(_LOGIN, request)


def _drain(request: Request) -> None:
    """Read what is left of a body, so that a kept-alive connection stays in step."""
    try:
        while request.stream.read(1 << 18):
            pass
    except (OSError, ValueError, ClientDisconnected):
        return  # the client has gone
