"""The handlers of the REST API, and the routes that lead to them (xnat-api 0.1, 0.4)."""

from __future__ import annotations

from dataclasses import dataclass

from xnatctl_sandbox.http.alias_tokens import AliasTokens
from xnatctl_sandbox.http.archive_services import ArchiveServices
from xnatctl_sandbox.http.catalogs import Catalogs
from xnatctl_sandbox.http.direct_archive import DirectArchive
from xnatctl_sandbox.http.event_tracking import EventTracking
from xnatctl_sandbox.http.files import Files
from xnatctl_sandbox.http.import_service import ImportService
from xnatctl_sandbox.http.items import Items
from xnatctl_sandbox.http.listings import Listings
from xnatctl_sandbox.http.prearchive_sessions import PrearchiveSessions
from xnatctl_sandbox.http.resources import Resources
from xnatctl_sandbox.http.router import Route
from xnatctl_sandbox.http.site import Site
from xnatctl_sandbox.http.user_cache import UserCache


@dataclass(frozen=True)
class Handlers:
    """One object for each part of the REST API."""

    alias_tokens: AliasTokens
    archive_services: ArchiveServices
    catalogs: Catalogs
    direct_archive: DirectArchive
    event_tracking: EventTracking
    files: Files
    import_service: ImportService
    items: Items
    listings: Listings
    prearchive: PrearchiveSessions
    resources: Resources
    site: Site
    user_cache: UserCache


def data_routes(handlers: Handlers) -> list[Route]:
    """The routes below `/data`, `/REST` and `/data/archive`."""
    lists, items, rest, read = handlers.listings, handlers.items, handlers.prearchive, ("GET",)
    routes = [
        Route("/services/import", handlers.import_service.post, ("POST",)),
        Route("/services/archive", handlers.archive_services.archive, ("POST",)),
        Route("/services/validate-archive", handlers.archive_services.validate, ("POST",)),
        Route("/services/prearchive/{operation}", handlers.archive_services.batch, ("POST",)),
        Route("/services/refresh/catalog", handlers.catalogs.refresh, ("POST",)),
        Route("/services/tokens/{operation}", handlers.alias_tokens.answer, read),
        Route("/status/{key}", handlers.event_tracking.status, ("GET", "POST", "DELETE")),
        Route("/user/cache/resources/{name}/files", handlers.user_cache.answer),
        Route("/user/{login}/sessions", handlers.site.user_sessions, ("GET", "DELETE")),
        Route("/prearchive", rest.listing, read),
        Route("/prearchive/projects/{project}", rest.listing, read),
        Route("/prearchive/projects/{project}/{timestamp}/{folder}", rest.session),
        Route("/prearchive/projects/{project}/{timestamp}/{folder}/logs", rest.logs, read),
        Route("/prearchive/projects/{project}/{timestamp}/{folder}/scans", rest.scans, ("GET", "DELETE")),
        Route("/prearchive/projects/{project}/{timestamp}/{folder}/resources", rest.resources, read),
        Route("/search/elements", lists.search_elements, read),
        Route("/projects", lists.projects, ("GET", "POST")),
        Route("/projects/{project}", items.project_item, ("GET", "PUT")),
        Route("/projects/{project}/prearchive_code", handlers.site.prearchive_code, read),
        Route("/projects/{project}/subjects", lists.subjects, ("GET", "POST")),
        Route("/projects/{project}/subjects/{subject}", items.subject_item, ("GET", "PUT")),
        Route("/projects/{project}/experiments", lists.experiments, read),
        Route("/projects/{project}/experiments/{experiment}", items.experiment_item, ("GET", "PUT", "DELETE")),
        Route("/projects/{project}/subjects/{subject}/experiments", lists.experiments, read),
        Route("/projects/{project}/subjects/{subject}/experiments/{experiment}", items.experiment_item),
        Route("/subjects", lists.subjects, read),
        Route("/subjects/{subject}", items.subject_item, read),
        Route("/experiments", lists.experiments, read),
        Route("/experiments/{experiment}", items.experiment_item, ("GET", "DELETE")),
    ]
    parents = ["/projects/{project}", "/projects/{project}/subjects/{subject}", "/subjects/{subject}"]
    whole = "/projects/{project}/subjects/{subject}/experiments/{experiment}"
    # There is no /projects/P/experiments/E/scans and no /projects/P/experiments/E/files (0.4).
    for parent in ("/experiments/{experiment}", whole):
        routes += [
            Route(f"{parent}/scans", lists.scan_list, read),
            Route(f"{parent}/scans/{{scan}}", items.scan_item, ("GET", "PUT")),
        ]
        parents += [parent, f"{parent}/scans/{{scan}}"]
    routes += [Route(f"{parent}/files", handlers.files.answer) for parent in parents]
    for parent in [*parents, "/projects/{project}/experiments/{experiment}"]:
        routes += [
            Route(f"{parent}/resources", handlers.resources.listing, read),
            Route(f"{parent}/resources/{{resource}}", handlers.resources.one),
            Route(f"{parent}/resources/{{resource}}/files", handlers.files.answer),
        ]
    return routes


def xapi_routes(handlers: Handlers) -> list[Route]:
    """The routes below `/xapi`."""
    site, direct = handlers.site, handlers.direct_archive
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
        Route("/event_tracking/{key}", handlers.event_tracking.event, ("GET",)),
        Route("/direct-archive", direct.listing, ("POST",)),
        Route("/direct-archive/{id}", direct.delete, ("DELETE",)),
        Route("/direct-archive/{project}/{study}/{label}", direct.one, ("GET", "POST")),
    ]
