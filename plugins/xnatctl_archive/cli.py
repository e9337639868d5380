"""`session list`, `session show`, `scan list`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from xnatctl.api import Column, Document, NotFound, UsageError, counted, shown_of
from xnatctl.api.commands import (
    PROJECT_HELP,
    App,
    ProjectOption,
    common_options,
    list_options,
    pass_app,
    server_options,
)
from xnatctl.api.xnat import (
    file_counts,
    find_prearchive_rows,
    find_session,
    list_prearchive_rows,
    list_scans,
    list_sessions,
    session_resources,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xnatctl.api.xnat import SessionInfo, XnatClient

_SESSION_COLUMNS = (
    Column(key="id"),
    Column(key="label"),
    Column(key="subject_label", title="Subject", drop=2),
    Column(key="date", time=True, drop=3),
    Column(key="modality", drop=1),
    Column(key="uid", drop=4),
    *(Column(key=key, detail=True) for key in ("subject_id", "xsi_type")),
    Column(key="inserted", time=True, detail=True),
)


def require_project(client: XnatClient, project: str) -> None:
    """Raise NotFound for an unknown project, because some listings return an empty table for it."""
    from xnatctl.api.xnat import project_access

    if not project_access(client, project).exists:
        raise NotFound(
            f"{client.server} has no project {project}, or you may not see it.",
            hint="Check the project ID (it is case-sensitive).",
        )


@click.command(help="List the sessions of a project that are in the archive.")
@click.option("-P", "--project", cls=ProjectOption, required=True, help=PROJECT_HELP)
@click.option("-S", "--subject", help="Only sessions of this subject (label or ID).")
@click.option("--modality", help="Only sessions of this modality, such as MR.")
@list_options(_SESSION_COLUMNS)
@server_options
@common_options
@pass_app
def session_list(app: App, project: str, subject: str | None, modality: str | None) -> None:
    """Sessions in the prearchive are not listed, because they do not belong to the project yet."""
    client = app.connect()
    require_project(client, project)
    rows = [
        asdict(session)
        for session in list_sessions(client, project)
        if (subject is None or subject in (session.subject_label, session.subject_id))
        and (modality is None or _modality(session).upper() == modality.upper())
    ]
    waiting = len(list_prearchive_rows(client, project))
    schema = "xnatctl.sessions/1"

    def lines(shown: Sequence[Mapping[str, Any]], total: int) -> Iterator[str]:
        yield f"{shown_of(len(shown), total, 'session')} in project {project}."
        yield from _waiting(app, project, waiting)

    app.render(
        Document(
            schema=schema,
            data={"schema": schema, "project": project, "sessions": rows},
            listed="sessions",
            columns=_SESSION_COLUMNS,
            rows=rows,
            identifiers=tuple(str(row["id"]) for row in rows),
            summary=tuple(lines(rows, len(rows))),
            summarize=lines,
        )
    )


def _modality(session: SessionInfo) -> str:
    """The modality; from the data type if the column is empty: `xnat:mrSessionData` gives MR."""
    return session.modality or session.xsi_type.partition(":")[2].removesuffix("SessionData")


def _waiting(app: App, project: str, count: int) -> tuple[str, ...]:
    if not count:
        return ()
    wait = "1 more session waits" if count == 1 else f"{count:,} more sessions wait"
    return (f"{wait} in the prearchive: {app.commands.command('prearchive', 'list', '-P', project)}",)


def _find(client: XnatClient, project: str | None, session: str) -> Any:
    """Find the session. Raises NotFound with a hint where else to look."""
    if project is not None:
        require_project(client, project)
    found = find_session(client, project, session)
    if found is not None:
        return found
    if project is None:
        raise NotFound(
            f"There is no session with the accession ID {session}, or you may not see it.",
            hint="A label is looked up in a project: add -P PROJECT.",
        )
    waits = find_prearchive_rows(client, project, label=session)
    raise NotFound(
        f"Project {project} has no session {session}.",
        hint="It waits in the prearchive: " + client.commands.command("prearchive", "list", "-P", project)
        if waits
        else "See what is there: " + client.commands.command("session", "list", "-P", project),
    )


def _scan_rows(client: XnatClient, session_id: str) -> list[dict[str, Any]]:
    counts = file_counts(client, session_id)
    return [{**asdict(scan), "files": counts.get(scan.id, 0)} for scan in list_scans(client, session_id)]


def _sizes(scans: Sequence[Mapping[str, Any]], total: int) -> str:
    return f"{shown_of(len(scans), total, 'scan')}, {counted(sum(scan['files'] for scan in scans), 'file')}"


#: The help of `-P` where an accession ID needs none.
_LOOK_UP = "Project ID; needed to look up a label.  [default: default_project of the profile]"
_SCAN_COLUMNS = (
    Column(key="id"),
    Column(key="type", fit="cut"),
    Column(key="series_description", fit="cut", drop=1),
    Column(key="modality", drop=2),
    Column(key="frames", numeric=True, count=True, drop=4),
    Column(key="files", numeric=True, count=True),
    Column(key="quality", drop=3),
    Column(key="uid", drop=5),
    *(Column(key=key, detail=True) for key in ("xsi_type", "note")),
)


@click.command(help="Show one session of the archive with its scans and resources.")
@click.argument("name", metavar="[SESSION]", required=False)
@click.option("-E", "--session", help="The same as SESSION.")
@click.option("-P", "--project", help=_LOOK_UP)
@server_options
@common_options
@pass_app
def session_show(app: App, name: str | None, session: str | None, project: str | None) -> None:
    """By label in a project, or by accession ID."""
    if (name is None) == (session is None):
        raise UsageError("Name one session, as SESSION or with -E.")
    project = app.project_or_default(project, name or session)
    client = app.connect()
    found = _find(client, project, name or session or "")
    scans = _scan_rows(client, found.id)
    resources = [asdict(resource) for resource in session_resources(client, found.id)]
    schema = "xnatctl.session/1"
    own = [resource["label"] for resource in resources if resource["category"] == "resources"]
    app.render(
        Document(
            schema=schema,
            data={"schema": schema, **asdict(found), "scans": scans, "resources": resources},
            title=f"{found.label} ({found.id}), subject {found.subject_label}, project {found.project}",
            columns=_SCAN_COLUMNS,
            rows=scans,
            identifiers=(found.id,),
            summary=(
                f"{_sizes(scans, len(scans))}.",
                f"Study {found.uid or '(unknown)'}.",
                *((f"Resources: {', '.join(own)}",) if own else ()),
            ),
        )
    )


@click.command(help="List the scans of a session of the archive.")
@click.option("-E", "--session", required=True, help="Session label (with -P) or accession ID.")
@click.option("-P", "--project", help=_LOOK_UP)
@list_options(_SCAN_COLUMNS)
@server_options
@common_options
@pass_app
def scan_list(app: App, session: str, project: str | None) -> None:
    """List one row per scan, with its file count."""
    project = app.project_or_default(project, session)
    client = app.connect()
    found = _find(client, project, session)
    rows = _scan_rows(client, found.id)
    schema = "xnatctl.scans/1"

    def lines(shown: Sequence[Mapping[str, Any]], total: int) -> tuple[str, ...]:
        return (f"{_sizes(shown, total)} in {found.label} ({found.id}).",)

    app.render(
        Document(
            schema=schema,
            data={"schema": schema, "session": asdict(found), "scans": rows},
            listed="scans",
            columns=_SCAN_COLUMNS,
            rows=rows,
            identifiers=tuple(str(row["id"]) for row in rows),
            summary=lines(rows, len(rows)),
            summarize=lines,
        )
    )
