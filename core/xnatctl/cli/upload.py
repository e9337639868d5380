"""`upload status | resume | forget`: lists, finishes and forgets the uploads in the journals on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from xnatctl.cli.app import App, pass_app, pass_unchecked
from xnatctl.cli.attached_view import state_text
from xnatctl.cli.builtin import BUILTIN
from xnatctl.cli.console import one_line
from xnatctl.cli.list_options import list_options
from xnatctl.cli.option_values import restored_options
from xnatctl.cli.options import ReportOptionsCommand, common_options, retry_option, server_options
from xnatctl.cli.uploading import Upload, run_upload
from xnatctl.errors import ConfigError, JournalError, NotFound, PluginUnavailable, Refused, UsageError
from xnatctl.model.document import Column, Document
from xnatctl.model.outcome import Outcome
from xnatctl.model.plan import UploadRequest
from xnatctl.model.words import counted, listed, part_of, shown_of

if TYPE_CHECKING:
    from xnatctl.delivery.journal.records import JournalEntry, Left
    from xnatctl.delivery.journal.summaries import Summary

_COLUMNS = (
    Column(key="id"),
    Column(key="server", detail=True, drop=2),
    *(Column(key=key, detail=True) for key in ("project", "subject", "session", "resource")),
    Column(key="transport", detail=True),
    Column(key="to"),
    Column(key="checked_in", detail=True, drop=2),
    Column(key="from", fit="cut", detail=True),
    Column(key="root", detail=True),
    Column(key="state", detail=True),
    Column(key="progress", title="State"),
    *(
        Column(key=key, detail=True, numeric=True, count=True)
        for key in ("found", "delivered", "undelivered", "earlier")
    ),
    Column(key="updated", title="Last change", time=True, drop=1),
    Column(key="changed", detail=True),
)
#: Options of the login, as they are named in `App.given`.
_LOGIN = ("url", "username", "password", "password_stdin", "timeout", "insecure")
_ITEM_COLUMNS = (Column(key="path"), Column(key="state"), Column(key="reason", fit="wrap"))
#: Files that a person reads one by one; more are shown by reason.
_MOST_ROWS = 20


@click.command(name="status", short_help="List uploads and files that were not delivered.")
@click.argument("dest", required=False)
@click.option("--unfinished", is_flag=True, help="Only incomplete uploads.")
@list_options((*_COLUMNS, *_ITEM_COLUMNS))
@common_options
@pass_app
def status(app: App, dest: str | None, unfinished: bool) -> None:
    """List the uploads made from this machine; contacts no server.

    With DEST (an ID from the list, PROJECT/SESSION, a session label, SESSION/RESOURCE, or the address of a receiver),
    show the files of one upload that were not delivered.
    """
    found = [summary for summary in app.journals() if not (unfinished and _state(summary) == "complete")]
    if dest is None:
        app.render(_list_document(app, found))
    else:
        app.render(_one_document(app, _choose(app, found, dest)))


@click.command(name="resume", cls=ReportOptionsCommand, short_help="Finish an upload that was interrupted.")
@click.argument("dest")
@retry_option
@server_options
@common_options
@pass_unchecked
def resume(app: App, dest: str) -> None:
    """Finish an upload with its original options; send only files that are not proven to be on the server.

    DEST is an ID from `upload status`, PROJECT/SESSION, a session label, SESSION/RESOURCE, or the address of a
    receiver.
    """
    summary = _choose(app, app.journals(), dest)
    if summary.problem is not None:
        raise JournalError(summary.problem, hint="Run the original upload command with --no-resume.")
    asked, studies = _to_finish(summary)
    try:
        request = UploadRequest.from_document(asked["request"])
        wait = asked.get("wait")
        wait = None if wait is None else float(wait)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise JournalError(
            f"{summary.path} does not record the command of the upload.", hint="Run the original upload command again."
        ) from None
    _require_planner(app, request.command)
    server = request.destination.server if request.settles else request.follow.server if request.follow else None
    if server is None:
        _refuse_login(app, request)
    else:
        given = app.given.get("url")
        if given is None:
            app.given |= {"url": server, "recorded": "journal of the upload"}
        elif given.rstrip("/") != server:
            raise UsageError(
                f"This upload goes to {server}, not to {given}.",
                hint="Omit --url. To upload to another server, run the original upload command with it.",
            )
    app.check_frame()  # the journal names the server
    request = replace(request, options=restored_options(app, request))
    address = "" if request.settles else request.destination.server
    run_upload(app, Upload(request=request, wait=wait, studies=studies, address=address))


def _refuse_login(app: App, request: UploadRequest) -> None:
    """Raise UsageError for options of a login that an upload to a receiver does not make."""
    given = [f"--{name.replace('_', '-')}" for name in _LOGIN if app.given.get(name) not in (None, False)]
    if given:
        raise UsageError(
            f"{given[0]} does not apply to this upload: {request.transport} delivers to a receiver, without a login to "
            "XNAT.",
            hint=f"Run the command without {given[0]}.",
        )


def _to_finish(summary: Summary) -> tuple[Mapping[str, Any], frozenset[str]]:
    """The request and the studies of the run to finish: the latest, or the last one that left files."""
    if summary.phase == "done" and summary.left and summary.left[0].request:
        return summary.left[0].request, summary.left[0].studies
    return summary.request, summary.studies


@click.command(name="forget", short_help="Delete the local record of an upload; contacts no server.")
@click.argument("dest", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation if the upload is not complete.")
@common_options
@pass_app
def forget(app: App, dest: tuple[str, ...], yes: bool) -> None:
    """Delete the local record of uploads; nothing on a server changes.

    DEST is an ID from `upload status`, PROJECT/SESSION, a session label, SESSION/RESOURCE, or the address of a
    receiver.
    The same upload, run again, compares with the server and sends what is missing.
    """
    from xnatctl.delivery.journal.lock import Lock
    from xnatctl.delivery.journal.store import remove

    found = app.journals()
    chosen = list({summary.id: summary for summary in (_choose(app, found, name) for name in dest)}.values())
    if not yes:
        for summary in chosen:
            if _state(summary) != "complete" and not app.confirm(_question(summary)):
                raise Refused("No upload was forgotten.")
    for summary in chosen:
        with closing(Lock(summary.path.with_suffix(".lock"), lambda _: False, limit=0, tell=app.debug)):
            remove(summary.path)
    document = _list_document(app, chosen)
    app.render(replace(document, summary=(f"{counted(len(chosen), 'upload')} forgotten.",)))


def _question(summary: Summary) -> str:
    return f"Forget {summary.id} ({_to(summary)}: {_for_people(_state(summary))})?"


def _require_planner(app: App, command: str) -> None:
    """Raise PluginUnavailable if the plugin of the command is missing, because core would make a different plan."""
    if command in {spec.path for spec in BUILTIN}:
        return
    try:
        app.registry.command(command)
    except UsageError:
        raise PluginUnavailable(
            f"This upload was made by {command}, whose plugin is not installed.", hint="Install it, then resume."
        ) from None


def _choose(app: App, found: Sequence[Summary], dest: str) -> Summary:
    """The one journal that `dest` names. Raises NotFound, UsageError."""
    wanted = dest.casefold()
    matches = [summary for summary in found if wanted in _names(summary)]
    if not matches and len(wanted) >= 4:
        matches = [summary for summary in found if summary.id.startswith(wanted)]
    if not matches:
        raise NotFound(
            f"There is no upload {dest} on this machine.",
            hint=f"List the uploads: {app.commands.command('upload', 'status', server=False)}",
        )
    if len(matches) > 1:
        ids = ", ".join(summary.id for summary in matches)
        raise UsageError(f"{dest} names {len(matches):,} uploads: {ids}.", hint="Use an ID from the list.")
    return matches[0]


def _names(summary: Summary) -> set[str]:
    where = summary.destination
    if _is_to_receiver(summary):
        return {name.casefold() for name in (summary.id, _to(summary), *summary.sources) if name}
    names = {
        summary.id,
        where.session,
        f"{where.project}/{where.session}",
        f"{where.project}/{where.subject}/{where.session}",
    }
    if resource := _resource(summary):
        # A session label without a resource means the upload of its images.
        names = {summary.id, f"{where.session or where.subject}/{resource}", f"{where.project}/{resource}"}
        names.add(f"{where.project}/{where.session or where.subject}/{resource}")
    return {name.casefold() for name in names if name}


def _resource(summary: Summary) -> str:
    """The resource of an upload; empty for images."""
    resource = _request(summary).get("resource")
    if not isinstance(resource, dict):
        return ""
    scan = resource.get("scan")
    return f"scan {scan}/{resource.get('label', '')}" if scan else str(resource.get("label", ""))


def _columns(app: App, found: Sequence[Summary]) -> tuple[Column, ...]:
    """The columns of the table, with what tells uploads apart: other servers, or several folders to one receiver."""
    servers = {summary.destination.server for summary in found if not _is_to_receiver(summary)} - {""}
    if servers:
        with suppress(ConfigError):  # no server is needed here
            servers |= {app.settings.server_or_empty()} - {""}
    places = [_to(summary) for summary in found]
    shown = {"server"} if len(servers) > 1 else set[str]()
    if any(summary.request and _is_to_receiver(summary) for summary in found):
        shown |= {"from", "checked_in"}  # the address of a receiver does not say what was sent there
    if len(set(places)) < len(places):
        shown.add("from")
    return tuple(replace(column, detail=False) if column.key in shown else column for column in _COLUMNS)


def _tails(paths: Sequence[str]) -> list[str]:
    """The ends of paths, as long as it takes to tell them apart."""
    parts = [path.strip("/").split("/") for path in paths]
    longest = max(map(len, parts), default=0)
    for length in range(1, longest):
        ends = {"/".join(part[-length:]) for part in parts}
        if len(ends) == len(set(paths)):
            return ["/".join(part[-length:]) for part in parts]
    return list(paths)


def _from(summary: Summary, tail: str) -> str:
    """Where the files come from, as short text."""
    return f"{tail} ({len(summary.sources):,} paths)" if len(summary.sources) > 1 else tail


def _request(summary: Summary) -> Mapping[str, Any]:
    """What the upload was asked for; empty if the journal does not hold it."""
    request = summary.request.get("request")
    return request if isinstance(request, dict) else {}


def _is_to_receiver(summary: Summary) -> bool:
    return _request(summary).get("settles") is False


def _to(summary: Summary) -> str:
    """The destination as short text: a receiver, a session, or the parent of a resource."""
    where = summary.destination
    if _is_to_receiver(summary):
        return where.server or str(_request(summary).get("transport", ""))
    names = [where.project, where.session or where.subject, _resource(summary)]
    return "/".join(filter(None, names)) or where.server


def _checked_in(summary: Summary) -> str:
    """Where an upload to a receiver was to be found afterwards: `PROJECT`, or `PROJECT/SESSION`."""
    where = _request(summary).get("follow")
    names = [where.get("project"), where.get("session")] if isinstance(where, dict) else []
    return "/".join(str(name) for name in names if name)


def _state(summary: Summary) -> str:
    if summary.problem is not None:
        return "unreadable"
    if summary.complete:
        return "complete"
    if summary.phase == "settling" and summary.found == summary.delivered:
        return "delivered, not settled"
    if summary.phase == "done" and summary.found == summary.delivered:
        return "delivered, not verified"
    return "incomplete"


def _for_people(state: str) -> str:
    """A state in the words of people: XNAT archives, we settle. Whether it did so meanwhile is not known here."""
    return state.replace("not settled", "archiving not confirmed")


def _progress(summary: Summary) -> str:
    """The state as short text, with the number of missing files."""
    undelivered = summary.found - summary.delivered
    if summary.problem is None and not summary.complete and undelivered:
        return f"{undelivered} not delivered"
    return _state(summary).removeprefix("delivered, ")


def _row(summary: Summary) -> dict[str, Any]:
    where = summary.destination
    moment = datetime.fromtimestamp(summary.updated).astimezone() if summary.updated else None
    return {
        "id": summary.id,
        "server": where.server,
        "project": where.project,
        "subject": where.subject,
        "session": where.session,
        "resource": _resource(summary),
        "transport": str(_request(summary).get("transport", "")),
        "to": _to(summary),
        "checked_in": _checked_in(summary),
        "state": _state(summary),
        "progress": _progress(summary),
        "found": summary.found,
        "delivered": summary.delivered,
        "undelivered": summary.found - summary.delivered,
        "earlier": len(summary.left),
        "updated": moment.isoformat(timespec="seconds") if moment else "",
        "changed": f"{moment:%Y-%m-%d %H:%M}" if moment else "",
        "root": summary.root,
        "sources": list(summary.sources),
        "problem": summary.problem,
    }


def _resume_command(app: App, summary: Summary) -> str:
    """The command that resumes an upload, with its profile and user; the journal names the server."""
    flags = summary.request.get("flags")
    words = [str(word) for flag in flags for word in flag] if isinstance(flags, list) else []
    return app.commands.command("upload", "resume", summary.id, *words, server=False)


def _list_lines(app: App, found: Sequence[Summary], total: int) -> Iterator[str]:
    open_ones = [summary for summary in found if _state(summary) not in ("complete", "unreadable")]
    yield f"{shown_of(len(found), total, 'upload')}, {len(open_ones):,} not complete."
    yield from (f"Warning: {summary.problem}" for summary in found if summary.problem)
    yield from (f"Next: {_resume_command(app, summary)}" for summary in open_ones[:5])


def _list_document(app: App, found: Sequence[Summary]) -> Document:
    tails = _tails([summary.root for summary in found])
    rows = [{**_row(summary), "from": _from(summary, tail)} for summary, tail in zip(found, tails, strict=True)]
    by_id = {summary.id: summary for summary in found}
    schema = "xnatctl.uploads/1"
    return Document(
        schema=schema,
        data={"schema": schema, "uploads": rows},
        listed="uploads",
        columns=_columns(app, found),
        rows=[{**row, "progress": _for_people(row["progress"])} for row in rows],
        identifiers=tuple(row["id"] for row in rows),
        summary=tuple(_list_lines(app, found, len(found))),
        summarize=lambda shown, total: _list_lines(app, [by_id[row["id"]] for row in shown], total),
    )


def _one_document(app: App, summary: Summary) -> Document:
    from xnatctl.delivery.journal.summaries import items_of

    if summary.problem is not None:
        raise JournalError(summary.problem, hint="Run the original upload command with --no-resume.")
    latest = [_item(past, summary.root) for past in items_of(summary.path) if not past.outcome.delivered]
    missing = [
        *latest,
        *(_entry(path, outcome, reason, summary.root) for path, outcome, reason in summary.unsendable),
        *(_item(left, left.root) for left in summary.left if not left.outcome.delivered),
    ]
    unproven = [_item(left, left.root) for left in summary.left if left.outcome.delivered]
    row = _row(summary)
    sources = listed(summary.sources)
    place = f" to {row['to']}" + ("" if _is_to_receiver(summary) else f" on {row['server']}")
    state = _for_people(row["state"])
    lines = [f"{part_of(row['delivered'], row['found'], 'file')} delivered from {sources}{place}: {state}."]
    if summary.left:
        roots = ", ".join(dict.fromkeys(left.root for left in summary.left))
        lines.append(
            f"{counted(len(summary.left), 'file')} of earlier runs ({roots}) not proven to be on the server, "
            "and not part of the latest run."
        )
    if row["state"] == "incomplete" and row["found"] == row["delivered"]:
        lines.append("The run ended before the session was complete. Run upload resume to finish it.")
    if row["state"] != "complete":
        lines.append(f"Next: {_resume_command(app, summary)}")
    schema = "xnatctl.upload/1"
    return Document(
        schema=schema,
        data={
            "schema": schema,
            **row,
            "request": json.loads(json.dumps(summary.request)),
            "not_delivered": missing,
            "not_verified": unproven,
        },
        listed="not_delivered",
        columns=_ITEM_COLUMNS if missing else (),
        rows=[{**entry, "state": state_text(entry["outcome"])} for entry in missing],
        identifiers=tuple(entry["path"] for entry in missing),
        summary=tuple(lines),
        drawing=tuple(_by_reason(missing)) if len(missing) > _MOST_ROWS else (),
    )


def _by_reason(missing: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each state and reason, with the number of files and the first of them."""
    groups: dict[tuple[str, str], list[str]] = {}
    for entry in missing:
        groups.setdefault((state_text(entry["outcome"]), entry["reason"] or ""), []).append(entry["path"])
    for (state, reason), paths in groups.items():
        yield one_line(f"{counted(len(paths), 'file')} {state}, first {paths[0]}{f': {reason}' if reason else ''}")
    yield "All files: -o csv"


def _item(past: JournalEntry | Left, root: str) -> dict[str, Any]:
    return _entry(past.path, past.outcome, past.reason, root)


def _entry(path: str, outcome: Outcome, reason: str | None, root: str) -> dict[str, Any]:
    return {"path": path, "outcome": outcome, "reason": reason, "root": root}
