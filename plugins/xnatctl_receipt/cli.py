"""`receipt verify`: checks a receipt, and compares it with the disk and the server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from xnatctl.api import (
    Column,
    DeliveryIncomplete,
    Document,
    UsageError,
    VerificationFailed,
    XnatctlError,
    counted,
    human_time,
)
from xnatctl.api.commands import App, common_options, pass_unchecked, server_options, source_options
from xnatctl_receipt.chain import Receipt
from xnatctl_receipt.disk import DiskResult, compare_disk
from xnatctl_receipt.file import parse_receipt, read_bytes
from xnatctl_receipt.problems import Problem
from xnatctl_receipt.saving import SIGNATURE
from xnatctl_receipt.server import ServerResult, compare_server, is_on_server
from xnatctl_receipt.shape import shape_problem
from xnatctl_receipt.signing import check_signature

_HELP = """Check that a receipt is unchanged, and that what it says is still true.

FILE is a receipt that an upload wrote with --receipt, as .json or .html. Every change of it is found, down to one byte.
With PATH, every file that the receipt lists must be there with the same SHA-256. The server must hold every
instance by SOP Instance UID and size; --no-server leaves that out, and then no login is needed.

A receipt without a signature shows that nobody changed it by accident: who changes it on purpose can compute its hashes
anew. --signers checks the signature FILE.sig as well.

Exit code 0 means that everything holds. Exit code 5 means that the receipt is unchanged, and that the upload was not
complete; the server may not be comparable yet. Exit code 6 means that the receipt was changed, or that disk or server
differ from it. Exit code 2 means that FILE is not a receipt.
"""
_SCHEMA = "xnatctl.receipt-check/1"
#: Rows of the table for people; the other formats have all.
_LISTED = 10
_STATUS = {"complete": "complete", "partial": "not finished", "failed": "failed", "interrupted": "interrupted"}
_LEVELS = {
    "counted": "number of files",
    "uid": "SOP Instance UID",
    "size": "SOP Instance UID and size",
    "checksum": "MD5 of the stored file",
}
_COLUMNS = (
    Column(key="where"),
    Column(key="name", title="File"),
    Column(key="message", title="Difference", fit="wrap"),
)


class _Check:
    """The results so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.receipt = Receipt()
        self.problems: list[Problem] = []
        self.signed_by: str | None = None
        self.disk: DiskResult | None = None
        self.server: ServerResult | None = None
        self.places: Sequence[str] = ()
        self.lines: list[str] = []


@click.command(name="verify", help=_HELP, short_help="Check a receipt, and compare it with disk and server.")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=str))
@click.option("--no-server", is_flag=True, help="Do not compare with the server.")
@click.option(
    "--signers",
    metavar="FILE",
    type=click.Path(path_type=str),
    help="Check the signature against these allowed signers.",
)
@click.option("--identity", metavar="ID", help="Who must have signed it; by default, any of the allowed signers.")
@source_options
@server_options
@common_options
@pass_unchecked
def verify(
    app: App,
    file: Path,
    paths: tuple[str, ...],
    no_server: bool,
    signers: str | None,
    identity: str | None,
    follow_symlinks: bool,
    large_archive: bool,
) -> None:
    """See `_HELP`."""
    if identity is not None and signers is None:
        raise UsageError("--identity requires --signers.")
    if not paths and (follow_symlinks or large_archive):
        raise UsageError(f"{'--follow-symlinks' if follow_symlinks else '--large-archive'} requires PATH.")
    check = _Check(file)
    data = read_bytes(file)
    check.receipt = parse_receipt(file, data)
    if not check.receipt.problems and (problem := shape_problem(check.receipt)) is not None:
        check.receipt.problems.append(problem)
    if check.receipt.header and not no_server:
        _choose_server(app, check.receipt)
    app.check_frame()
    _check_itself(check)
    _check_signature(check, data, signers, identity)
    failure: XnatctlError | None = None
    if not check.receipt.problems:
        try:
            if paths:
                _check_disk(check, paths, follow_symlinks=follow_symlinks, large_archive=large_archive)
            else:
                check.lines.append("Disk: not compared, because no PATH was given.")
            _check_server(app, check, wanted=not no_server)
        except XnatctlError as error:
            failure = error
    failure = _verdict(check) or failure
    app.render(_document(check, failure, most=_LISTED if app.format_name() == "table" else None))
    if failure is not None:
        app.report_error(failure)
        app.exit_with(failure.exit_code)


def _choose_server(app: App, receipt: Receipt) -> None:
    """Use the server of the receipt. Raises UsageError for another one."""
    if receipt.problems:
        return
    server, given = receipt.header["destination"]["server"], app.given.get("url")
    if not server:
        return
    if given is None:
        app.given |= {"url": server, "recorded": "receipt"}
        if is_on_server(receipt):
            _keep_secrets(app, server)
    elif given.rstrip("/") != server:
        raise UsageError(
            f"The upload of this receipt went to {server}, not to {given}.",
            hint="Omit --url, or add --no-server to leave out the comparison with the server.",
        )


def _keep_secrets(app: App, server: str) -> None:
    """Raise UsageError where nothing but the receipt, which anybody may have written, says where secrets belong."""
    secret = next((name for name in ("XNAT_PASS", "XNAT_TOKEN") if os.environ.get(name)), None)
    settings = app.settings
    if secret and settings.environment_counts and not os.environ.get("XNAT_URL") and not settings.profile.get("url"):
        raise UsageError(
            f"Only the receipt names the server {server}, and {secret} would be sent to it.",
            hint=f"If {server} is your server, add --url {server}. Otherwise add --no-server.",
        )


def _check_itself(check: _Check) -> None:
    receipt = check.receipt
    check.problems += [Problem(where="receipt", message=text) for text in receipt.problems]
    if receipt.problems:
        check.lines.append("Receipt: changed since it was written. What it says was not compared.")
        return
    header = receipt.header
    where, status = header["destination"], header["status"]
    place = "/".join(filter(None, [where["project"], where["subject"], where["session"], header["asked"]["resource"]]))
    user = f" by {header['user']}" if header["user"] else ""
    check.lines += [
        f"Receipt: unchanged; head {receipt.head}.",
        f"Upload: {_STATUS.get(status, status)}, {human_time(header['ended'])}{user}, to {place or where['server']}.",
    ]
    if status != "complete":
        said = "failed" if status == "failed" else f"was {_STATUS.get(status, status)}"
        check.problems.append(Problem(where="upload", message=f"the upload {said}"))


def _check_signature(check: _Check, data: bytes, signers: str | None, identity: str | None) -> None:
    signature = check.path.with_name(check.path.name + SIGNATURE)
    there = signature.is_file()
    if signers is None:
        said = f"not checked; name the allowed signers of {signature} with --signers" if there else "none"
        check.lines.append(f"Signature: {said}.")
        return
    if not os.path.isfile(signers):
        raise UsageError(f"There is no file {signers} with allowed signers.")
    if not there:
        check.problems.append(Problem(where="signature", message=f"there is no signature {signature}"))
        return
    try:
        check.signed_by = check_signature(data, signature, signers, identity)
        check.lines.append(f"Signature: by {check.signed_by}.")
    except VerificationFailed as error:
        check.problems.append(Problem(where="signature", message=error.message.removesuffix(".")))


def _check_disk(check: _Check, paths: Sequence[str], *, follow_symlinks: bool, large_archive: bool) -> None:
    check.places = paths
    found = compare_disk(check.receipt, paths, follow_symlinks=follow_symlinks, large_archive=large_archive)
    check.disk = found
    check.problems += found.problems
    check.lines.append(f"Disk: {found.equal:,} of {counted(found.listed, 'file')} as they were sent.")
    if found.extra:
        names = ", ".join(found.extra[:2])
        more = f" and {len(found.extra) - 2:,} more" if len(found.extra) > 2 else ""
        check.lines.append(f"Disk: {counted(len(found.extra), 'file')} not in the receipt: {names}{more}")


def _check_server(app: App, check: _Check, *, wanted: bool) -> None:
    if not wanted:
        check.lines.append("Server: not compared (--no-server).")
    elif not is_on_server(check.receipt):
        check.lines.append("Server: not compared, because the upload went to a receiver that is not an XNAT server.")
    else:
        found = check.server = compare_server(app.connect(), check.receipt)
        check.problems += found.problems
        if not found.found and any(not problem.compared for problem in found.problems):
            check.lines.append("Server: could not be compared.")
        else:
            number = f"{found.found:,} of {counted(found.listed, 'file')}"
            check.lines.append(f"Server: {number} found{_by_level(check.receipt, found)}.")


def _by_level(receipt: Receipt, found: ServerResult) -> str:
    """How the files were compared. A file of a resource has no UID."""
    words = {**_LEVELS, "size": "size"} if receipt.header["resources"] else _LEVELS
    if len(found.levels) == 1:
        return f"; compared by {words.get(next(iter(found.levels)), next(iter(found.levels)))}"
    parts = ", ".join(f"{number:,} by {words.get(level, level)}" for level, number in found.levels.items())
    return f"; compared: {parts}" if parts else ""


def _verdict(check: _Check) -> XnatctlError | None:
    if not check.problems:
        return None
    first = check.problems[0]
    places = {problem.where for problem in check.problems}
    if "upload" in places and all(problem.where == "upload" or not problem.compared for problem in check.problems):
        return DeliveryIncomplete(
            f"{check.path} is unchanged, but {'; '.join(problem.message for problem in check.problems)}.",
            hint="Run the command of the upload again: it sends what is missing, and replaces this receipt.",
        )
    if "receipt" in places:
        return VerificationFailed(
            f"{check.path} was changed since it was written: {first.message}", hint="Use another copy of the receipt."
        )
    number = len(check.problems)
    hint = None
    if check.disk is not None and check.disk.none_there:
        where = check.places[0] if len(check.places) == 1 else f"these {len(check.places):,} paths"
        hint = f"None of the {counted(check.disk.listed, 'file')} is in {where}: is it the right folder?"
    return VerificationFailed(
        f"{counted(number, 'difference')} from {check.path}, first on {first.where}: {first}.", hint=hint
    )


def _document(check: _Check, failure: XnatctlError | None, *, most: int | None) -> Document:
    """`most` rows; None for all."""
    rows = [
        {"where": one.where, "name": one.path or one.sop_instance_uid, "message": one.message}
        for one in check.problems[:most]
    ]
    rest = len(check.problems) - len(rows)
    more = [f"... and {rest:,} more; -o json lists all."] if rest else []
    header, disk, server = check.receipt.header, check.disk, check.server
    data: dict[str, Any] = {
        "schema": _SCHEMA,
        "file": str(check.path),
        "ok": failure is None,
        "head": check.receipt.head,
        "status": header.get("status"),
        "destination": header.get("destination"),
        "user": header.get("user"),
        "ended": header.get("ended"),
        "signed_by": check.signed_by,
        "disk": None if disk is None else {"equal": disk.equal, "listed": disk.listed, "extra": list(disk.extra)},
        "server": None
        if server is None
        else {"found": server.found, "listed": server.listed, "levels": dict(server.levels)},
        "problems": [asdict(problem) for problem in check.problems],
        "error": failure.as_document() if failure is not None else None,
    }
    return Document(
        schema=_SCHEMA,
        data=data,
        columns=_COLUMNS if rows else (),
        rows=rows,
        identifiers=(check.receipt.head,) if failure is None else (),
        summary=(*more, *check.lines),
    )
