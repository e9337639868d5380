"""The site: its version and settings, and the access of this user (xnat-api 1.1, 2.2, 6; xnat-import 1.4)."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass

from xnatctl.errors import NotFound, NotXnat, PermissionDenied, ServerError
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.http.responses import whole_number
from xnatctl.xnat.http.urls import url_path


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """`tuple` is the leading numbers: `1.8.11-SNAPSHOT` gives (1, 8, 11).

    It is empty, so older than every version, for a text without numbers, such as `Unknown` if the manifest is missing.
    """

    text: str
    tuple: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectAccess:
    """`id` is the real ID if an alias was given; `prearchive_code` is 0 for manual, 4 and 5 for auto-archive."""

    exists: bool  # whether this user may see the project
    writable: bool  # whether this user may upload to it
    id: str
    prearchive_code: int | None = None


def version(client: XnatClient) -> Version:
    """The version of the server. Every client may read it (6). Raises NotXnat for a server that is not an XNAT."""
    try:
        document = client.get_json("/xapi/siteConfig/buildInfo")
    except NotFound as error:
        raise NotXnat(
            f"{client.server} is not an XNAT server: it does not report its version.",
            hint="Check the URL; if the site lives below a path (https://host/xnat), the path belongs to it.",
            status=404,
        ) from error
    text = str(document.get("version") or "").strip() if isinstance(document, dict) else ""
    if not text:
        raise NotXnat(f"{client.server} does not report its XNAT version.")
    numbers = re.match(r"\D{0,40}([0-9]{1,9}(?:\.[0-9]{1,9}){0,9})(?![0-9])", text[:100])
    pieces = numbers.group(1).split(".") if numbers is not None else []
    return Version(text=client.clean(text[:100]), tuple=tuple(map(int, pieces)))


def editable_projects(client: XnatClient) -> frozenset[str]:
    """The IDs of the projects that this user may edit (xnat-api 1.1)."""
    projects = client.get_json("/xapi/users/projects")
    if not isinstance(projects, list):
        raise NotXnat(f"{client.server} did not list the projects of {client.login_name}.")
    return frozenset(str(project) for project in projects)


def project_access(client: XnatClient, project: str) -> ProjectAccess:
    """Whether the project exists for this user, and whether data may be uploaded to it.

    The import service does not check this: it stores the data elsewhere and answers 200 (xnat-import 0.2).
    """
    path = url_path("/data/projects", project)
    try:
        item = client.get_json(path, {"format": "json"})
        real = str(item["items"][0]["data_fields"]["ID"])
    except (NotFound, PermissionDenied):  # both mean that it is not visible (xnat-api 1.8)
        return ProjectAccess(exists=False, writable=False, id=project)
    except (KeyError, IndexError, TypeError):
        raise NotXnat(f"{client.server} did not describe project {project}.") from None
    return ProjectAccess(
        exists=True, writable=_writable(client, real), id=real, prearchive_code=_prearchive_code(client, path)
    )


def _writable(client: XnatClient, project: str) -> bool:
    with suppress(NotFound, PermissionDenied):  # not every version and site offers this list
        if project in editable_projects(client):
            return True
    # Administrators may edit what their list does not name; `restrict=edit` lists all for them (xnat-api 2.2).
    return bool(client.table("/data/projects", {"restrict": "edit"}, keep=lambda row: row.get("ID") == project))


def _prearchive_code(client: XnatClient, path: str) -> int | None:
    try:
        text = client.request("GET", f"{path}/prearchive_code").text.strip()
    except (NotFound, PermissionDenied, ServerError):
        return None
    return whole_number(text)
