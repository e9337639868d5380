"""`session upload-exam`: the command line of an exam."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import click

from xnatctl.api import Destination, Overwrite, Payload, PluginUnavailable, UploadRequest, UsageError
from xnatctl.api.commands import (
    PROJECT_HELP,
    App,
    Number,
    ProjectOption,
    TransportOptionsCommand,
    Upload,
    common_options,
    journal_options,
    option_group,
    pass_app,
    run_upload,
    server_options,
    session_fields,
    session_options,
    transport_options,
)
from xnatctl_exam.choices import MISC, WAIT, Choices
from xnatctl_exam.planner import TRANSPORT
from xnatctl_exam.plugin import COMMAND

_HELP = """Upload a scanner export: its images as one session, everything else as resources of that session.

EXAM_ROOT is a directory. DICOM is recognised by content, at any depth. The images become the session, exactly as
with `session upload`. Then, when the session is in the archive, every top-level folder without DICOM becomes a resource
of the same name, and the top-level files without DICOM become the resource MISC. A folder that holds DICOM is never a
resource; files that are not DICOM in such a folder are skipped, unless --attach-nested LABEL attaches them. Hidden
files that are not DICOM are skipped. --dry-run shows what would go where.

Resources are attached only to a session that holds the images on disk, compared by study and SOP Instance UID.
--trust-session attaches them in any case: for sites whose anonymisation changes UIDs.

Resources bypass the project's anonymisation: XNAT stores them unchanged. Only images go through anonymisation scripts,
so check PDFs, screenshots and logs for patient data before you attach them.

--overwrite applies to both: delete adds files and replaces matching ones, append adds files and refuses different ones,
none refuses an existing session. Identical files on the server are not sent again. Exit code 6 means that the images
were delivered but the session did not reach the archive in time: the report prints the --attach-only command to run
later.
"""


def _labels(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """`FOLDER=LABEL`, repeated; a label holds no equals sign, a folder may."""
    labels: dict[str, str] = {}
    for value in values:
        folder, equals, label = value.rpartition("=")
        folder = folder.rstrip("/")
        if not equals or not folder or "/" in folder:
            raise click.BadParameter(f"{value!r} is not a top-level folder and its label: FOLDER=LABEL.")
        if labels.setdefault(folder, label) != label:
            raise click.BadParameter(f"{folder} has two labels: {labels[folder]} and {label}.")
    return labels


def _one_root(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> str:
    """The only path. Raises UsageError for several: the top-level entries of one folder become the resources."""
    if len(values) > 1:
        raise UsageError(
            f"An exam root is one folder, and {len(values):,} paths were given.",
            hint="Upload each exam on its own, or send only the images of several paths with xnatctl session upload.",
        )
    return values[0]


class _Subject(click.Option):
    """Required, unless only resources are sent."""

    def value_is_missing(self, value: Any) -> bool:
        return super().value_is_missing(value) and not click.get_current_context().params.get("attach_only")


@click.command(name="upload-exam", cls=TransportOptionsCommand, help=_HELP, short_help="Upload a scanner export.")
@click.argument(
    "exam_root", metavar="EXAM_ROOT", nargs=-1, required=True, type=click.Path(path_type=str), callback=_one_root
)
@option_group(
    "Destination",
    click.option("-P", "--project", cls=ProjectOption, required=True, help=PROJECT_HELP),
    click.option(
        "-S",
        "--subject",
        cls=_Subject,
        required=True,
        help="Subject label; created when it does not exist. Not needed with --attach-only.",
    ),
    click.option("-E", "--session", required=True, help="Session label; with --attach-only also its accession ID."),
)
@option_group(
    "Resources",
    click.option("--skip-resources", is_flag=True, help="Upload the images only."),
    click.option(
        "--attach-only", is_flag=True, is_eager=True, help="Attach resources to an existing session; send no images."
    ),
    click.option(
        "--trust-session",
        is_flag=True,
        help="Attach resources even if the session does not hold the images on disk, for example because UIDs were "
        "changed.",
    ),
    click.option(
        "--misc-label", default=None, metavar="LABEL", help=f"Resource of top-level files.  [default: {MISC}]"
    ),
    click.option(
        "--attach-nested", default=None, metavar="LABEL", help="Also attach the files beside DICOM, as this resource."
    ),
    click.option(
        "--resource-label",
        "labels",
        multiple=True,
        metavar="FOLDER=LABEL",
        callback=_labels,
        help="Label of the resource that a top-level folder becomes; can be repeated.",
    ),
    click.option(
        "--attach-unknown",
        is_flag=True,
        help="Attach packed files that cannot be inspected, if you know that they hold no DICOM.",
    ),
)
@session_options
@option_group(
    "Checking",
    click.option(
        "--wait",
        type=Number(min=0),
        default=int(WAIT),
        metavar="SECONDS",
        show_default=True,
        help="How long to wait until the session is in the archive; 0 checks once.",
    ),
)
@option_group(
    "Source",
    click.option("--follow-symlinks", is_flag=True, help="Follow symbolic links that lead out of EXAM_ROOT."),
)
@option_group(
    "Sending",
    click.option("--dry-run", is_flag=True, help="Show the destination of each file, without sending or logging in."),
)
@journal_options
@server_options
@common_options
@pass_app
def upload_exam(
    app: App,
    exam_root: str,
    project: str,
    subject: str | None,
    session: str,
    skip_resources: bool,
    attach_only: bool,
    trust_session: bool,
    wait: float,
    misc_label: str | None,
    attach_nested: str | None,
    labels: dict[str, str],
    mode: str | None,
    workers: int | None,
    archive: bool | None,
    overwrite: str | None,
    verify: bool,
    verify_level: str,
    exact: bool,
    follow_symlinks: bool,
    attach_unknown: bool,
    dry_run: bool,
    resume: bool,
    lock_wait: float,
    **given: Any,
) -> None:
    """See `_HELP`; `given` holds the options of transports."""
    if skip_resources and attach_only:
        raise UsageError("--skip-resources and --attach-only exclude each other.")
    if skip_resources:
        _refuse(
            "--skip-resources",
            {
                "--misc-label": misc_label,
                "--attach-nested": attach_nested,
                "--resource-label": labels,
                "--trust-session": trust_session,
            },
        )
    if attach_only:
        place = {True: "--direct-archive", False: "--prearchive"}.get(archive, "") if archive is not None else ""
        flags = {f"--{name.replace('_', '-')}": value for name, value in given.items()}
        _refuse("--attach-only", {"--mode": mode, place: place, "--exact": exact, **flags})
    if attach_only and overwrite == Overwrite.NONE:
        raise UsageError(
            "--overwrite none and --attach-only exclude each other: --attach-only adds to an existing session."
        )
    transport = TRANSPORT if attach_only else mode or str(app.settings.mode.value)
    spec = app.registry.transport(transport).spec
    if not attach_only and (spec.payload is not Payload.DICOM or spec.settle != "session"):
        raise UsageError(f"The transport {transport} does not deliver to a session on a server, which an exam needs.")
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
        command=COMMAND,
        path=exam_root,
        destination=Destination(
            server=app.settings.server_or_empty(), project=project, subject=subject or "", session=session
        ),
        transport=transport,
        follow_symlinks=follow_symlinks,
        attach_unknown=attach_unknown,
        **fields,
    )
    choices = Choices(
        wait=wait,
        skip_resources=skip_resources,
        attach_only=attach_only,
        trust_session=trust_session,
        misc_label=misc_label or MISC,
        attach_nested=attach_nested,
        labels=labels,
        resource_options=_resource_options(app, skip=skip_resources),
        later=_later(app, request, workers, wait, misc_label, attach_nested, labels),
    )
    options = {} if attach_only else transport_options(app, transport, given)
    request = replace(request, options=choices.beside(options))
    run_upload(app, Upload(request=request, dry_run=dry_run, wait=wait, resume=resume, lock_wait=lock_wait))


def _refuse(flag: str, others: Mapping[str, Any]) -> None:
    """Refuse options that have no effect."""
    for other, value in others.items():
        if value:
            raise UsageError(f"{other} cannot be combined with {flag}.")


def _resource_options(app: App, *, skip: bool) -> dict[str, Any]:
    """The value of each option of the resource transport from variable, profile or default.

    Without that transport, a plan that attaches files is refused later.
    """
    with suppress(PluginUnavailable, UsageError):
        return {} if skip else transport_options(app, TRANSPORT, {})
    return {}


def _later(
    app: App,
    request: UploadRequest,
    workers: int | None,
    wait: float,
    misc_label: str | None,
    attach_nested: str | None,
    labels: Mapping[str, str],
) -> str:
    """The command that attaches the resources after archiving; works in any directory."""
    where = request.destination
    words = [*COMMAND.split(), os.path.abspath(request.path)]
    words += ["-P", where.project, *(["-S", where.subject] if where.subject else []), "-E", where.session]
    words += ["--attach-only", *_given("--wait", f"{wait:g}" if wait != WAIT else None)]
    words += [*_given("--misc-label", misc_label), *_given("--attach-nested", attach_nested)]
    words += [word for folder, label in labels.items() for word in ("--resource-label", f"{folder}={label}")]
    words += _given("--workers", workers)
    if request.overwrite is not Overwrite.DELETE:
        words += ["--overwrite", str(Overwrite.APPEND)]
    words += [*_flag("--no-verify", not request.verify), *_flag("--follow-symlinks", request.follow_symlinks)]
    words += _flag("--attach-unknown", request.attach_unknown)
    return app.commands.command(*words)


def _given(flag: str, value: Any) -> list[str]:
    return [] if value is None else [flag, str(value)]


def _flag(flag: str, given: bool) -> list[str]:
    return [flag] if given else []
