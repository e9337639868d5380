"""The entry point, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

import xnatctl
from xnatctl.cli.app import App
from xnatctl.cli.console import open_streams
from xnatctl.cli.lazy import LazyGroup
from xnatctl.cli.usage import usage_error
from xnatctl.errors import (
    BEFORE_SENDING,
    ConfigError,
    Interrupted,
    OutOfMemory,
    XnatctlError,
    exit_code_of,
    is_out_of_memory,
    signal_of,
)
from xnatctl.inventory.watched import watched


class Root(LazyGroup):
    """`xnatctl`, with the flags that decide which plugins take part."""

    def __init__(self) -> None:
        super().__init__(name="xnatctl", help="Upload medical imaging data to XNAT, and prove that it arrived.")
        self.context_settings = {"help_option_names": ["-h", "--help"]}  # commands inherit it, also those of plugins
        self.params = [
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_version,
                help="Print the version and stop.",
            ),
            click.Option(
                ["--block-plugin"],
                multiple=True,
                metavar="NAME",
                is_eager=True,
                expose_value=False,
                callback=_block,
                help="Do not load this plugin; can be repeated.  [env: XNATCTL_BLOCK_PLUGINS]",
            ),
            click.Option(
                ["--no-external-plugins"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_safe_mode,
                help="Use only the plugins that come with xnatctl.  [env: XNATCTL_NO_EXTERNAL_PLUGINS]",
            ),
        ]


def _version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        click.echo(f"xnatctl {xnatctl.__version__}")
        context.exit()


def _block(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    app = context.find_object(App)
    if app is not None:
        app.block = value


def _safe_mode(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    app = context.find_object(App)
    if app is not None and value:
        app.external = False


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code of the outcome."""
    open_streams()
    args = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app = App(args)
        code = run(args, app)
        if not app.foreign_command:  # which ends like any program
            app.guard.seal()
    except (KeyboardInterrupt, Interrupted) as late:  # when all is said and closed
        code = 128 + signal_of(late)
    gc.freeze()  # what is left goes with the process; looking through it once more would only take time
    sys.exit(code)


def run(args: list[str], app: App | None = None) -> int:
    """Run one command; returns its exit code and never raises what is foreseeable."""
    # A plan of many files is many objects that live to the end: looking through them again and again costs a fifth of
    # the time of an inventory, and finds nothing.
    gc.set_threshold(50_000, 20, 100)
    app = app or App(args)
    app.output = _early_output(args)
    app.redactor.register_secret(_early_password(args))
    app.signals.listen()
    try:
        with watched(app.heard):
            code = _command(app, args)
    except (KeyboardInterrupt, Interrupted) as late:  # while an error was being reported
        code = 128 + signal_of(late)
    return _close(app, code)


def _close(app: App, code: int) -> int:
    """Log out and close; returns the exit code. An interrupt cuts that short: what was said before stands."""
    try:
        app.close()
    except (KeyboardInterrupt, Interrupted) as late:
        app.say("Interrupted while logging out. What was reported before is complete.")
        code = 128 + signal_of(late)
    app.signals.ignore()
    return code


def _command(app: App, args: list[str]) -> int:  # noqa: PLR0911 - one return per way to end
    """Run one command; every error is reported here."""
    try:
        code = Root().main(args, prog_name="xnatctl", standalone_mode=False, obj=app)
        return code if isinstance(code, int) else 0
    except click.exceptions.Abort as abort:  # what click makes of Ctrl-C, and of the end of input at a question
        return _end(app, Interrupted("Interrupted.", signal_number=signal_of(abort.__cause__)))
    except click.ClickException as error:
        return _end(app, usage_error(error))
    except (KeyboardInterrupt, Interrupted) as error:
        interrupted = Interrupted("Interrupted.", signal_number=signal_of(error))
        return _end(app, error if isinstance(error, Interrupted) else interrupted)
    except XnatctlError as error:
        return _end(app, error)
    except BrokenPipeError:
        return 0
    except SystemExit as error:
        # Commands of third-party plugins may end like any program; nothing else may.
        return _status(error) if app.foreign_command else _end(app, _unexpected(app, error))
    except BaseException as error:  # noqa: BLE001 - the last resort: one line, and a file with the rest
        return _end(app, _unexpected(app, error))


def _end(app: App, error: XnatctlError) -> int:
    """Say what happened, once for people and, when a format was asked for, once as a document."""
    if exit_code_of(error) in BEFORE_SENDING and app.has_written:
        error = XnatctlError(error.message, hint=error.hint)  # its code would say that nothing was sent
    if app.output not in (None, "table") and not app.rendered:
        from xnatctl.cli.error_document import error_document

        try:
            if isinstance(error, ConfigError):
                app.without_config()
            app.render(error_document(error.as_document()))
        except XnatctlError as second:  # the format itself is what cannot be had
            if second.message != error.message:
                app.report_error(second)
    app.report_error(error)
    return exit_code_of(error)


def _early_output(args: Sequence[str]) -> str | None:
    """`-o FORMAT` wherever it stands, so that an error of parsing is a document too."""
    for index, argument in enumerate(args):
        if argument in ("-o", "--output") and index + 1 < len(args):
            return args[index + 1]
        if argument.startswith("--output="):
            return argument.partition("=")[2]
        if argument.startswith("-o") and not argument.startswith("--") and len(argument) > 2:
            return argument[2:]
    return None


def _early_password(args: Sequence[str]) -> str:
    """`--password TEXT` wherever it stands, so that no error of parsing repeats it; empty without one."""
    for index, argument in enumerate(args):
        if argument == "--password" and index + 1 < len(args):
            return args[index + 1]
        if argument.startswith("--password="):
            return argument.partition("=")[2]
    return ""


def _status(error: SystemExit) -> int:
    """The exit code of a SystemExit, as Python has it: None is 0, a text is 1."""
    return error.code if isinstance(error.code, int) else int(error.code is not None)


def _unexpected(app: App, error: BaseException) -> XnatctlError:
    """One line for people; the traceback goes to a file of this user, or to the terminal with -v."""
    if is_out_of_memory(error):
        return OutOfMemory()
    import traceback

    from xnatctl.settings.paths import state_directory, write_private

    trace = app.redactor.redact("".join(traceback.format_exception(error)))
    if app.verbose:
        app.say(trace)
    file = state_directory() / "crash.txt"
    try:
        write_private(file, f"xnatctl {xnatctl.__version__}\n{trace}")
    except XnatctlError:
        return XnatctlError(f"Unexpected: {type(error).__name__}.", hint="Run again with -v to see where.")
    return XnatctlError(f"Unexpected: {type(error).__name__}.", hint=f"Where it happened is in {file}.")
