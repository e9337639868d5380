"""`session upload`: uploads a directory, a DICOM file or an archive file as one session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from xnatctl.api import Destination, Payload, UploadRequest, UsageError
from xnatctl.api.commands import (
    App,
    Number,
    TransportOptionsCommand,
    Upload,
    common_options,
    destination_options,
    journal_options,
    option_group,
    pass_app,
    run_upload,
    run_uploads,
    server_options,
    session_fields,
    session_options,
    source_options,
    transport_options,
)
from xnatctl_session.receiver_cli import LabelOption, refuse_options_of_sessions

F = TypeVar("F", bound=Callable[..., Any])

_HELP = """Upload the DICOM files of one session and verify that they arrived.

PATH is a directory (searched at any depth), a single DICOM file, or an
archive file (zip, tar, tar.gz, tar.bz2, tar.xz). DICOM is recognised by content, not by file name. Several PATHs are
uploaded as one session, in whatever order they are named.

Exit code 0 means: every instance on disk is in the session you named, in the place you asked for, and it was
checked. Otherwise the report says which file, why, and which command finishes the job.

--overwrite delete adds to an existing session and replaces matching instances; other scans stay. --overwrite append
sends only instances that the session does not hold, and refuses one that it holds with different content. --overwrite
none refuses an existing session.

A transport of a plugin may deliver to a receiver that is not XNAT: the labels, and the options of archiving and
verifying, do not apply to it.

One session holds one study. --split-studies accepts a PATH with several studies: the earliest becomes the session that
you named, the others LABEL_2, LABEL_3 and so on. A study that is already on the server under one of these labels keeps
it, and a label that holds another study is skipped. Each session is delivered and checked separately; a failure does
not stop the others.
"""


def split_option(text: str) -> Callable[[F], F]:
    """`--split-studies`, under both of its names; `text` is its help."""
    names = ("--split-studies", "--allow-multiple-studies", "split_studies")
    return option_group("Source", click.option(*names, is_flag=True, help=text))


@click.command(
    name="upload", cls=TransportOptionsCommand, help=_HELP, short_help="Upload DICOM over the REST API and verify it."
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=str))
@destination_options(subject="Subject label; created when it does not exist.", option=LabelOption)
@session_options
@split_option("Make each study a session: the earliest gets the label, the others LABEL_2, LABEL_3 and so on.")
@option_group(
    "Source",
    click.option(
        "--same-patient",
        is_flag=True,
        help="With --split-studies: accept different patient IDs and names as one patient.",
    ),
    source_options,
)
@option_group(
    "Checking",
    click.option(
        "--wait",
        type=Number(min=1),
        default=1800,
        metavar="SECONDS",
        show_default=True,
        help="How long to wait until the server has archived the session.",
    ),
)
@option_group(
    "Sending",
    click.option("--dry-run", is_flag=True, help="Show what would be sent, without sending or logging in."),
)
@journal_options
@server_options
@common_options
@pass_app
def upload(
    app: App,
    paths: tuple[str, ...],
    project: str | None,
    subject: str | None,
    session: str | None,
    mode: str | None,
    workers: int | None,
    archive: bool | None,
    overwrite: str | None,
    verify: bool,
    verify_level: str,
    exact: bool,
    split_studies: bool,
    same_patient: bool,
    follow_symlinks: bool,
    large_archive: bool,
    wait: float,
    dry_run: bool,
    resume: bool,
    lock_wait: float,
    **given: Any,
) -> None:
    """See `_HELP`; `given` holds the options of transports."""
    transport = mode or str(app.settings.mode.value)
    spec = app.registry.transport(transport).spec
    if spec.command is not None:
        raise UsageError(
            f"The transport {transport} does not upload to a session of a given label.",
            hint=f"Use its own command: xnatctl {spec.command} --help",
        )
    if spec.payload is not Payload.DICOM:
        raise UsageError(f"The transport {transport} carries {spec.payload} files, not DICOM sessions.")
    settles = spec.settle == "session"
    if not settles:
        refuse_options_of_sessions(click.get_current_context(), transport)
    if same_patient and not split_studies:
        raise UsageError("--same-patient requires --split-studies.")
    fields = session_fields(
        app,
        spec,
        workers=workers,
        archive=archive,
        overwrite=overwrite,
        verify=verify,
        verify_level=verify_level,
        exact=exact,
    )
    request = UploadRequest(
        command="session upload",
        path=paths[0],
        sources=paths if len(paths) > 1 else (),
        destination=Destination(
            server=app.settings.server_or_empty() if settles else "",
            project=project or "",
            subject=subject or "",
            session=session or "",
        ),
        transport=transport,
        settles=settles,
        follow_symlinks=follow_symlinks,
        large_archive=large_archive,
        options=transport_options(app, transport, given),
        **{**fields, "verify": verify and settles},
    )
    wanted = Upload(request=request, dry_run=dry_run, wait=wait, resume=resume, lock_wait=lock_wait)
    if split_studies:
        from xnatctl_session.planner import split_planner

        run_uploads(app, wanted, split_planner(app, same_patient=same_patient))
    else:
        run_upload(app, wanted)
