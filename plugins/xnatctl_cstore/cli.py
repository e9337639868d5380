"""`session upload-dicom`: sends DICOM to a receiver by C-STORE."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import click

from xnatctl.api import (
    Column,
    DeliveryIncomplete,
    Destination,
    Document,
    UploadItem,
    UploadRequest,
    UsageError,
    counted,
)
from xnatctl.api.commands import (
    App,
    Number,
    TransportOptionsCommand,
    Upload,
    WholeNumber,
    common_options,
    journal_options,
    option_group,
    pass_app,
    run_upload,
    scan_paths,
    server_options,
    source_options,
    transport_options,
)

_NAME = "cstore"
#: Options of the connection to XNAT, which only `--verify` opens.
_LOGIN = ("url", "username", "password", "password_stdin", "timeout", "insecure")

_CONTEXT_COLUMNS = (
    Column(key="sop_class", title="SOP class", fit="wrap"),
    Column(key="transfer_syntax", fit="wrap"),
    Column(key="files", numeric=True, count=True),
    Column(key="taken", fit="wrap"),
)

_HELP = """Send the DICOM files of PATH to a DICOM receiver, by C-STORE.

PATH is a directory (searched at any depth), a single DICOM file, or an archive
file (zip, tar, tar.gz, tar.bz2, tar.xz). DICOM is recognised by content; several PATHs and several studies can be sent
at once. Data sets are sent unchanged: nothing is converted.

No XNAT address or login is needed: the receiver routes the data by their headers to a project, subject and session.
Exit code 0 means that the receiver accepted every instance, not that it is in the archive.
--verify -P PROJECT logs in to XNAT and checks the archive: exit code 0 then means that every instance is there.

The default port is 104; many XNAT servers listen on 8104. The called AE title must be exactly the receiver's.
"""


class UploadDicomCommand(TransportOptionsCommand):
    """A command with the flags of the transport `cstore`."""

    only_for = "session upload-dicom"
    heading = "Destination"


@click.command(name="upload-dicom", cls=UploadDicomCommand, help=_HELP, short_help="Send DICOM by C-STORE.")
@click.argument("paths", metavar="PATH...", nargs=-1, type=click.Path(path_type=str))
@source_options
@option_group(
    "Sending",
    click.option(
        "--workers", type=WholeNumber(min=1), default=None, help="Associations at the same time.  [default: 4]"
    ),
    click.option("--dry-run", is_flag=True, help="Show parameters, contexts and counts; open no connection."),
    click.option(
        "--echo", is_flag=True, help="Send a C-ECHO: identify the receiver, and show which files of PATH it accepts."
    ),
)
@option_group(
    "Checking",
    click.option("--verify", is_flag=True, help="Find each study in XNAT, wait until it is archived, and compare."),
    click.option(
        "-P", "--project", default=None, help="With --verify: the project in which the receiver stores the data."
    ),
    click.option("-E", "--session", default=None, help="With --verify: the session label, if the site changes UIDs."),
    click.option(
        "--wait",
        type=Number(min=0),
        default=None,
        metavar="SECONDS",
        help="With --verify: how long to wait until XNAT has archived the data.  [default: 1800]",
    ),
)
@journal_options
@server_options
@common_options
@pass_app
def upload_dicom(
    app: App,
    paths: tuple[str, ...],
    workers: int | None,
    follow_symlinks: bool,
    large_archive: bool,
    dry_run: bool,
    echo: bool,
    verify: bool,
    project: str | None,
    session: str | None,
    wait: float | None,
    resume: bool,
    lock_wait: float,
    **given: Any,
) -> None:
    """See `_HELP`; options of the transport arrive in `given`."""
    from xnatctl_cstore.receiver import Receiver

    spec = app.registry.transport(_NAME).spec
    missing = ["PATH"] if not (paths or echo) else []
    project = app.project_or_default(project) if verify else project
    missing += ["-P PROJECT"] if verify and not project else []
    options = transport_options(app, _NAME, given, missing=missing)
    for name in ("ca_cert", "client_cert", "client_key"):
        if options[name]:
            options[name] = os.path.abspath(os.path.expanduser(options[name]))  # a later run may have another directory
    receiver = Receiver.from_options(options, app.commands)
    follow = _follow(app, project=project, session=session, wait=wait, verify=verify)
    if echo:
        if dry_run:
            raise UsageError("--echo and --dry-run exclude each other: --dry-run opens no connection.")
        if verify:
            raise UsageError("--echo and --verify exclude each other: --echo sends nothing that could be verified.")
        _echo(app, receiver, paths, follow_symlinks=follow_symlinks, large_archive=large_archive)
        return
    request = UploadRequest(
        command=UploadDicomCommand.only_for,
        path=paths[0],
        sources=paths if len(paths) > 1 else (),
        destination=Destination(server=receiver.address, project="", subject="", session=""),
        transport=_NAME,
        workers=workers or app.settings.workers.value or spec.default_workers,
        verify=False,
        settles=False,
        follow_symlinks=follow_symlinks,
        large_archive=large_archive,
        follow=follow,
        options=options,
    )
    run_upload(app, Upload(request=request, dry_run=dry_run, wait=wait, resume=resume, lock_wait=lock_wait))


def _follow(
    app: App, *, project: str | None, session: str | None, wait: float | None, verify: bool
) -> Destination | None:
    """Where to find the studies afterwards. Raises UsageError for options without effect."""
    if verify:
        return Destination(server=app.settings.server(), project=project or "", subject="", session=session or "")
    alone = {"--project": project, "--session": session, "--wait": wait}
    alone |= {f"--{name.replace('_', '-')}": app.given.get(name) for name in _LOGIN}
    for flag, value in alone.items():
        if value not in (None, False):
            raise UsageError(
                f"{flag} requires --verify: the receiver routes the data by their headers.",
                hint="Add --verify -P PROJECT to check the archive of XNAT afterwards.",
            )
    return None


def _echo(app: App, receiver: Any, paths: Sequence[str], *, follow_symlinks: bool, large_archive: bool) -> None:
    from xnatctl_cstore.echo import ask

    items: Sequence[UploadItem] = ()
    if paths:
        items = scan_paths(paths, follow_symlinks=follow_symlinks, large_archive=large_archive).items
    reply = ask(receiver, items)
    document, refused = _document(receiver, reply)
    app.render(document)
    if refused:
        error = DeliveryIncomplete(
            f"The receiver would not take {refused:,} of {counted(len(items), 'file')}.",
            hint="Files are never converted. Ask its administrator whether the receiver can accept them.",
        )
        app.report_error(error)
        app.exit_with(error.exit_code)


def _document(receiver: Any, reply: Any) -> tuple[Document, int]:
    """The document of an echo, and the number of files that would be refused."""
    from xnatctl_cstore.names import name_of
    from xnatctl_cstore.negotiation import refusal

    rows = [
        {
            "sop_class": name_of(pair[0]),
            "transfer_syntax": name_of(pair[1]),
            "files": files,
            "taken": "yes" if result is None else f"no: {refusal(result)}",
        }
        for pair, (files, result) in reply.takes.items()
    ]
    refused = sum(files for files, result in reply.takes.values() if result is not None)
    echo = None if reply.echo is None else f"0x{reply.echo:04X}"
    schema = "xnatctl.receiver/1"
    data = {
        "schema": schema,
        "receiver": receiver.address,
        "host": receiver.host,
        "port": receiver.port,
        "called_aet": receiver.called,
        "calling_aet": receiver.calling,
        "tls": receiver.tls is not None,
        "implementation_class_uid": reply.implementation_class_uid,
        "implementation_version": reply.implementation_version,
        "known_as": reply.known_as,
        "longest_pdu": reply.longest_pdu,
        "echo_status": echo,
        "echo_seconds": round(reply.seconds, 6),
        "contexts": rows,
    }
    who = f" ({reply.known_as})" if reply.known_as else ""
    answered = {
        None: "It does not support C-ECHO.",
        "0x0000": f"C-ECHO answered in {reply.seconds * 1000:.0f} ms.",
    }.get(echo, f"C-ECHO answered with status {echo}.")
    summary = [
        f"{receiver.place} accepts associations from {receiver.calling} to {receiver.called}. {answered}",
        f"Implementation: {reply.implementation_version or '(no version name)'} {reply.implementation_class_uid}{who}.",
        f"Maximum PDU length: {f'{reply.longest_pdu} bytes' if reply.longest_pdu else 'any'}.",
    ]
    return Document(
        schema=schema,
        data=data,
        columns=_CONTEXT_COLUMNS if rows else (),
        rows=rows,
        identifiers=(receiver.address,),
        summary=tuple(summary),
    ), refused
