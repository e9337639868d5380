"""`resource upload` and `resource list`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from xnatctl.api import (
    Column,
    Destination,
    Document,
    Overwrite,
    Payload,
    Refused,
    ResourceLevel,
    ResourceRef,
    UploadRequest,
    UsageError,
    counted,
    shown_of,
)
from xnatctl.api.commands import (
    App,
    TransportOptionsCommand,
    Upload,
    common_options,
    journal_options,
    list_options,
    option_group,
    pass_app,
    run_upload,
    server_options,
    transport_options,
)
from xnatctl.api.xnat import ResourceInfo, Totals, list_scans, session_resources, totals_of_scans
from xnatctl_resource import rest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xnatctl.api.xnat import XnatClient

_UPLOAD = """Upload a directory or one file to a resource of a session, and verify that it arrived.

SESSION is an accession ID (XNAT_E00001), or a label with -P. LABEL is the resource, such as BIDS, NIFTI or SNAPSHOTS;
it is created if it does not exist. With --project-level or --subject, omit SESSION.

Resources bypass the project's anonymisation and pipelines: files are stored unchanged. Send images with
`session upload`, whole exams with `session upload-exam`.

The files of a directory keep their names and folders. Hidden files that are not DICOM are skipped without --hidden, and
dangling links always; both are listed. Identical files on the server are skipped; different ones are refused, or
replaced with --overwrite. Exit code 0 means that every other file is on the server with the same size and, if the site
stores checksums, the same MD5.
"""


class _ResourceOptionsCommand(TransportOptionsCommand):
    """Takes the options of transports that carry resources."""

    payload = Payload.RESOURCE


def _level(*, scan: str | None, project_level: bool, subject: str | None) -> ResourceLevel:
    """The level of the resource. Raises UsageError for contradicting options."""
    chosen = [
        name
        for name, given in (("--scan", scan), ("--project-level", project_level), ("--subject", subject))
        if given not in (None, False)
    ]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} exclude each other.")
    if project_level:
        return ResourceLevel.PROJECT
    if subject is not None:
        return ResourceLevel.SUBJECT
    return ResourceLevel.SCAN if scan is not None else ResourceLevel.SESSION


#: Resources of a scan in which XNAT stores imported images.
_OF_IMAGES = frozenset({"dicom", "secondary"})
_ON_SESSION = (ResourceLevel.SESSION, ResourceLevel.SCAN)

_place_options = option_group(
    "Destination",
    click.option("--scan", metavar="ID", help="A scan of the session instead of the session itself."),
    click.option(
        "-P", "--project", help="Project ID; needed to look up a label.  [default: default_project of the profile]"
    ),
    click.option("--project-level", is_flag=True, help="A resource of the project itself; needs -P."),
    click.option("--subject", metavar="LABEL", help="A resource of this subject; needs -P."),
)


@click.command(name="upload", cls=_ResourceOptionsCommand, help=_UPLOAD, short_help="Upload files to a resource.")
@click.argument("names", nargs=-1, metavar="[SESSION] LABEL PATH")
@_place_options
@option_group(
    "Source",
    click.option("--hidden", is_flag=True, help="Include hidden files, such as .bidsignore."),
    click.option("--follow-symlinks", is_flag=True, help="Follow symbolic links that lead out of PATH."),
    click.option(
        "--attach-unknown",
        is_flag=True,
        help="Attach packed files that cannot be inspected, if you know that they hold no DICOM.",
    ),
)
@option_group(
    "Catalog",
    click.option("--format", "file_format", metavar="TEXT", help="Format of the files, such as NIFTI."),
    click.option("--content", metavar="TEXT", help="Content of the files, such as T1_MASK."),
    click.option("--tags", metavar="A,B", help="Tags of the resource, if this upload creates it."),
)
@option_group(
    "Sending",
    click.option("--overwrite", is_flag=True, help="Replace existing files that have different content."),
    click.option(
        "--image-resource",
        is_flag=True,
        help="With --scan: write to DICOM or secondary, where XNAT stores the images of the scan.",
    ),
    click.option("--mode", default="resource", metavar="TRANSPORT", show_default=True, help="How to send."),
    click.option("--dry-run", is_flag=True, help="Show what would be sent, without sending or logging in."),
)
@option_group(
    "Checking",
    click.option(
        "--verify/--no-verify", default=True, help="Compare the server with the disk at the end.", show_default=True
    ),
)
@journal_options
@server_options
@common_options
@pass_app
def resource_upload(
    app: App,
    names: tuple[str, ...],
    scan: str | None,
    project: str | None,
    project_level: bool,
    subject: str | None,
    overwrite: bool,
    file_format: str | None,
    content: str | None,
    tags: str | None,
    mode: str,
    verify: bool,
    follow_symlinks: bool,
    attach_unknown: bool,
    hidden: bool,
    image_resource: bool,
    dry_run: bool,
    resume: bool,
    lock_wait: float,
    **given: Any,
) -> None:
    """See `_UPLOAD`; options of transports arrive in `given`."""
    project = app.project_or_default(project, names[0] if len(names) == len(("SESSION", "LABEL", "PATH")) else None)
    level = _level(scan=scan, project_level=project_level, subject=subject)
    session, label, path = _names(names, level, project)
    if level is ResourceLevel.SCAN and label.casefold() in _OF_IMAGES and not image_resource:
        raise Refused(
            f"Resource {label} of a scan holds its images. Files that are not imported bypass anonymisation and "
            "appear in its DICOM catalog.",
            hint="Send images with session upload, or choose another label, such as NIFTI. To use this resource, "
            "add --image-resource.",
        )
    spec = app.registry.transport(mode).spec
    if spec.payload is not Payload.RESOURCE:
        raise UsageError(f"The transport {mode} carries {spec.payload} files, not those of a resource.")
    request = UploadRequest(
        command="resource upload",
        path=path,
        destination=Destination(
            server=app.settings.server_or_empty(), project=project or "", subject=subject or "", session=session
        ),
        transport=mode,
        workers=1,  # one writer per resource (xnat-api 4.7)
        overwrite=Overwrite.DELETE if overwrite else Overwrite.NONE,
        verify=verify,
        follow_symlinks=follow_symlinks,
        attach_unknown=attach_unknown,
        hidden=hidden,
        resource=ResourceRef(
            label=label,
            level=level,
            scan=scan or "",
            format=file_format or "",
            content=content or "",
            tags=tuple(tag.strip() for tag in (tags or "").split(",") if tag.strip()),
        ),
        options=transport_options(app, mode, given),
    )
    run_upload(app, Upload(request=request, dry_run=dry_run, resume=resume, lock_wait=lock_wait))


def _names(names: tuple[str, ...], level: ResourceLevel, project: str | None) -> tuple[str, str, str]:
    """Session (empty where there is none), label and path. Raises UsageError that names all that is missing."""
    on_session = level in _ON_SESSION
    wanted = ("SESSION", "LABEL", "PATH") if on_session else ("LABEL", "PATH")
    missing = [*(wanted if not names else ()), *([] if project or on_session else ["-P PROJECT"])]
    problems = [f"Missing: {', '.join(missing)}."] if missing else []
    if names and len(names) != len(wanted):
        problems.append(f"Name {', '.join(wanted[:-1])} and {wanted[-1]}; {len(names):,} given.")
    if problems:
        example = "XNAT_E00001 BIDS ./bids" if on_session else "DOCUMENTS ./documents -P DEMO --project-level"
        raise UsageError(" ".join(problems), hint=f"Example: xnatctl resource upload {example} (all options: -h)")
    session, label, path = names if len(names) == len(("SESSION", "LABEL", "PATH")) else ("", *names)
    return session, label, path


_COLUMNS = (
    Column(key="scan"),
    Column(key="label"),
    Column(key="files", numeric=True, count=True),
    Column(key="bytes", title="Size", numeric=True, size=True),
    Column(key="format", drop=2),
    Column(key="content", drop=3),
    Column(key="tags", drop=4),
    Column(key="id", drop=1),
)


@click.command(name="list", help="List the resources of a session and of its scans, with file counts and sizes.")
@click.argument("session", required=False)
@_place_options
@list_options(_COLUMNS)
@server_options
@common_options
@pass_app
def resource_list(
    app: App, session: str | None, scan: str | None, project: str | None, project_level: bool, subject: str | None
) -> None:
    """List resources by accession ID, or by label in a project; file counts come from a current listing."""
    from xnatctl_resource.parent import find_parent, resolve_destination

    project = app.project_or_default(project, session)
    level = _level(scan=scan, project_level=project_level, subject=subject)
    if not (project or level in _ON_SESSION):
        raise UsageError("Missing: -P PROJECT.", hint="Example: xnatctl resource list -P DEMO --project-level")
    if (session is not None) != (level in _ON_SESSION):
        raise UsageError(
            "Name one of SESSION, --project-level and --subject.",
            hint="Example: xnatctl resource list s01_mr -P DEMO, or xnatctl resource list -P DEMO --project-level",
        )
    client = app.connect()
    named = Destination(server=client.server, project=project or "", subject=subject or "", session=session or "")
    destination = resolve_destination(client, named, [level])
    parent = find_parent(client, destination, ResourceRef(label="", level=level, scan=scan or ""))
    found = sorted(rest.resources(client, parent), key=lambda resource: resource.label.casefold())
    rows = [_row(client, parent, resource, scan or "") for resource in found]
    if level is ResourceLevel.SESSION:
        rows += _scan_rows(client, parent)
    schema = "xnatctl.resources/1"

    def lines(shown: Sequence[Mapping[str, Any]], total: int) -> tuple[str, ...]:
        files = counted(sum(row["files"] for row in shown), "file")
        return (f"{shown_of(len(shown), total, 'resource')}, {files}.",)

    app.render(
        Document(
            schema=schema,
            data={"schema": schema, "of": parent.name, "uri": parent.path, "resources": rows},
            listed="resources",
            title=parent.name,
            columns=_COLUMNS,
            rows=rows,
            identifiers=tuple(str(row["id"]) for row in rows),
            summary=lines(rows, len(rows)),
            summarize=lines,
        )
    )


def _row(client: XnatClient, parent: rest.ResourceParent, resource: ResourceInfo, scan: str) -> dict[str, Any]:
    return _described(resource, scan, rest.resource_totals(client, parent, resource))


def _scan_rows(client: XnatClient, parent: rest.ResourceParent) -> list[dict[str, Any]]:
    """The resources of all scans, their files from one listing (xnat-api 2.5)."""
    found = [entry for entry in session_resources(client, parent.session_id) if entry.category == "scans"]
    if not found:
        return []
    totals = totals_of_scans(client, parent.session_id)
    places = {scan.id: place for place, scan in enumerate(list_scans(client, parent.session_id))}
    found.sort(key=lambda entry: (places.get(entry.category_id, len(places)), entry.label.casefold()))
    return [_described(resource, resource.category_id, totals.get(resource.id, Totals())) for resource in found]


def _described(resource: ResourceInfo, scan: str, holds: Totals) -> dict[str, Any]:
    return {
        "scan": scan,
        "label": resource.label,
        "files": holds.files,
        "bytes": holds.bytes,
        "format": resource.format,
        "content": resource.content,
        "tags": resource.tags,
        "id": resource.id,
    }
