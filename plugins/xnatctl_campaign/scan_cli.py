"""`campaign scan`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import click

from xnatctl.api import Column, DeliveryIncomplete, Document, NotFound, UsageError, counted, human_size
from xnatctl.api.commands import App, check_keywords, common_options, pass_app, source_options
from xnatctl_campaign.labelling import Labels
from xnatctl_campaign.manifest_writer import refuse_existing, write_manifest, write_rows
from xnatctl_campaign.renaming import read_renaming
from xnatctl_campaign.row import Kind, Row
from xnatctl_campaign.scan import FoundStudy, Scanner, Skipped, separate_roots
from xnatctl_campaign.template import PathPattern, Template, check_groups

_SCAN = """Find the studies below each ROOT, and write a manifest for `campaign plan`.

A ROOT is a directory, a DICOM file or an archive file. Content decides what is DICOM, and each study becomes one row,
also if its files are spread over folders. Edit the manifest as you like: no command changes it.

Without --manifest it is printed on standard output, always as CSV; with it, -o is the format of a summary. A column of
labels without a template stays empty, for you to fill it in. Templates hold text and {Keyword} of the DICOM header,
such as `{PatientID}_{StudyDate:%Y%m%d}`, and {name} for a named group of --path-pattern.
"""


@click.command(help=_SCAN)
@click.argument("roots", metavar="ROOT...", nargs=-1, required=True, type=click.Path(path_type=str))
@click.option(
    "-P",
    "--project",
    metavar="LABEL",
    default="",
    help="Project ID of all rows.  [default: default_project of the profile]",
)
@click.option("-S", "--subject", metavar="TEMPLATE", help="Template of the subject labels.")
@click.option("-E", "--session", metavar="TEMPLATE", help="Template of the session labels.")
@click.option(
    "--map",
    "renaming",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Rename subjects by a CSV file with the columns old,new. It must hold every subject.",
)
@click.option(
    "--path-pattern",
    metavar="REGEX",
    help="Regular expression that is searched in the path of each file; templates use its named groups.",
)
@click.option(
    "--kind",
    type=click.Choice([str(Kind.DICOM), str(Kind.EXAM)]),
    default=str(Kind.DICOM),
    show_default=True,
    help="dicom: a row for each study. exam: a row for each folder directly below ROOT.",
)
@click.option("--manifest", metavar="FILE", type=click.Path(path_type=Path), help="Write the manifest to a new file.")
@source_options
@common_options
@pass_app
def scan(
    app: App,
    roots: tuple[str, ...],
    project: str,
    subject: str | None,
    session: str | None,
    renaming: Path | None,
    path_pattern: str | None,
    kind: str,
    manifest: Path | None,
    follow_symlinks: bool,
    large_archive: bool,
) -> None:
    """Print or write the manifest; exit code 5 if files could not be read."""
    if manifest is None and app.output not in (None, "csv"):
        raise UsageError(
            f"A manifest on standard output is CSV, so -o {app.output} cannot be used.",
            hint="Add --manifest FILE: then -o is the format of the summary.",
        )
    if manifest is not None:
        refuse_existing(manifest)
    pattern = None if path_pattern is None else PathPattern(path_pattern)
    project = project.strip() or app.project_or_default(None) or ""
    labels = _labels(project, subject, session, renaming, pattern)
    scanner = Scanner(
        keywords=labels.keywords, pattern=pattern, follow_symlinks=follow_symlinks, large_archive=large_archive
    )
    found = _found(app, scanner, separate_roots(roots, app.warn), Kind(kind))
    labelled = labels.rows(found)
    _say_skipped(app, scanner.skipped)
    for warning in labelled.warnings:
        app.warn(warning)
    if manifest is None:
        text = io.StringIO()
        write_rows(text, labelled.rows)
        app.print_text(text.getvalue())
    else:
        write_manifest(manifest, labelled.rows)
        app.render(_document(app, manifest, labelled.rows, scanner.skipped))
    if number := scanner.skipped.bad_count:
        error = DeliveryIncomplete(
            f"{counted(number, 'file')} could not be read, so studies or parts of them may be missing in the manifest.",
            hint="Repair or remove these files and scan again, or correct the manifest.",
        )
        app.report_error(error)
        app.exit_with(error.exit_code)


def _labels(
    project: str, subject: str | None, session: str | None, renaming: Path | None, pattern: PathPattern | None
) -> Labels:
    """The templates and the table, before anything is read. Raises UsageError."""
    groups = frozenset[str]() if pattern is None else pattern.groups
    subjects, sessions = (None if text is None else Template(text, groups) for text in (subject, session))
    labels = Labels(
        project=project,
        subject=subjects,
        session=sessions,
        renaming=None if renaming is None else read_renaming(renaming),
    )
    check_keywords(sorted(labels.keywords))
    check_groups(pattern, [template for template in (subjects, sessions) if template is not None])
    if renaming is not None and subject is None:
        raise UsageError("--map renames the subjects that --subject makes, so it needs --subject.")
    return labels


def _found(app: App, scanner: Scanner, roots: Sequence[str], kind: Kind) -> list[FoundStudy]:
    """What all roots hold. Raises NotFound if that is nothing."""
    found: list[FoundStudy] = []
    for root in roots:
        found += scanner.exams(root) if kind is Kind.EXAM else scanner.studies(root)
    if not found:
        _say_skipped(app, scanner.skipped)
        where = roots[0] if len(roots) == 1 else counted(len(roots), "root")
        raise NotFound(
            f"No DICOM was found in {where}.",
            hint="With --kind exam, ROOT is the folder above the exams." if kind is Kind.EXAM else None,
        )
    return found


def _say_skipped(app: App, skipped: Skipped) -> None:
    if skipped.reasons:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in skipped.reasons.most_common())
        app.info(f"Skipped: {reasons}.")
    for warning in skipped.warnings:
        app.warn(warning)
    for entry in skipped.bad:
        app.warn(f"{entry.path}: {entry.reason}.")


def _document(app: App, manifest: Path, rows: Sequence[Row], skipped: Skipped) -> Document:
    schema = "xnatctl.campaign-scan/1"
    files, size = sum(row.files or 0 for row in rows), sum(row.bytes or 0 for row in rows)
    data = {
        "manifest": str(manifest),
        "rows": len(rows),
        "files": files,
        "bytes": size,
        "skipped": sum(skipped.reasons.values()),
        "unreadable": skipped.bad_count,
    }
    sizes = f", {counted(files, 'file')}, {human_size(size)}" if files else ""
    return Document(
        schema=schema,
        data={"schema": schema, **data},
        columns=(
            Column(key="manifest"),
            Column(key="rows", numeric=True, count=True),
            Column(key="files", numeric=True, count=True),
            Column(key="bytes", title="Size", size=True, numeric=True),
            Column(key="skipped", numeric=True, count=True, drop=2),
            Column(key="unreadable", numeric=True, count=True, drop=1),
        ),
        rows=[data],
        identifiers=(str(manifest),),
        summary=(
            f"{counted(len(rows), 'row')}{sizes}.",
            f"Next: {app.commands.command('campaign', 'plan', manifest, 'DIR', server=False)}",
        ),
    )
