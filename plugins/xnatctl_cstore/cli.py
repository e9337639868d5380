"""`session upload-dicom`: DICOM to a receiver, by C-STORE alone."""

from __future__ import annotations

import os
from typing import Any

import click

from xnatctl.api import (
    App,
    DeliveryIncomplete,
    Destination,
    Document,
    TransportOptionsCommand,
    Upload,
    UploadItem,
    UploadRequest,
    UsageError,
    common_options,
    journal_options,
    pass_app,
    run_upload,
    scan_path,
    transport_options,
)

_NAME = "cstore"

_HELP = """Send the DICOM files of PATH to a DICOM receiver, by C-STORE.

PATH is a directory (searched to any depth, whatever the files are called), a single DICOM file, or a ready-made archive
file (zip, tar, tar.gz). What is DICOM is decided by content; several studies may be sent at once. The data sets travel
as they are: nothing is converted.

No XNAT address and no login are needed: the receiver's own rules decide by the headers into which project, subject and
session the data go. Exit code 0 means that the receiver accepted every instance; what became of them in the archive it
does not say.

The port is 104 unless you say otherwise; many XNATs listen on 8104. The called AE title must be exactly the receiver's.
"""


class UploadDicomCommand(TransportOptionsCommand):
    """With the flags of the transport `cstore`."""

    only_for = "session upload-dicom"


@click.command(name="upload-dicom", cls=UploadDicomCommand, help=_HELP, short_help="Send DICOM by C-STORE.")
@click.argument("path", type=click.Path(path_type=str), required=False)
@click.option(
    "--workers", type=click.IntRange(min=1), default=None, help="Associations at the same time.  [default: 4]"
)
@click.option("--follow-symlinks", is_flag=True, help="Follow symbolic links that lead out of PATH.")
@click.option("--dry-run", is_flag=True, help="Show parameters, contexts and counts; open no connection.")
@click.option("--echo", is_flag=True, help="C-ECHO: say what the receiver is, and which files of PATH it would take.")
@journal_options
@common_options
@pass_app
def upload_dicom(
    app: App,
    path: str | None,
    workers: int | None,
    follow_symlinks: bool,
    dry_run: bool,
    echo: bool,
    resume: bool,
    lock_wait: float,
    **given: Any,
) -> None:
    """See `_HELP`; options of the transport arrive in `given`."""
    from xnatctl_cstore.receiver import Receiver

    spec = app.registry.transport(_NAME).spec
    options = transport_options(app, _NAME, given)
    for name in ("ca_cert", "client_cert", "client_key"):
        if options[name]:
            options[name] = os.path.abspath(os.path.expanduser(options[name]))  # a later run may have another directory
    receiver = Receiver.from_options(options)
    if echo:
        if dry_run:
            raise UsageError("--echo opens a connection, and --dry-run opens none; use one of them.")
        _echo(app, receiver, path, follow_symlinks=follow_symlinks)
        return
    if path is None:
        raise UsageError("Missing argument 'PATH'.", hint="Only --echo works without one.")
    request = UploadRequest(
        command=UploadDicomCommand.only_for,
        path=path,
        destination=Destination(server=receiver.address, project="", subject="", session=""),
        transport=_NAME,
        workers=workers or app.settings.workers.value or spec.default_workers,
        verify=False,
        settles=False,
        follow_symlinks=follow_symlinks,
        options=options,
    )
    run_upload(app, Upload(request=request, dry_run=dry_run, resume=resume, lock_wait=lock_wait))


def _echo(app: App, receiver: Any, path: str | None, *, follow_symlinks: bool) -> None:
    from xnatctl_cstore.echo import ask

    items: tuple[UploadItem, ...] = ()
    if path is not None:
        items = scan_path(path, follow_symlinks=follow_symlinks).items
    reply = ask(receiver, items)
    document, refused = _document(receiver, reply)
    app.render(document)
    if refused:
        error = DeliveryIncomplete(
            f"The receiver would not take {refused} of {len(items)} files.",
            hint="Nothing is converted. Ask its administrator whether it can be made to take them.",
        )
        app.report_error(error)
        app.exit_with(error.exit_code)


def _document(receiver: Any, reply: Any) -> tuple[Document, int]:
    """What was said, and the number of files that would be refused."""
    from xnatctl.api import Column
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
        None: "It offers no C-ECHO, but takes the association.",
        "0x0000": f"C-ECHO answered in {reply.seconds * 1000:.0f} ms.",
    }.get(echo, f"C-ECHO answered with status {echo}.")
    names = {"sop_class": "SOP class", "transfer_syntax": "Transfer syntax", "files": "Files", "taken": "Taken"}
    summary = [
        f"{receiver.place} lets {receiver.calling} in as a caller of {receiver.called}. {answered}",
        f"Implementation: {reply.implementation_version or '(no version name)'} {reply.implementation_class_uid}{who}.",
        f"Longest PDU that it takes: {f'{reply.longest_pdu} bytes' if reply.longest_pdu else 'any'}.",
    ]
    return Document(
        schema=schema,
        data=data,
        columns=tuple(Column(key=key, title=title, numeric=key == "files") for key, title in names.items())
        if rows
        else (),
        rows=rows,
        identifiers=(receiver.address,),
        summary=tuple(summary),
    ), refused
