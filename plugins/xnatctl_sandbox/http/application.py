"""The WSGI application: log, faults, login, routing, error pages, in the order of XNAT's own filters.

See xnat-api 0.2.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from werkzeug import Request, Response
from werkzeug.exceptions import ClientDisconnected

from xnatctl_sandbox.archive.archive_jobs import Archiving
from xnatctl_sandbox.faults import responses as fault_responses
from xnatctl_sandbox.faults import rules as faults
from xnatctl_sandbox.http.accounts import Accounts, HttpSession, Refused
from xnatctl_sandbox.http.alias_tokens import AliasTokens
from xnatctl_sandbox.http.archive_services import Services
from xnatctl_sandbox.http.catalogs import Catalogs
from xnatctl_sandbox.http.control import Control
from xnatctl_sandbox.http.file_upload import Storing
from xnatctl_sandbox.http.files import Files
from xnatctl_sandbox.http.import_service import Importing
from xnatctl_sandbox.http.listings import Listings
from xnatctl_sandbox.http.prearchive_sessions import PrearchiveRest
from xnatctl_sandbox.http.resource_parents import Parents
from xnatctl_sandbox.http.resources import Resources
from xnatctl_sandbox.http.responses import Call, StatusError, escape_parameter, status_page, text
from xnatctl_sandbox.http.routes import Route, Router
from xnatctl_sandbox.http.site import Site
from xnatctl_sandbox.http.user_cache import UserCache

if TYPE_CHECKING:
    from xnatctl_sandbox.server import Sandbox

#: Open to anyone: `/data/JSESSION`, `/data/services/auth` and their twins, and a few xapi pages (0.3).
_OPEN = re.compile(r"/(data|REST)/(JSESSION|services/auth)/?|/xapi/siteConfig/(buildInfo|siteId|siteUrl)/?")
_LOGIN = "/app/template/Login.vm"
#: What Spring's firewall refuses in a raw path (0.11).
_FIREWALL = re.compile(r";|%2f|%5c|%25|%2e|//|/\.{1,2}(?=/|$)", re.IGNORECASE)


class Application:
    """One sandbox's WSGI callable."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._accounts = Accounts(sandbox.state)
        self.accounts = self._accounts
        self._listings = Listings(sandbox)
        parents = Parents(sandbox.state, self._listings)
        storing = Storing(sandbox, parents)
        self._resources = Resources(sandbox, parents, storing)
        self._files = Files(sandbox, parents, storing)
        self._catalogs = Catalogs(sandbox, parents)
        self._site = Site(sandbox, self._accounts)
        self._tokens = AliasTokens(sandbox.state, self._accounts)
        archiving = Archiving(sandbox)
        self._prearchive_rest = PrearchiveRest(sandbox, archiving)
        self._services = Services(sandbox, self._prearchive_rest, archiving)
        self._cache = UserCache(sandbox)
        self._importing = Importing(sandbox, self._cache)
        self._control = Control(sandbox)
        self._at_work = threading.Condition()
        self._connections: set[socket.socket] = set()  # of the requests at work
        self._ending = False
        self._data = Router(self._data_routes())
        self._xapi = Router(self._xapi_routes(), exact=True)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        connection = environ["werkzeug.socket"]
        with self._at_work:
            if self._ending:
                faults.cut(connection, reset=True)
                raise ConnectionAbortedError
            self._connections.add(connection)
        try:
            return self._serve(environ, start_response)
        finally:
            with self._at_work:
                self._connections.discard(connection)
                self._at_work.notify_all()

    def end(self) -> None:
        """Let the requests at work finish, and cut those that still come on kept connections: the server is gone.

        A client that has not sent all of its request by then is not waited for.
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
        if not request.path.startswith("/sandbox/"):
            self._sandbox.requests.append(entry)
        try:
            response = self._answer(request)
        except faults.Cut as cut:
            entry["status"] = -1
            faults.cut(environ["werkzeug.socket"], reset=cut.reset)
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
        if request.path.startswith("/sandbox/"):
            return self._control.answer(request)
        rule = self._sandbox.faults.pick(faults.describe(request))
        if rule is not None:
            if rule["action"] == "expire-session":
                self._accounts.end_all(str(rule.get("login", "alice")))
            elif (instead := faults.before(rule, request)) is not None:
                return instead
        response = self._handle(request, rule if rule is not None and rule["action"] in faults.STORING else None)
        if rule is not None and rule["action"] in faults.AFTER:
            if rule["action"] == "store-then-cut":
                raise faults.Cut
            return fault_responses.status(rule, request)
        return response

    def _handle(self, request: Request, fault: Mapping[str, Any] | None) -> Response:
        raw = urlsplit(request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or request.path).path
        prefix = self._sandbox.context_path
        if not raw.startswith(prefix):
            return text("", 404)
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
        """Expired passwords, rights to the URL, then the handler."""
        state = self._sandbox.state
        data_path = raw.startswith(("/data/", "/REST/", "/xapi/"))
        user = state.users.get(session.login or "")
        if user is not None and user.expired_password:
            return self._accounts.redirect("/app/template/XDATScreen_UpdateUser.vm", request)
        if not data_path:
            return self._page(request, raw, session)
        if session.login is None and state.site["requireLogin"] and not _OPEN.fullmatch(raw):
            return self._accounts.unauthenticated(request, data_path=True)
        call = Call(state, request, session.login, fault=fault, messages=session.messages)
        try:
            return self._dispatch(call, raw, session)
        except StatusError as error:
            if raw.startswith("/xapi/"):
                return text(error.description, error.status)
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
        """Screens for browsers: one login page stands for all; the home page carries the session's token."""
        if raw == "/" and session.login is not None:
            body = f"<!DOCTYPE html>\n<html><head><script>var csrfToken = '{session.csrf}';</script></head></html>\n"
            return Response(body, 200, content_type="text/html")
        if raw.rstrip("/") == _LOGIN:
            body = "<!DOCTYPE html>\n<html><head><title>XNAT sandbox</title></head><body>Please log in.</body></html>\n"
            return Response(body, 200, content_type="text/html")
        return self._accounts.redirect(_LOGIN, request)

    def _data_routes(self) -> list[Route]:
        lists, rest, read = self._listings, self._prearchive_rest, ("GET",)
        routes = [
            Route("/services/import", self._importing.post, ("POST",)),
            Route("/services/archive", self._services.archive, ("POST",)),
            Route("/services/validate-archive", self._services.validate, ("POST",)),
            Route("/services/prearchive/{operation}", self._services.batch, ("POST",)),
            Route("/services/refresh/catalog", self._catalogs.refresh, ("POST",)),
            Route("/services/tokens/{operation}", self._tokens.answer, read),
            Route("/status/{key}", self._sandbox.tracking.status, ("GET", "POST", "DELETE")),
            Route("/user/cache/resources/{name}/files", self._cache.answer),
            Route("/user/{login}/sessions", self._site.user_sessions, ("GET", "DELETE")),
            Route("/prearchive", rest.listing, read),
            Route("/prearchive/projects/{project}", rest.listing, read),
            Route("/prearchive/projects/{project}/{timestamp}/{folder}", rest.session),
            Route("/prearchive/projects/{project}/{timestamp}/{folder}/logs", rest.logs, read),
            Route("/prearchive/projects/{project}/{timestamp}/{folder}/scans", rest.scans, ("GET", "DELETE")),
            Route("/prearchive/projects/{project}/{timestamp}/{folder}/resources", rest.resources, read),
            Route("/search/elements", lists.search_elements, read),
            Route("/projects", lists.projects, ("GET", "POST")),
            Route("/projects/{project}", lists.project_item, ("GET", "PUT")),
            Route("/projects/{project}/prearchive_code", self._site.prearchive_code, read),
            Route("/projects/{project}/subjects", lists.subjects, ("GET", "POST")),
            Route("/projects/{project}/subjects/{subject}", lists.subject_item, ("GET", "PUT")),
            Route("/projects/{project}/experiments", lists.experiments, read),
            Route("/projects/{project}/experiments/{experiment}", lists.experiment_item, ("GET", "PUT", "DELETE")),
            Route("/projects/{project}/subjects/{subject}/experiments", lists.experiments, read),
            Route("/projects/{project}/subjects/{subject}/experiments/{experiment}", lists.experiment_item),
            Route("/subjects", lists.subjects, read),
            Route("/subjects/{subject}", lists.subject_item, read),
            Route("/experiments", lists.experiments, read),
            Route("/experiments/{experiment}", lists.experiment_item, ("GET", "DELETE")),
        ]
        parents = ["/projects/{project}", "/projects/{project}/subjects/{subject}", "/subjects/{subject}"]
        whole = "/projects/{project}/subjects/{subject}/experiments/{experiment}"
        # There is no /projects/P/experiments/E/scans and no /projects/P/experiments/E/files (0.4).
        for parent in ("/experiments/{experiment}", whole):
            routes += [
                Route(f"{parent}/scans", lists.scan_list, read),
                Route(f"{parent}/scans/{{scan}}", lists.scan_item, ("GET", "PUT")),
            ]
            parents += [parent, f"{parent}/scans/{{scan}}"]
        routes += [Route(f"{parent}/files", self._files.answer) for parent in parents]
        for parent in [*parents, "/projects/{project}/experiments/{experiment}"]:
            routes += [
                Route(f"{parent}/resources", self._resources.listing, read),
                Route(f"{parent}/resources/{{resource}}", self._resources.one),
                Route(f"{parent}/resources/{{resource}}/files", self._files.answer),
            ]
        return routes

    def _xapi_routes(self) -> list[Route]:
        site, direct = self._site, self._sandbox.direct
        return [
            Route("/siteConfig", site.site_config, ("GET",)),
            Route("/siteConfig/buildInfo", site.build_info, ("GET",)),
            Route("/siteConfig/buildInfo/{key}", site.build_info, ("GET",)),
            Route("/siteConfig/uptime", site.uptime, ("GET",)),
            Route("/siteConfig/{key}", site.site_config, ("GET",)),
            Route("/users/username", site.username, ("GET",)),
            Route("/users/profile", site.profile, ("GET",)),
            Route("/users/projects", site.user_projects, ("GET",)),
            Route("/users/active/{login}", site.active, ("GET", "DELETE")),
            Route("/users/{login}", site.profile, ("GET",)),
            Route("/schemas", site.schemas, ("GET",)),
            Route("/schemas/{name}", site.schemas, ("GET",)),
            Route("/schemas/{name}/{file}", site.schemas, ("GET",)),
            Route("/dicomscp", site.dicomscp, ("GET",)),
            Route("/dicomscp/{key}", site.dicomscp, ("GET",)),
            Route("/event_tracking/{key}", self._sandbox.tracking.event, ("GET",)),
            Route("/direct-archive", direct.listing, ("POST",)),
            Route("/direct-archive/{id}", direct.delete, ("DELETE",)),
            Route("/direct-archive/{project}/{study}/{label}", direct.one, ("GET", "POST")),
        ]


def _drain(request: Request) -> None:
    """Read what is left of a body, so that a kept-alive connection stays in step."""
    try:
        while request.stream.read(1 << 18):
            pass
    except (OSError, ValueError, ClientDisconnected):
        return  # the client has gone
