"""`session verify`: compares files on disk with a session on the server; changes nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from xnatctl.api import Destination, Event, EventKind, Report, Status, UploadRequest, XnatctlError
from xnatctl.api.commands import (
    App,
    VerifyingCommand,
    common_options,
    destination_options,
    finish,
    level_options,
    option_group,
    pass_app,
    plan_session_upload,
    server_options,
    source_options,
    studies_of,
)
from xnatctl_session.cli import split_option

if TYPE_CHECKING:
    from xnatctl.api import UploadPlan
    from xnatctl.api.xnat import XnatClient

_HELP = """Compare the DICOM files of PATH (or of several) with a session on the server; changes nothing.

Works at any time, whoever uploaded the session. Instances are compared by SOP Instance UID and stored size, and with
--verify checksum also by MD5 where the server kept the bytes; in the prearchive, files can only be counted. Exit code 0
means that nothing differs. Exit code 6 means that the report names differences. What the server holds beyond PATH is
reported, and counts as a difference only with --exact.
"""


@click.command(name="verify", cls=VerifyingCommand, help=_HELP, short_help="Compare what is on disk with a session.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=str))
@destination_options(subject="Subject label.")
@split_option("Compare each study with its session: LABEL, LABEL_2, LABEL_3 and so on.")
@source_options
@option_group(
    "Checking",
    click.option(
        "--verify",
        is_flag=True,
        expose_value=False,
        help="--verify size (the default) compares sizes, --verify checksum also MD5 where the server kept the bytes.",
    ),
    level_options,
)
@server_options
@common_options
@pass_app
def verify(
    app: App,
    paths: tuple[str, ...],
    project: str,
    subject: str,
    session: str,
    split_studies: bool,
    follow_symlinks: bool,
    large_archive: bool,
    verify_level: str,
    exact: bool,
) -> None:
    """See `_HELP`."""
    request = UploadRequest(
        command="session verify",
        path=paths[0],
        sources=paths if len(paths) > 1 else (),
        destination=Destination(
            server=app.settings.server_or_empty(), project=project, subject=subject, session=session
        ),
        transport="",
        workers=1,
        follow_symlinks=follow_symlinks,
        large_archive=large_archive,
        checksum=verify_level == "checksum",
        exact=exact,
    )
    report = _new_report(request)
    try:
        if split_studies:
            report = _verify_each(app, request)
        else:
            plan = plan_session_upload(request)
            report.excluded = list(plan.excluded)
            report.warnings = list(plan.warnings)
            report.failure = _check(app, app.connect(), plan, report, _upload(app, request))
    except XnatctlError as raised:
        report.failure = raised
    if report.failure is not None and report.status is Status.REFUSED and report.failure.exit_code != 7:
        report.status = Status.FAILED
    finish(app, report)


def _upload(app: App, request: UploadRequest, *flags: str) -> str:
    """The command that uploads the missing files."""
    where = request.destination
    names = ("-P", where.project, "-S", where.subject, "-E", where.session)
    return app.commands.command("session", "upload", *request.paths, *names, *flags)


def _check(app: App, client: XnatClient, plan: UploadPlan, report: Report, upload: str) -> XnatctlError | None:
    from xnatctl_session.checking import check_session

    app.tell(Event(kind=EventKind.VERIFYING, data={"state": "comparing the session with the disk"}))
    return check_session(client, plan, report, upload)


def _verify_each(app: App, request: UploadRequest) -> Report:
    """Compare each study with its session."""
    from xnatctl.api.commands import run_many
    from xnatctl.api.xnat import find_destination
    from xnatctl_session.planner import labels_on, plans_of

    by_study = studies_of(request)
    client = app.connect()
    request = replace(request, destination=find_destination(client, request.destination, sends=False))
    labels, warnings = labels_on(client, by_study, request, app.journals(), look_only=True)
    upload = _upload(app, request, "--split-studies")

    def check(plan: UploadPlan) -> Report:
        report = replace(_new_report(request), destination=plan.destination, warnings=list(plan.warnings))
        try:
            report.failure = _check(app, client, plan, report, upload)
        except XnatctlError as raised:
            report.failure, report.status = raised, Status.FAILED
        return report

    whole = run_many([*plans_of(by_study, request, labels, plan_session_upload)], check)
    whole.destination = request.destination
    whole.warnings = [*warnings, *whole.warnings]
    return whole


def _new_report(request: UploadRequest) -> Report:
    return Report(
        command=request.command,
        status=Status.REFUSED,
        destination=request.destination,
        transport=request.transport,
        sources=list(map(os.path.abspath, request.paths)),
    )
