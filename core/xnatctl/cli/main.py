"""The entry point, which turns errors into messages and exit codes."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import Any, NoReturn, TextIO, cast

import click

import xnatctl
from xnatctl.cli.app import App
from xnatctl.cli.completing import is_completing
from xnatctl.cli.console import open_streams
from xnatctl.cli.exits import end_soon, intercept_exits
from xnatctl.cli.lazy import LazyGroup
from xnatctl.cli.masked_stream import MaskedStream
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
from xnatctl.inventory.progress import reporting_progress

#: Exit codes above this one mean that a signal ended the command.
_SIGNALLED = 128


class Root(LazyGroup):
    """The root command `xnatctl`, with the flags that select plugins."""

    def __init__(self) -> None:
        super().__init__(name="xnatctl", help="Upload medical imaging data to XNAT and verify that it arrived.")
        # Inherited by all commands, including those of plugins.
        self.context_settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
        self.params = [
            click.Option(["--version"], is_flag=True, help="Print the version; with -v, what a bug report needs."),
            click.Option(["-v", "--verbose"], count=True, hidden=True),
            click.Option(["-o", "--output"], hidden=True),
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

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Print the version if that is asked for; `-v` and `-o` are options of it alone."""
        rest = super().parse_args(context, list(args))
        if context.resilient_parsing:
            return rest
        version, verbose, output = (context.params[name] for name in ("version", "verbose", "output"))
        if version and (verbose or output):
            from xnatctl.cli.version import version_document

            app = context.find_object(App)
            assert app is not None  # main() puts it there
            app.output = output or "table"  # a broken configuration file is a part of the report
            app.render(version_document(app))
        elif version:
            click.echo(f"xnatctl {xnatctl.__version__}")
        elif verbose or output:
            flag = next(word for word in args if word.startswith(("-v", "--verbose", "-o", "--output")))
            raise click.NoSuchOption(flag, ctx=context)
        if version:
            context.exit()
        return rest

    def invoke(self, context: click.Context) -> Any:
        """Turn a signal into `Interrupted` here: click would print an empty line first."""
        try:
            return super().invoke(context)
        except KeyboardInterrupt as error:
            raise Interrupted("Interrupted.", signal_number=signal_of(error)) from error


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
    intercept_exits()
    args = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app = App(args)
        # Not only our own messages: standard output of a plugin leads there, as do warnings and logs of libraries.
        sys.stderr = cast("TextIO", MaskedStream(sys.stderr, app.redactor))
        code = run(args, app)
        if not app.foreign_command:  # a click exit, as of any program
            app.guard.seal()
            if app.guard.used:
                end_soon(code)
    except (KeyboardInterrupt, Interrupted) as late:  # after the result was reported
        code = 128 + signal_of(late)
    gc.freeze()  # skip garbage collection: the process ends anyway
    sys.exit(code)


def run(args: list[str], app: App | None = None) -> int:
    """Run one command and return its exit code; raises no expected error."""
    # A large plan consists of many objects that live until the end. Collecting garbage among them would take a fifth
    # of the time of an inventory and free nothing.
    gc.set_threshold(50_000, 20, 100)
    app = app or App(args)
    if is_completing():
        return _complete(app)
    app.output = _early_output(args)
    app.no_color = "--no-color" in args  # parse errors are without colours, too
    app.redactor.register_secret(_early_password(args))
    app.signals.listen()
    try:
        with reporting_progress(app.inventory_progress):
            code = _command(app, args)
    except (KeyboardInterrupt, Interrupted) as late:  # while an error was being reported
        code = 128 + signal_of(late)
    return _close(app, code)


def _complete(app: App) -> int:
    """Print the values that a shell asks for, or its script; nothing else is written."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):
        try:
            Root().main([], prog_name="xnatctl", obj=app)
        except SystemExit as end:
            return _status(end)
        except Exception:  # noqa: BLE001 - a shell has no use for an error
            return 1
        finally:
            app.close()
    return 0


def _close(app: App, code: int) -> int:
    """Log out and close; returns the exit code. An interrupt ends this early and does not change the result."""
    try:
        if code > _SIGNALLED:
            app.abort()
        app.close()
    except (KeyboardInterrupt, Interrupted) as late:
        app.say("Interrupted while logging out. The report above is complete.")
        code = 128 + signal_of(late)
    app.signals.ignore()
    return code


def _command(app: App, args: list[str]) -> int:  # noqa: PLR0911 - one return per way to end
    """Run one command and report its error."""
    try:
        code = Root().main(args, prog_name="xnatctl", standalone_mode=False, obj=app)
        return code if isinstance(code, int) else 0
    except click.exceptions.Abort as abort:  # raised by click for Ctrl-C and for end of input at a prompt
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
        # Only commands of third-party plugins may raise SystemExit.
        return _status(error) if app.foreign_command else _end(app, _unexpected(app, error))
    except BaseException as error:  # noqa: BLE001 - the last resort: one line, and a file with the rest
        return _end(app, _unexpected(app, error))


def _end(app: App, error: XnatctlError) -> int:
    """Report an error on stderr and, when a format was requested, as a document on stdout."""
    if exit_code_of(error) in BEFORE_SENDING and app.has_written:
        error = XnatctlError(error.message, hint=error.hint)  # its exit code would claim that nothing was sent
    if app.output not in (None, "table") and not app.rendered:
        from xnatctl.cli.error_document import error_document

        app.listing = None
        try:
            if isinstance(error, ConfigError):
                app.without_config()
            app.render(error_document(error.as_document()))
        except XnatctlError as second:  # the format itself is not available
            if second.message != error.message:
                app.report_error(second)
    app.report_error(error)
    return exit_code_of(error)


def _early_output(args: Sequence[str]) -> str | None:
    """Find `-o FORMAT` before parsing, so that parse errors use the format."""
    for index, argument in enumerate(args):
        if argument in ("-o", "--output") and index + 1 < len(args):
            return args[index + 1]
        if argument.startswith("--output="):
            return argument.partition("=")[2]
        if argument.startswith("-o") and not argument.startswith("--") and len(argument) > 2:
            return argument[2:]
    return None


def _early_password(args: Sequence[str]) -> str:
    """Find `--password TEXT` before parsing, so that parse errors do not print it; empty without one."""
    for index, argument in enumerate(args):
        if argument == "--password" and index + 1 < len(args):
            return args[index + 1]
        if argument.startswith("--password="):
            return argument.partition("=")[2]
    return ""


def _status(error: SystemExit) -> int:
    """The exit code of a SystemExit in Python's terms: None is 0, text is 1."""
    return error.code if isinstance(error.code, int) else int(error.code is not None)


def _unexpected(app: App, error: BaseException) -> XnatctlError:
    """Report an unexpected error in one line; the traceback goes to a file, or to the terminal with -v."""
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
        return XnatctlError(f"Unexpected: {type(error).__name__}.", hint="Run again with -v to print the traceback.")
    return XnatctlError(f"Unexpected: {type(error).__name__}.", hint=f"The traceback is in {file}.")
