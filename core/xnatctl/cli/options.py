"""Options that many commands share; their values are stored in the `App`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from xnatctl.cli.app import App
from xnatctl.cli.completing import SERVER_OPTIONS
from xnatctl.cli.help import option_group, under
from xnatctl.cli.numbers import Number, WholeNumber
from xnatctl.errors import PluginUnavailable, UsageError
from xnatctl.model.commands import ASK
from xnatctl.model.plan import Overwrite, Payload, Placement
from xnatctl.model.words import plain_number
from xnatctl.plugin.guard import BLOCK_VARIABLE
from xnatctl.plugin.specs import Option, ReportWriterSpec, TransportSpec

if TYPE_CHECKING:
    from xnatctl.plugin.catalog import Provided

F = TypeVar("F", bound=Callable[..., Any])


def _into_app(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Store a value in the App; it is not passed to the command."""
    app = context.find_object(App)
    if context.resilient_parsing and parameter.name in SERVER_OPTIONS and app is not None:
        app.given[parameter.name] = value  # completing asks this server
    if app is not None and parameter.name is not None and not context.resilient_parsing:
        if parameter.name in ("output", "quiet", "verbose", "no_color"):
            setattr(app, parameter.name, value)
        else:
            app.given[parameter.name] = value
    return value


def _about_log(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Configure logging from `-v` and `--log-file`; the last call has both values.

    Also called without either, so that log lines of libraries do not reach the terminal.
    """
    app = context.find_object(App)
    if app is None or context.resilient_parsing:
        return
    _into_app(context, parameter, value)
    path = app.given.get("log_file")
    try:
        app.log.configure(path, verbose=app.verbose)
    except OSError as error:
        raise UsageError(f"Cannot write the log file {path}: {error.strerror}.") from error


def common_options(function: F) -> F:
    """`-o`, `-q`, `-v`, `--no-color`, `--log-file`."""
    return option_group(
        "Output",
        click.option(
            "-o",
            "--output",
            metavar="FORMAT",
            expose_value=False,
            callback=_into_app,
            help="table, json, ndjson, csv, tsv, yaml, or a plugin's.  [default: table]",
        ),
        click.option(
            "-q", "--quiet", is_flag=True, expose_value=False, callback=_into_app, help="Print identifiers only."
        ),
        click.option(
            "-v",
            "--verbose",
            count=True,
            expose_value=False,
            callback=_about_log,
            help="Print more details; -vv prints everything.",
        ),
        click.option("--no-color", is_flag=True, expose_value=False, callback=_into_app, help="No colours."),
        click.option(
            "--log-file",
            metavar="PATH",
            type=click.Path(dir_okay=False),
            expose_value=False,
            callback=_about_log,
            help="Write a log of JSON lines, without secrets; with -v it names files, labels and subjects.",
        ),
    )(function)


def _app_option(*names: str, **settings: Any) -> Callable[[F], F]:
    """An option whose value is stored in the App."""
    return click.option(*names, expose_value=False, callback=_into_app, **settings)


def server_options(function: F) -> F:
    """`--url`, `--profile`, `--username`, `--password`, `--password-stdin`, `--timeout`, `--insecure`."""
    return option_group(
        "Server and login",
        _app_option("--url", metavar="URL", help="URL of the XNAT server.  [env: XNAT_URL]"),
        _app_option("--profile", metavar="NAME", help="Profile of the configuration file.  [env: XNAT_PROFILE]"),
        _app_option("--username", metavar="USER", help="Log in as this user.  [env: XNAT_USER]"),
        _app_option(
            "--password",
            metavar="PASS",
            help="The password. The process list shows it: prefer --password-stdin.  [env: XNAT_PASS]",
        ),
        _app_option("--password-stdin", is_flag=True, help="Read the password from standard input."),
        _app_option(
            "--timeout",
            type=Number(min=0, min_open=True),
            metavar="SECONDS",
            help="Time limit of one request.  [env: XNAT_TIMEOUT; default: 21600]",
        ),
        _app_option("--insecure", is_flag=True, help="Do not check the server's certificate."),
    )(function)


#: The help of `-P` where it is required.
PROJECT_HELP = "Project ID.  [default: default_project of the profile]"


class ProjectOption(click.Option):
    """An option whose value is `default_project` of the profile, if it is the option `--project` and was not given.

    Options that were given are processed first, so the profile is known by then.
    """

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        value, source = super().consume_value(ctx, opts)
        app = ctx.find_object(App)
        given = not click.Option.value_is_missing(self, value)
        if given or self.name != "project" or app is None or ctx.resilient_parsing or not self.takes_default(ctx):
            return value, source
        default = app.settings.default_project.value
        return (value, source) if default is None else (default, ParameterSource.DEFAULT_MAP)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """What has a default in the profile is not called required."""
        record = super().get_help_record(ctx)
        if record is None or self.name != "project":
            return record
        return record[0], record[1].removesuffix("[required]").rstrip()

    def takes_default(self, context: click.Context) -> bool:
        """Whether this command line needs a project."""
        return True

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        found = super().handle_parse_result(ctx, opts, args)
        if self.name == "project" and ctx.get_parameter_source(self.name) is ParameterSource.DEFAULT_MAP:
            app = ctx.find_object(App)
            assert app is not None
            app.project_or_default(None)
        return found


def destination_options(*, subject: str, option: type[ProjectOption] = ProjectOption) -> Callable[[F], F]:
    """`-P`, `-S` and `-E`, all required; `subject` is the help of `-S`, `option` the class of all three.

    The project may come from `default_project` of the profile.
    """
    return option_group(
        "Destination",
        *(
            click.option(letter, name, cls=option, required=True, callback=_not_empty, help=text)
            for letter, name, text in (
                ("-P", "--project", PROJECT_HELP),
                ("-S", "--subject", subject),
                ("-E", "--session", "Session label."),
            )
        ),
    )


def _not_empty(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse an empty value, which usually comes from an unset variable in a script."""
    if value is not None and not value.strip():
        raise UsageError(f"{parameter.opts[-1]} is empty.")
    return value


def session_options(function: F) -> F:
    """`--mode`, `--workers`, `--direct-archive/--prearchive`, `--overwrite`, and `verify_options`.

    `session_fields` makes the fields of an UploadRequest of them.
    """
    return option_group(
        "Sending",
        click.option(
            "--mode",
            default=None,
            is_eager=True,
            metavar="TRANSPORT",
            help="How to send DICOM: tar (default), zip, gradual, or a plugin's.",
        ),
        click.option(
            "--workers",
            type=WholeNumber(min=1),
            default=None,
            help="Requests at the same time.  [default: 4; gradual adapts between 4 and 16]",
        ),
        click.option(
            "--direct-archive/--prearchive",
            "archive",
            default=None,
            help="Archive at once, or leave in the prearchive for review.  [default: direct-archive]",
        ),
        click.option(
            "--overwrite",
            type=click.Choice([str(policy) for policy in Overwrite]),
            default=None,
            help="What to do with an existing session.  [default: delete]",
        ),
        verify_options,
    )(function)


def session_fields(
    app: App,
    spec: TransportSpec,
    *,
    workers: int | None,
    archive: bool | None,
    overwrite: str | None,
    verify: bool,
    verify_level: str,
    exact: bool,
) -> dict[str, Any]:
    """The fields of an UploadRequest for the values of `session_options`; the settings supply what was not given.

    Raises UsageError for options that exclude each other.
    """
    if exact and not verify:
        raise UsageError("--exact cannot be combined with --no-verify.")
    named = workers or app.settings.workers.value
    return {
        "workers": named or spec.default_workers,
        "most_workers": 0 if named else spec.most_workers,
        "placement": Placement.PREARCHIVE if archive is False else Placement.ARCHIVE,
        "overwrite": Overwrite(overwrite or str(app.settings.overwrite.value)),
        "verify": verify,
        "checksum": verify_level == "checksum",
        "exact": exact,
    }


def source_options(function: F) -> F:
    """`--follow-symlinks` and `--large-archive`, for a PATH that may be an archive file."""
    return option_group(
        "Source",
        click.option("--follow-symlinks", is_flag=True, help="Follow symbolic links that lead out of PATH."),
        click.option(
            "--large-archive",
            is_flag=True,
            help="Read an archive file beyond the limits: 256 GiB unpacked, 64 GiB in one member, 500,000 members "
            "(100,000 that are not DICOM).",
        ),
    )(function)


def journal_options(function: F) -> F:
    """`--resume/--no-resume`, `--lock-wait` and `--retry-for`, for every command that uploads."""
    return option_group(
        "Sending",
        click.option(
            "--resume/--no-resume",
            default=True,
            show_default=True,
            help="Send only files that are not proven to be on the server, or start over.",
        ),
        click.option(
            "--lock-wait",
            type=Number(min=0),
            default=60,
            metavar="SECONDS",
            show_default=True,
            help="How long to wait for another run to the same destination.",
        ),
        retry_option,
    )(function)


def retry_option(function: F) -> F:
    """`--retry-for`, stored in the App."""
    return option_group(
        "Sending",
        _app_option(
            "--retry-for",
            type=Number(min=0),
            metavar="SECONDS",
            help="How long to retry while the server or receiver does not answer.  [default: 60]",
        ),
    )(function)


#: The levels of `--verify`, weakest first.
_LEVELS = ("size", "checksum")


class VerifyingCommand(click.Command):
    """A command with `verify_options`, where `--verify` takes an optional level."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        given = list(arguments)
        words = (word for before, word in pairwise(given) if before == "--verify")
        unknown = [word for word in words if not word.startswith("-") and word not in _LEVELS]
        try:
            rest = super().parse_args(context, list(_with_level(given)))
        except click.UsageError as error:
            if type(error) is click.UsageError and unknown:  # too many arguments: the word is not PATH
                raise _no_level(unknown[0]) from None
            raise
        if len(context.params.get("paths") or ()) > 1:
            for word in unknown:
                if not os.path.lexists(word):
                    raise _no_level(word)
        return rest


def _with_level(arguments: list[str]) -> Iterator[str]:
    """Rewrite `--verify LEVEL` and `--verify=LEVEL` to two options; click has no optional option values."""
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            yield argument
            break
        name, equals, level = argument.partition("=")
        if name == "--verify" and equals:
            if level not in _LEVELS:
                raise _no_level(level)
            yield from ("--verify", f"--verify-level={level}")
            continue
        yield argument
        if argument == "--verify" and (following := next(rest, None)) is not None:
            yield from ("--verify-level", following) if following in _LEVELS else _with_level([following, *rest])
    yield from rest


def _no_level(word: str) -> UsageError:
    return UsageError(
        f"--verify takes one of {', '.join(_LEVELS)}, not {word!r}.",
        hint="By default UIDs and sizes are compared; checksum also compares MD5.",
    )


def verify_options(function: F) -> F:
    """`--verify [LEVEL] / --no-verify` as `verify` and `verify_level`, and `--exact`; for a `VerifyingCommand`."""
    verify = click.option(
        "--verify/--no-verify",
        default=True,
        show_default=True,
        help="Compare the server with the disk at the end, by UID and size; --verify checksum also compares MD5.",
    )
    return option_group("Checking", verify, level_options)(function)


def level_options(function: F) -> F:
    """`--verify LEVEL` and `--exact` for commands that always compare."""
    return option_group(
        "Checking",
        click.option("--verify-level", type=click.Choice(_LEVELS), default="size", hidden=True),
        click.option(
            "--exact", is_flag=True, help="Fail when the session holds anything that is not on disk (exit code 6)."
        ),
    )(function)


class PluginOptionsCommand(VerifyingCommand):
    """A command that also takes options of plugins, as flags.

    Only flags that were given reach the command; variable, profile and default are resolved later. The help shows them
    under `heading`, or below the name of whose they are.
    """

    heading: str | None = None

    def declaring(self, app: App) -> Iterable[Provided[Any]]:
        """The specs whose options are flags of this command; those of report writers are stored in the App."""
        raise NotImplementedError

    def get_params(self, context: click.Context) -> list[click.Parameter]:
        parameters = super().get_params(context)
        app = context.find_object(App)
        if app is None:
            return parameters
        taken = {parameter.name for parameter in parameters}
        declared: dict[str, Option] = {}
        owners: dict[str, list[Provided[Any]]] = {}
        stored: set[str] = set()
        for provided in self.declaring(app):
            for option in provided.spec.options:
                declared.setdefault(option.name, option)
                owners.setdefault(option.name, []).append(provided)
                if isinstance(provided.spec, ReportWriterSpec):
                    stored.add(option.name)
                if option.name in taken:  # only in a command of a plugin: core's options are reserved
                    raise PluginUnavailable(
                        f"This command has an option --{option.name.replace('_', '-')}, and so has the "
                        f"{provided.kind} {provided.name} (plugin {provided.plugin.name}).",
                        hint=f"Block one of the two: {BLOCK_VARIABLE}={provided.plugin.name}.",
                    )
        flags = [_stored(_flag(option)) if name in stored else _flag(option) for name, option in declared.items()]
        for flag, name in zip(flags, declared, strict=True):
            own = _heading(owners[name])
            under(own if name in stored else self.heading or own, flag)
        _hide(app, [option for option in declared.values() if option.secret])
        # Before the common options; --help is last.
        names = [parameter.name for parameter in parameters]
        shared = min((names.index(name) for name in ("resume", "url", "output") if name in names), default=-1)
        return [*parameters[:shared], *flags, *parameters[shared:]]

    def invoke(self, context: click.Context) -> Any:
        own = {parameter.name for parameter in self.params}
        for name in [name for name, value in context.params.items() if name not in own and value is None]:
            del context.params[name]
        return super().invoke(context)


class ReportOptionsCommand(PluginOptionsCommand):
    """A command that uploads, with the options of every active report writer."""

    def declaring(self, app: App) -> Iterable[Provided[Any]]:
        """All report writers."""
        return app.registry.report_writers().values()


class TransportOptionsCommand(ReportOptionsCommand):
    """A command with the options of every active transport of a payload, and of every report writer.

    A transport that belongs to one command (`TransportSpec.command`) has its options only there.
    """

    payload = Payload.DICOM
    only_for: str | None = None

    def declaring(self, app: App) -> Iterable[Provided[Any]]:
        """Transports that this command can send by, and report writers."""
        found = app.registry.transports().values()
        own = [one for one in found if one.spec.payload is self.payload and one.spec.command == self.only_for]
        return [*own, *super().declaring(app)]


class ExecutorOptionsCommand(PluginOptionsCommand):
    """A command with the options of every active executor."""

    def declaring(self, app: App) -> Iterable[Provided[Any]]:
        """All executors."""
        return app.registry.executors().values()


def _heading(owners: Sequence[Provided[Any]]) -> str:
    """The heading of an option, by whose it is: `Transports tar and zip`, `Receipt`."""
    *first, last = (owner.name for owner in owners)
    if isinstance(owners[0].spec, ReportWriterSpec):
        return last.capitalize()
    kind = owners[0].kind.capitalize()
    return f"{kind}s {', '.join(first)} and {last}" if first else f"{kind} {last}"


def _hide(app: App, options: Iterable[Option]) -> None:
    """Mask the values of secret options that stand in the command line, before an error about it is printed."""
    flags = {f"--{option.name.replace('_', '-')}" for option in options}
    app.secret_flags |= flags
    for before, word in pairwise(["", *app.arguments]):
        flag, equals, value = word.partition("=")
        if before in flags and word != ASK:
            app.redactor.register_secret(word)
        if flag in flags and equals and value != ASK:
            app.redactor.register_secret(value)


def _stored(flag: click.Option) -> click.Option:
    """The flag of a report writer: its value is stored in the App, and the command does not get it."""
    flag.expose_value = False
    flag.callback = _into_writer_flags
    return flag


def _into_writer_flags(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    app = context.find_object(App)
    if app is not None and parameter.name is not None and value is not None and not context.resilient_parsing:
        app.writer_flags[parameter.name] = value
    return value


def _flag(option: Option) -> click.Option:
    name = option.name.replace("_", "-")
    text = ("" if option.default else "no-") + name if option.type is bool else plain_number(option.default)
    default = f"default: {text}" if option.default is not None else ""
    variable = f"env: {option.envvar}" if option.envvar else ""
    asks = f"{ASK} asks for it" if option.secret else ""
    notes = "; ".join(filter(None, [variable, default, asks]))
    text = f"{option.help}  [{notes}]" if notes else option.help
    if option.type is bool:
        return click.Option([f"--{name}/--no-{name}"], default=None, help=text)
    kind: Any = Number() if option.type is float else WholeNumber() if option.type is int else option.type
    if isinstance(option.type, tuple):
        kind = click.Choice(option.type)
    return click.Option([f"--{name}"], type=kind, default=None, help=text, metavar=option.metavar or None)
