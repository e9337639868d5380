"""`campaign watch`."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, TypeVar

import click

from xnatctl.api import NotFound, Payload, Refused, UsageError
from xnatctl.api.commands import App, Number, Services, common_options, exclusively, pass_app, server_options
from xnatctl_campaign.watch.proofs import Proofs
from xnatctl_campaign.watch.results import StudyResult, StudyState, closing_document, document_of, exit_code_of_all
from xnatctl_campaign.watch.rules import Rules
from xnatctl_campaign.watch.sender import StudySender
from xnatctl_campaign.watch.watcher import AfterProof, Watch, Watcher

#: Results that the closing document holds at most.
_MOST: Final = 10_000

_HELP = """Send the studies that scanners or a receiver put into a folder.

Studies in INBOX are found by content; a study may lie in several folders, and a folder may hold several studies. A
study is sent when for --quiet seconds none of its files changed, appeared or vanished. The first rule of --rules that
matches a study says where it is sent; a study that no rule matches is reported and left alone.

After the proof that every instance arrived, --after-proof keeps the files, moves them to --move-to, or deletes them:
exactly the files that were proven, each only if it is unchanged since. A study that failed is tried again when it has
changed, or after a delay that grows.

The command runs until a signal ends it. --once waits for one quiet period, handles what was quiet, and ends with exit
code 0 if every one of these studies is proven.
"""

F = TypeVar("F", bound=Callable[..., Any])


def _short_quiet(function: F) -> F:
    """Leave `--quiet` to the time of the inbox: the option that prints identifiers only is `-q` here."""
    for parameter in function.__click_params__:  # type: ignore[attr-defined]
        if "-q" in parameter.opts:
            parameter.opts.remove("--quiet")
    return function


@click.command(name="watch", help=_HELP, short_help="Send the studies that arrive in a folder.")
@click.argument("inbox", metavar="INBOX", type=click.Path(path_type=str))
@click.option(
    "--quiet",
    "quiet_for",
    type=Number(min=0, min_open=True),
    metavar="SECONDS",
    required=True,
    help="Send a study when it has not changed for so long.",
)
@click.option("--rules", metavar="FILE", required=True, type=click.Path(path_type=str), help="Where studies are sent.")
@click.option(
    "--after-proof",
    type=click.Choice([str(choice) for choice in AfterProof]),
    default=str(AfterProof.KEEP),
    show_default=True,
    help="What to do with files that were proven to have arrived.",
)
@click.option("--move-to", metavar="DIR", type=click.Path(path_type=str), help="With --after-proof move: the folder.")
@click.option(
    "--retry-after",
    type=Number(min=0, min_open=True),
    metavar="SECONDS",
    default=60,
    show_default=True,
    help="First delay before a study that failed is tried again; it doubles up to 64 times as long.",
)
@click.option("--once", is_flag=True, help="Handle what is quiet, and end.")
@server_options
@_short_quiet
@common_options
@pass_app
def watch(
    app: App,
    inbox: str,
    quiet_for: float,
    rules: str,
    after_proof: str,
    move_to: str | None,
    retry_after: float,
    once: bool,
) -> None:
    """See `_HELP`."""
    root = _inbox(inbox)
    what = AfterProof(after_proof)
    wanted = Watch(
        inbox=root,
        quiet=quiet_for,
        after_proof=what,
        move_to=_target(root, what, move_to),
        retry_after=retry_after,
    )
    if what is not AfterProof.KEEP and not os.access(root, os.W_OK | os.X_OK):
        raise UsageError(
            f"{inbox} cannot be written, so nothing can be removed there.",
            hint="Use --after-proof keep, or another user.",
        )
    parsed = Rules(rules, _modes(app))
    server = app.settings.server()
    proofs = Proofs(hashlib.sha256(os.fsencode(f"{root}\0{server}")).hexdigest()[:16])
    proofs.check_writable()
    sender = StudySender(app, root, parsed)
    with _alone(sender.services, root):
        _watch(app, wanted, sender, proofs, once=once)


def _watch(app: App, wanted: Watch, sender: StudySender, proofs: Proofs, *, once: bool) -> None:
    """Watch, and end the command with a document and its exit code."""
    results: deque[StudyResult] = deque(maxlen=_MOST)
    streamed = app.format_name() == "ndjson"

    def tell(result: StudyResult) -> None:
        app.log.info("study", **result.row())
        (app.info if result.state is StudyState.PROVEN else app.warn)(result.line())
        results.append(result)
        if streamed:
            app.render(document_of([result]))

    watcher = Watcher(wanted, sender, proofs, tell=tell, warn=app.warn)
    try:
        if once:
            watcher.run_once()
        else:
            app.info(f"Watching {wanted.inbox}. Stop with Ctrl-C.")
            watcher.run()
    finally:
        if not streamed:
            app.render(closing_document(results, watcher.waiting))
    if code := exit_code_of_all(results):
        app.exit_with(code)


def _inbox(path: str) -> str:
    """The absolute path of the inbox. Raises NotFound."""
    root = os.path.realpath(path)
    if not os.path.isdir(root):
        raise NotFound(f"No such folder: {path}", hint="Name the folder in which studies arrive.")
    return root


def _target(root: str, what: AfterProof, move_to: str | None) -> str | None:
    """The absolute path of `--move-to`, which is made. Raises UsageError."""
    if (move_to is not None) != (what is AfterProof.MOVE):
        raise UsageError("--after-proof move and --move-to require each other.")
    if move_to is None:
        return None
    target = os.path.realpath(move_to)
    if target == root or target.startswith(root.rstrip("/") + "/"):
        raise UsageError(f"{move_to} lies in the inbox, where it would be watched.", hint="Name a folder beside it.")
    try:
        os.makedirs(target, exist_ok=True)
    except OSError as error:
        raise UsageError(f"Cannot make the folder {move_to}: {error.strerror}.") from None
    return target


def _modes(app: App) -> list[str]:
    """The transports that send DICOM to a session of a given label."""
    specs = [provided.spec for provided in app.registry.transports().values()]
    return [
        spec.name for spec in specs if spec.payload is Payload.DICOM and spec.settle == "session" and not spec.command
    ]


@contextmanager
def _alone(services: Services, root: str) -> Iterator[None]:
    """Refuse a second watcher of an inbox on this machine. Raises Refused."""
    status = os.stat(root)
    at_once = replace(services, lock_wait=0, say=_silent)
    try:
        lock = exclusively(at_once, "watch", f"{status.st_dev}:{status.st_ino}")
    except Refused:
        raise Refused(f"Another watcher works on {root}.", hint="Stop it first, or leave the inbox to it.") from None
    with lock:
        yield


def _silent(text: str) -> None:
    """Print nothing."""
