"""`prearchive list | show | archive | delete`. Rows are named by the triple PROJECT TIMESTAMP SESSION."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from xnatctl.api import (
    Column,
    Document,
    NotArchived,
    NotFound,
    Overwrite,
    PrearchiveRef,
    Refused,
    ServerError,
    UsageError,
    XnatctlError,
    counted,
    shown_of,
)
from xnatctl.api.commands import App, Number, common_options, list_options, pass_app, server_options
from xnatctl.api.xnat import (
    ArchiveTarget,
    check_archiving,
    commit_row,
    delete_prearchive_row,
    get_prearchive_row,
    last_prearchive_log,
    list_prearchive_rows,
    list_prearchive_scans,
    prearchive_file_counts,
)
from xnatctl_archive.cli import require_project
from xnatctl_archive.comparing import archived_files, compare, waiting_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from xnatctl.api.xnat import XnatClient

_TROUBLE = ("CONFLICT", "ERROR")
#: States in which a row is idle: no upload sends to it and the server does not process it.
_AT_REST = ("READY", *_TROUBLE)
#: As XNAT writes it: 20260131_143000123, before 1.6 without milliseconds.
_TIMESTAMP = re.compile(r"\d{8}_\d{6,9}")
#: The first three columns are the arguments of the other commands.
_COLUMNS = (
    Column(key="project"),
    Column(key="timestamp"),
    Column(key="session"),
    Column(key="subject", drop=2),
    Column(key="status", drop=1),
    Column(key="scan_date", time=True, drop=4),
    Column(key="uploaded", time=True, drop=3),
    Column(key="tag", title="Study", drop=5),
    *(Column(key=key, detail=True) for key in ("name", "autoarchive", "prevent_auto_commit")),
    Column(key="lastmod", time=True, detail=True),
    Column(key="url", detail=True),
)


def _triple(function: Callable[..., Any]) -> Callable[..., Any]:
    """PROJECT TIMESTAMP SESSION, exactly as `prearchive list` prints them."""
    for name, shown in (("folder", "SESSION"), ("timestamp", "TIMESTAMP"), ("project", "PROJECT")):
        function = click.argument(name, metavar=shown, cls=_Part)(function)
    return function


class _Part(click.Argument):
    """A part of the triple. PROJECT SESSION lacks the timestamp, and not the session as click would say."""

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        project, given, session = (opts.get(name) for name in ("project", "timestamp", "folder"))
        if isinstance(given, str) and not isinstance(session, str) and not _TIMESTAMP.fullmatch(given):
            rows = ctx.ensure_object(App).commands.command("prearchive", "list", "-P", str(project))
            raise UsageError(
                f"Missing: TIMESTAMP, which stands before the session; {given!r} is none.", hint=f"Copy it from: {rows}"
            )
        return super().handle_parse_result(ctx, opts, args)


@click.command(name="list", help="List the sessions in the prearchive.")
@click.option("-P", "--project", help="Only this project.  [default: default_project of the profile, or all]")
@click.option("--all-projects", is_flag=True, help="All projects, whatever default_project of the profile is.")
@list_options(_COLUMNS)
@server_options
@common_options
@pass_app
def list_rows(app: App, project: str | None, all_projects: bool) -> None:
    """List rows; the first three columns are the arguments of the other commands."""
    if project is not None and all_projects:
        raise UsageError("-P and --all-projects exclude each other.")
    if not all_projects:
        project = app.project_or_default(project)
    client = app.connect()
    if project is not None:
        require_project(client, project)
    found = list_prearchive_rows(client, project)
    rows = [{**asdict(row), "session": row.folder} for row in found]
    schema = "xnatctl.prearchive/1"

    def lines(shown: Sequence[Mapping[str, Any]], total: int) -> Iterator[str]:
        yield f"{shown_of(len(shown), total, 'session')} waiting."
        for row in shown:
            if row["status"] in _TROUBLE:
                triple = row["project"], row["timestamp"], row["folder"]
                look = app.commands.command("prearchive", "show", *triple)
                yield f"{row['folder']} is {row['status']}; see why: {look}"

    app.render(
        Document(
            schema=schema,
            data={"schema": schema, "sessions": rows},
            listed="sessions",
            columns=_COLUMNS,
            rows=rows,
            identifiers=tuple(f"{row.project} {row.timestamp} {row.folder}" for row in found),
            summary=tuple(lines(rows, len(rows))),
            summarize=lines,
        )
    )


def _row(client: XnatClient, ref: PrearchiveRef) -> Any:
    row = get_prearchive_row(client, ref)
    if row is None:
        raise NotFound(
            f"The prearchive of project {ref.project} has no session {ref.timestamp} {ref.folder}.",
            hint=f"See what is there: {client.commands.command('prearchive', 'list', '-P', ref.project)}",
        )
    return row


@click.command(help="Show one prearchive session: its scans, and its server log.")
@_triple
@server_options
@common_options
@pass_app
def show(app: App, project: str, timestamp: str, folder: str) -> None:
    """Scans are known once the server has read the session."""
    client = app.connect()
    ref = PrearchiveRef(project=project, timestamp=timestamp, folder=folder)
    row = _row(client, ref)
    try:
        counts = prearchive_file_counts(client, ref) or {}
        scans = [
            {
                "id": scan.get("ID", ""),
                "series_description": scan.get("series_description", ""),
                "files": counts.get(scan.get("ID", "")),
            }
            for scan in list_prearchive_scans(client, ref)
        ]
    except NotFound:
        scans = []
    log = last_prearchive_log(client, ref)
    schema = "xnatctl.prearchive-session/1"
    app.render(
        Document(
            schema=schema,
            data={"schema": schema, **asdict(row), "session": row.folder, "scans": scans, "log": log},
            title=f"{row.name}, subject {row.subject or '(none)'}, {row.status}",
            columns=(
                Column(key="id"),
                Column(key="series_description", fit="cut"),
                Column(key="files", numeric=True, count=True),
            ),
            rows=scans,
            identifiers=(f"{row.project} {row.timestamp} {row.folder}",),
            summary=(
                *(("The server has not read the session yet: no scans are known.",) if not scans else ()),
                *((f"The server says: {log}",) if log else ()),
            ),
        )
    )


@click.command(help="Archive a prearchive session, and wait until it is archived.")
@_triple
@click.option("--subject", help="Archive under this subject instead.")
@click.option("--label", help="Archive under this session label instead.")
@click.option(
    "--overwrite",
    type=click.Choice([str(policy) for policy in Overwrite]),
    default=str(Overwrite.NONE),
    show_default=True,
    help="If the archive already holds the session: refuse (none), add new files (append), or add files and "
    "replace matching ones (delete).",
)
@click.option(
    "--wait",
    type=Number(min=1),
    default=1800,
    metavar="SECONDS",
    show_default=True,
    help="How long to wait until the session is archived.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")
@server_options
@common_options
@pass_app
def archive(
    app: App,
    project: str,
    timestamp: str,
    folder: str,
    subject: str | None,
    label: str | None,
    overwrite: str,
    wait: float,
    dry_run: bool,
) -> None:
    """XNAT itself would always merge; so an existing session is looked for first, and the archived one is compared."""
    for flag, value in (("--subject", subject), ("--label", label)):
        if value is not None and not value.strip():
            raise UsageError(f"{flag} is empty.", hint=f"Give {flag} a label, or omit it to keep the present one.")
    client = app.connect()
    ref = PrearchiveRef(project=project, timestamp=timestamp, folder=folder)
    row = _row(client, ref)
    target, session = subject or row.subject, label or row.name
    policy = Overwrite(overwrite)
    if not target:
        raise Refused(f"{folder} names no subject.", hint="Name one with --subject.")
    existing = check_archiving(client, row, subject=target, session=session)
    if policy is Overwrite.APPEND and existing is not None and (target, session) != (row.subject, row.name):
        raise Refused(
            "Adding to a session works only under the labels that the waiting session has: "
            f"subject {row.subject}, session {row.name}.",
            hint="Omit --subject and --label, or use --overwrite delete.",
        )
    if existing is not None and policy is Overwrite.NONE:
        raise Refused(
            f"Session {session} exists already in project {project} ({existing.id}), and --overwrite none does not "
            "change existing sessions.",
            hint="Choose another label with --label, or add to it with --overwrite append, or with --overwrite delete, "
            "which also replaces what matches.",
        )
    if dry_run:
        _say(app, row, "would be archived", target, session, None)
        return
    waiting = waiting_files(client, ref)
    before = archived_files(client, existing.id, waiting or Counter()) if existing is not None else Counter[str]()
    if policy is Overwrite.APPEND and existing is not None and waiting and (held := waiting & before):
        words = ("prearchive", "archive", *ref.triple, "--subject", target, "--label", session, "--overwrite", "delete")
        raise Refused(
            f"Session {session} ({existing.id}) holds {held.total()} of the {counted(waiting.total(), 'file')} that "
            "wait, and XNAT refuses to add any of them with --overwrite append; compared by name.",
            hint="If the session is complete, delete the prearchive session with: "
            f"{app.commands.command('prearchive', 'delete', *ref.triple)} "
            f"or replace existing files and add the rest with: {app.commands.command(*words)}",
        )
    done = commit_row(
        client, ref, ArchiveTarget(project=project, subject=target, session=session, study=row.tag),
        overwrite=policy, wait=wait, emit=app.tell,
    )  # fmt: skip
    summary = _prove(client, row, done, waiting, before)
    _say(app, row, "archived", done.session.subject_label or target, done.session.label, done.session.id, summary)


def _prove(client: XnatClient, row: Any, done: Any, waiting: Counter[str] | None, before: Counter[str]) -> str:
    """What was compared, as a sentence. Raises NotArchived when the session does not hold what waited."""
    session = done.session
    where = f"session {session.label} ({session.id})"
    look = f"Show it with: {client.commands.command('session', 'show', session.id)}"
    if waiting is None:
        if done.confirmed:
            return "The server could not list the files of the prearchive session, so they were not compared."
        raise NotArchived(
            f"{row.ref} is no longer in the prearchive, and the server did not report why: it was archived or "
            f"deleted meanwhile. It could not be compared with {where}.",
            hint=look,
        )
    try:
        found = compare(waiting, before, archived_files(client, session.id, waiting))
    except (NotFound, ServerError) as error:
        raise NotArchived(
            f"{row.ref} left the prearchive for {where}, but the server could not list its files: {error.message}",
            hint=look,
        ) from error
    if found.missing:
        raise NotArchived(
            f"{row.ref} left the prearchive, but {where} holds {found.files - len(found.missing):,} of its "
            f"{counted(found.files, 'file')}; the first that it does not hold is {found.missing[0]}.",
            hint="The prearchive session may have been deleted or changed meanwhile, or an anonymisation script "
            f"rejected files. {look}",
        )
    if not done.confirmed and found.before == found.files:
        raise NotArchived(
            f"{row.ref} is no longer in the prearchive, and the server did not report why: it was archived or "
            f"deleted meanwhile. {where[0].upper()}{where[1:]} held files of the same names before, so the result "
            "is unknown.",
            hint=look,
        )
    return f"The session holds all {counted(found.files, 'file')} that waited; compared by name."


@click.command(help="Delete a prearchive session with its files.")
@_triple
@click.option("--yes", is_flag=True, help="Skip the confirmation.")
@click.option("--force", is_flag=True, help="Delete it even while an upload sends to it or the server processes it.")
@click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")
@server_options
@common_options
@pass_app
def delete(app: App, project: str, timestamp: str, folder: str, yes: bool, force: bool, dry_run: bool) -> None:
    """Ask for confirmation, delete, and check the result, because the server always answers 200."""
    client = app.connect()
    ref = PrearchiveRef(project=project, timestamp=timestamp, folder=folder)
    row = _row(client, ref)
    if not force:
        _refuse_busy(app, row)
    if dry_run:
        _say(app, row, "would be deleted", row.subject, row.name, None)
        return
    if not yes and not app.confirm(f"Delete {row.folder} ({row.timestamp}, {row.status}) of project {row.project}?"):
        raise _declined()
    if not force:
        _refuse_busy(app, _row(client, ref))  # an answer may take its time
    delete_prearchive_row(client, ref)
    _say(app, row, "deleted", row.subject, row.name, None)


def _refuse_busy(app: App, row: Any) -> None:
    """Raise Refused for a row that is not idle, because files that arrive meanwhile would be lost."""
    if row.status in _AT_REST:
        return
    anyway = app.commands.command("prearchive", "delete", *row.ref.triple, "--force")
    if "RECEIVING" in row.status:
        # A row that an interrupted upload left may stay so until the upload is run again.
        why = "an upload may still be sending to it, and would lose files"
        hint = (
            f"If an upload is running, wait for its end. If it was interrupted, finish it (those of this machine: "
            f"{app.commands.command('upload', 'status', server=False)}), or delete its files: {anyway}"
        )
    else:
        why = "the server is processing it"
        look = app.commands.command("prearchive", "show", *row.ref.triple)
        hint = f"Check again in a minute: {look} or delete it anyway: {anyway}"
    raise Refused(f"{row.ref} is {row.status}: {why}. Nothing was deleted.", hint=hint)


def _declined() -> XnatctlError:
    return Refused("Nothing was deleted.")


def _say(app: App, row: Any, state: str, subject: str, session: str, session_id: str | None, summary: str = "") -> None:
    schema = "xnatctl.prearchive-action/1"
    data = {
        "project": row.project,
        "timestamp": row.timestamp,
        "session": row.folder,
        "state": state,
        "subject": subject,
        "label": session,
        "id": session_id,
    }
    app.render(
        Document(
            schema=schema,
            data={"schema": schema, **data},
            columns=tuple(Column(key=key) for key in data),
            rows=[data],
            identifiers=(session_id or f"{row.project} {row.timestamp} {row.folder}",),
            summary=(summary,) if summary else (),
        )
    )
