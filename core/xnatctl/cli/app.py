"""The state of one command: plugins, settings, connections and output."""

from __future__ import annotations

import io
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any

import click

import xnatctl
from xnatctl.cli.console import clear_line, one_line, say, wants_color
from xnatctl.cli.error_pages import page_about
from xnatctl.cli.event_publisher import EventPublisher
from xnatctl.cli.signals import Signals
from xnatctl.cli.stdout import StdoutWriter, write_out
from xnatctl.cli.suggest import among
from xnatctl.errors import (
    AuthenticationError,
    ConfigError,
    PermissionDenied,
    PluginUnavailable,
    UsageError,
    XnatctlError,
)
from xnatctl.log import Log
from xnatctl.model.commands import Commands
from xnatctl.model.document import DocumentDetail
from xnatctl.model.events import EventKind
from xnatctl.plugin.guard import TRACE_VARIABLE, Guard
from xnatctl.redaction import Redactor

if TYPE_CHECKING:
    from xnatctl.cli.listing import Listing
    from xnatctl.delivery.journal.summaries import Summary
    from xnatctl.model.document import Document
    from xnatctl.model.events import Event
    from xnatctl.model.plan import UploadPlan, UploadRequest
    from xnatctl.plugin.credentials import Credential
    from xnatctl.plugin.guard import Failure
    from xnatctl.plugin.registry import Registry
    from xnatctl.plugin.specs import Option
    from xnatctl.settings.credentials import CredentialChain
    from xnatctl.settings.profiles import Flags, Settings
    from xnatctl.xnat.client import XnatClient

#: An accession ID as XNAT makes it: prefix of the site, `_E` and a number of at least five digits (xnat-api 2.4).
_ACCESSION_ID = re.compile(r".+_E\d{5,}")
#: Characters of a password that --password-stdin reads at most: a device on standard input never ends.
_LONGEST_PASSWORD = 64 * 1024


class App:
    """State of one command: made once, closed at the end.

    `output` is the chosen format or None for the configured one; `rendered` becomes True with the first document.
    `foreign_command` is True while a command of a third-party plugin runs.
    """

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self.arguments = tuple(arguments)
        self._default_project: str | None = None
        self.signals = Signals()
        self.redactor = Redactor()
        self.log = Log(self.redactor)
        self.guard = self._make_guard()
        self.block: tuple[str, ...] = ()
        self.external = True
        self.given: dict[str, Any] = {}
        #: Flags of report writers that were given, by the names of the options.
        self.writer_flags: dict[str, Any] = {}
        self.output: str | None = None
        self.quiet = False
        self.verbose = 0
        self.no_color = False
        #: The rows and columns that the options of a list chose.
        self.listing: Listing | None = None
        self.rendered = False
        self.config_usable = True
        self.foreign_command = False
        #: Flags of secret options.
        self.secret_flags: set[str] = set()
        self._secret_options: list[Option] = []
        self._warned = False
        self._announced: set[str] = set()
        self._clients: list[XnatClient] = []
        self._inventories, self._examined = "examining files", 0
        self._events = EventPublisher(lambda: self.registry, self._display, self.log)
        self._stack = ExitStack()

    # plugins

    @cached_property
    def registry(self) -> Registry:
        """What the plugins provide."""
        from xnatctl.cli.reserved import RESERVED
        from xnatctl.plugin.manager import PluginManager
        from xnatctl.plugin.policy import policy_from
        from xnatctl.plugin.registry import Registry
        from xnatctl.settings.config import plugin_lists

        configured = plugin_lists if self.config_usable else _nothing_configured
        policy = policy_from(block=self.block, external=self.external, configured=configured)
        return Registry(
            PluginManager(policy, warn=self.warn, guard=self.guard),
            plan_last=_plan,
            check_plan=self._check_plan,
            debug=self.debug,
            secret=self._declare_secret,
            reserved=RESERVED,
        )

    def _check_plan(self, plan: UploadPlan, request: UploadRequest, planner: str) -> UploadPlan:
        from xnatctl.delivery.plan_check import check_plan

        return check_plan(plan, self.registry.plan_by_ours(request), request, planner)

    @property
    def commands(self) -> Commands:
        """Makes commands for hints: without the same plugins and, once the settings are known, for the same server."""
        blocked = [["--block-plugin", name] for name in self.block]
        settings = self.__dict__.get("settings")
        return Commands(
            root=(*blocked, *([] if self.external else [["--no-external-plugins"]])),
            server=() if settings is None else self._flags_of(settings),
            arguments=self.arguments,
            secret=frozenset(self.secret_flags),
            implied=[["--project", self._default_project]] if self._default_project is not None else (),
        )

    def _make_guard(self) -> Guard:
        if os.environ.get(TRACE_VARIABLE, "").strip().lower() in ("", "0", "false", "no"):
            return Guard(self._plugin_failed)
        from xnatctl.plugin.trace import TracingGuard

        return TracingGuard(self._plugin_failed, lambda line: self.say(one_line(f"Trace: {line}")))

    def without_config(self) -> None:
        """Continue without configuration file and third-party plugins, to report that the file is unusable."""
        self.config_usable = self.external = False
        self.__dict__.pop("registry", None)

    def _plugin_failed(self, failure: Failure) -> None:
        """The traceback goes to the log file and to stderr with -v; without it the log file gets the lines of code."""
        plugin = failure.plugin
        self.log.error(
            "plugin failed", plugin=plugin.name, origin=plugin.origin, places=failure.places, exception=failure.trace
        )

    # observers

    def tell(self, event: Event) -> None:
        """Send an event to the log and to every observer; the progress display is one of them."""
        if event.kind is EventKind.WARNING:
            self._announced.add(event.message)
        self._events.publish(event)

    def inventory_progress(self, files: int) -> None:
        """Report the progress of an inventory: `files` were examined so far."""
        self._events.publish_preparing(self._inventories, files=self._examined + files)

    def begin_inventory(self, message: str, examined: int) -> None:
        """Make the inventory that follows part of a longer activity, in which `examined` files were examined before."""
        self._inventories, self._examined = message, examined
        self.inventory_progress(0)

    def waits_for(self, client: XnatClient) -> None:
        """Show that a server is being waited for, unless a third-party command runs, which may print at any time."""
        if not self.foreign_command:
            self._events.publish_preparing(f"waiting for {client.server}")

    def _display(self) -> dict[str, object]:
        return {"quiet": self.quiet, "color": self.color, "interactive": self.interactive}

    # settings and connection

    @cached_property
    def settings(self) -> Settings:
        """Flags, variables, profile and defaults. Raises ConfigError."""
        from xnatctl.settings.profiles import resolve

        settings = resolve(self.flags)
        for user, secret in settings.secrets():
            self.redactor.register_secret(secret, user)
        self.redactor.reveal([settings.username.value or ""])
        self._mask_options(self._secret_options, settings.profile)
        return settings

    def _declare_secret(self, option: Option) -> None:
        """Mask what variable and profile hold for a secret option of a plugin, also if the plugin repeats it."""
        self._secret_options.append(option)
        settings = self.__dict__.get("settings")
        self._mask_options([option], {} if settings is None else settings.profile)

    def _mask_options(self, options: Iterable[Option], profile: Mapping[str, Any]) -> None:
        from xnatctl.settings.options import secret_values

        for option in options:
            for secret in secret_values(option, profile):
                self.redactor.register_secret(secret)

    def read_secret(self, name: str) -> str:
        """Ask for a secret on the terminal, or read a line from standard input. Raises UsageError for an empty one."""
        self._events.end()
        if self.interactive:
            from xnatctl.cli.asking import ask_secret

            try:
                secret = ask_secret(f"{name}: ")
            except EOFError:
                secret = ""
        else:
            secret = _line_of_stdin()
        if not secret:
            raise UsageError(f"{name} is empty: neither the terminal nor standard input has a value for it.")
        self.redactor.register_secret(secret)
        return secret

    @cached_property
    def flags(self) -> Flags:
        """The flags that decide server and user. Standard input is read once."""
        from xnatctl.settings.profiles import Flags

        password = self.given.get("password")
        if self.given.get("password_stdin"):
            if password is not None:
                raise UsageError("--password and --password-stdin exclude each other.")
            password = _line_of_stdin()
            if not password:
                raise UsageError("--password-stdin was given, but standard input holds no password.")
        elif password is not None:
            self.warn("--password shows in the process list of this machine; --password-stdin does not.")
        return Flags(
            url=self.given.get("url"),
            recorded=self.given.get("recorded") or "",
            profile=self.given.get("profile"),
            username=self.given.get("username"),
            password=password,
            timeout=self.given.get("timeout"),
            insecure=bool(self.given.get("insecure")),
        )

    def _flags_of(self, settings: Settings) -> list[list[str]]:
        from xnatctl.settings.paths import CONFIG_VARIABLE

        named = {"--url": settings.url, "--profile": settings.profile_name}
        origins = ("flag", "variable", *filter(None, [self.flags.recorded]))
        words = {flag: value.value for flag, value in named.items() if value.origin.startswith(origins)}
        if os.environ.get(CONFIG_VARIABLE):  # another shell may not find the profile
            words["--url"] = settings.url.value
        words |= {"--username": self.given.get("username"), "--timeout": self.given.get("timeout")}
        pairs = [[flag, str(value)] for flag, value in words.items() if value is not None]
        return [*pairs, *([["--insecure"]] if self.given.get("insecure") else [])]

    def new_client(self, *, retry_for: float | None = None) -> XnatClient:
        """Return a client for the chosen server, not logged in; `close` closes it. `retry_for` is that of the flag."""
        settings = self.settings
        self._warn_about_settings()
        cert = settings.client_cert.value
        key = settings.client_key.value
        return self.open_client(
            settings.server(),
            timeout=settings.timeout.value,
            retry_for=self.given.get("retry_for") if retry_for is None else retry_for,
            verify=settings.ca_cert.value or True if settings.verify_tls.value else False,
            cert=(cert, key) if cert and key else cert,
        )

    def open_client(self, server: str, **options: Any) -> XnatClient:
        """Return a client for any server, with options of `XnatClient`; `close` closes it."""
        from xnatctl.xnat.client import XnatClient

        client = self._stack.enter_context(XnatClient(server, commands=self.commands, log=self.log, **options))
        self._clients.append(client)
        return client

    def use_profile(self, name: str, server: str) -> None:
        """Continue with a profile that was just written, and its server."""
        self.given |= {"profile": name, "url": server}
        for computed in ("flags", "settings"):
            self.__dict__.pop(computed, None)

    @property
    def has_written(self) -> bool:
        """Whether a request that may change something was sent to a server."""
        return any(client.writes for client in self._clients)

    @property
    def login_name(self) -> str:
        """The login name as the server gives it; empty without a login."""
        return next((client.login_name for client in self._clients if client.login_name), "")

    def _warn_about_settings(self) -> None:
        """Warn once about settings that are unsafe or have no effect; only commands that contact a server do this."""
        if self._warned:
            return
        for line in self.setting_warnings():
            self.warn(line)

    def setting_warnings(self) -> list[str]:
        """Return a line for each unsafe setting and for each option of the profile that no active plugin has.

        The caller shows them, so that a request does not show them again.
        """
        self._warned = True
        from xnatctl.settings.options import unknown_options, unknown_sections

        profile, declared = self.settings.profile, self.declared_options()
        lines = self.settings.warnings({**declared, **self.declared_source_options()})
        lines += unknown_options(profile, declared)
        if profile.get("credentials"):
            lines += unknown_sections(profile, {provided.name for provided in self.registry.credential_sources()})
        return lines

    def declared_options(self) -> dict[str, bool]:
        """The options that the profile may set for transports, executors and report writers; whether each is secret."""
        if not self.settings.profile.get("options"):
            return {}
        options = [option for provided in self.registry.transports().values() for option in provided.spec.options]
        options += [option for provided in self.registry.executors().values() for option in provided.spec.options]
        options += [option for provided in self.registry.report_writers().values() for option in provided.spec.options]
        secret = {option.name for option in options if option.secret}
        return {option.name: option.name in secret for option in options}

    def declared_source_options(self) -> dict[str, bool]:
        """The options of active credential sources, as `SOURCE.NAME`, and whether each is secret."""
        if not self.settings.profile.get("credentials"):
            return {}
        sources = self.registry.credential_sources()
        return {f"{each.name}.{option.name}": option.secret for each in sources for option in each.spec.options}

    def credential_chain(self, *, prompts: bool = True, fresh: bool = False) -> CredentialChain:
        """Return the credential chain of this run; `fresh` skips stored session tokens.

        Without `prompts` the command never prompts.
        """
        from xnatctl.settings.credentials import CredentialChain

        return CredentialChain(
            self.registry,
            self.settings,
            interactive=self.interactive,
            prompts=prompts,
            redactor=self.redactor,
            fresh=fresh,
            commands=self.commands,
        )

    def log_in(self, client: XnatClient, chain: CredentialChain) -> None:
        """Log a client in and mask its session token in all output."""
        client.login(lambda: self._credential(client, chain), chain.renew)
        self.redactor.register_secret(client.cookie("JSESSIONID") or "")
        self.log.info(
            "logged in",
            version=xnatctl.__version__,
            server=client.server,
            user=client.login_name,
            source=chain.source,
        )

    def _credential(self, client: XnatClient, chain: CredentialChain) -> Credential:
        """Return the next credential, which may prompt for a password. Workers may call this later."""
        if threading.current_thread() is not threading.main_thread():
            return chain()
        self._events.end()

        def before_asking() -> None:
            if chain.given is None:
                self._check_server(client)
            else:  # only a stored session leads to another source
                self.info("The stored login has ended.")

        credential = chain(before_asking)
        self.waits_for(client)
        return credential

    def _check_server(self, client: XnatClient) -> None:
        """Before the user is asked for a password: raise what the server, or a wrong address, makes of the request."""
        from xnatctl.xnat.site import version

        self.waits_for(client)
        with suppress(AuthenticationError, PermissionDenied):  # of a site that tells guests nothing
            version(self.new_client(retry_for=0.0))
        self._events.end()

    def connect(self, *, prompts: bool = True) -> XnatClient:
        """Return a client that is logged in through the credential chain; `close` closes it."""
        client = self.new_client()
        self.log_in(client, self.credential_chain(prompts=prompts))
        return client

    def join_session(self, token: str, renew: Callable[[str], str], *, username: str = "") -> XnatClient:
        """Return a client that is logged in with the session of another process (`XnatClient.shared_session`).

        When the server rejects the token, `renew(token)` returns the next one, which it asks that process for. It is
        called once for all workers, from any thread, and raises XnatctlError when there is none. A login as another
        user than `username` is refused. `close` closes the client and leaves the session open.
        """
        from xnatctl.plugin.credentials import SessionToken

        def session(token: str) -> SessionToken:
            self.redactor.register_secret(token)
            return SessionToken(secret=token, username=username, source="the process that started this one")

        def renewed(rejected: Credential, *, refused: bool) -> Credential:
            assert isinstance(rejected, SessionToken)
            return session(renew(rejected.secret))

        client = self.new_client()
        self.waits_for(client)
        client.login(lambda: session(token), renewed)
        self.log.info("logged in", version=xnatctl.__version__, server=client.server, user=client.login_name)
        return client

    def project_or_default(self, project: str | None, session: str | None = None) -> str | None:
        """Return the project that was given, else `default_project` of the profile, which is printed on stderr.

        `session` is what is looked up in the project. An accession ID needs none, so the default is not used for it.
        """
        if project is not None or (session is not None and _ACCESSION_ID.fullmatch(session)):
            return project
        default = self.settings.default_project
        if default.value is not None:
            self._default_project = default.value
            self.info(f"Project {default.value} (default_project of {default.origin}).")
        return default.value

    def journals(self) -> list[Summary]:
        """Return the journals on this machine, latest first."""
        from xnatctl.delivery.journal.summaries import summaries
        from xnatctl.settings.paths import journal_directory

        return sorted(summaries(journal_directory()), key=lambda summary: -summary.updated)

    # output

    @property
    def interactive(self) -> bool:
        """True when the user can be prompted."""
        return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def one_screen(self) -> bool:
        """True when both what goes to stdout and what goes to stderr is read at a terminal."""
        return sys.stdout.isatty() and sys.stderr.isatty()

    @property
    def color(self) -> bool:
        """Whether stderr may be coloured."""
        return wants_color(sys.stderr, forbidden=self.no_color)

    def format_name(self) -> str:
        """The output format: flag, else settings, else table. Raises ConfigError for an invalid configuration file."""
        if self.output:
            return self.output
        try:
            return str(self.settings.output.value)
        except ConfigError:  # of a server or profile that this command may have no need of, or is about to make
            from xnatctl.settings.config import load_config

            return str(load_config().get("output") or "table")

    @property
    def _identifiers_only(self) -> bool:
        return self.quiet and self.output in (None, "table")

    def check_frame(self) -> None:
        """Check what applies to every command before it starts.

        Raises UsageError for a `--block-plugin` that blocks nothing, UsageError or PluginUnavailable for an output
        format that is not available.
        """
        for name in self.block:
            if self.registry.manager.find(name) is None:
                known = [plugin.name for plugin in self.registry.manager.plugins]
                raise UsageError(f"There is no plugin {name!r} for --block-plugin.", hint=among(name, known))
        if not self._identifiers_only:
            self.registry.load(self.registry.formatter(self.format_name()))

    @property
    def detail(self) -> DocumentDetail:
        """The parts of a document that are read: our table reads rows, our JSON streams, `-q` reads identifiers.

        Raises UsageError, PluginUnavailable for a format that is not available.
        """
        if self._identifiers_only:
            return DocumentDetail.IDENTIFIERS if self.listing is None else DocumentDetail.WHOLE
        name = self.format_name()
        ours = self.registry.formatter(name).plugin.ours
        return (
            {"table": DocumentDetail.ROWS, "json": DocumentDetail.STREAMED}.get(name, DocumentDetail.WHOLE)
            if ours
            else DocumentDetail.WHOLE
        )

    def render(self, document: Document) -> None:
        """Print a document on stdout, or with `-q` its identifiers; signals are held back until it is complete."""
        self._end_progress()
        self.guard.release()
        if self.listing is not None:
            document, left_out = self.listing.of(document)
            if left_out:
                self.info(left_out)
        with self.signals.held():
            self._render(document)

    def _render(self, document: Document) -> None:
        if self._identifiers_only:
            text = "".join(f"{one_line(identifier)}\n" for identifier in document.identifiers)
        else:
            provided = self.registry.formatter(self.format_name())
            formatter = self.registry.make_formatter(provided)
            # Incomplete output of a third-party formatter is not printed. Ours is streamed because it may be long.
            buffer = StdoutWriter(self._begin, self.redactor) if provided.plugin.ours else io.StringIO()
            color = wants_color(sys.stdout, forbidden=self.no_color)
            document = replace(document, announced=frozenset(self._announced), color=color)
            formatter.render(document, buffer)
            text = buffer.getvalue()
            if not provided.plugin.ours and not text.strip():
                origin = f"plugin {provided.plugin.name}, {provided.plugin.origin}"
                raise PluginUnavailable(
                    f"The output format {provided.name} ({origin}) wrote nothing.",
                    hint="Run the command again with another -o.",
                )
        self.rendered = True
        write_out(text, self.redactor)

    def _begin(self) -> None:
        self.rendered = True

    def print_text(self, text: str) -> None:
        """Print text on stdout that is no document, such as a file for another command."""
        self._end_progress()
        self.guard.release()
        with self.signals.held():
            self.rendered = True
            write_out(text, self.redactor)

    def report_error(self, error: XnatctlError) -> None:
        """Print message, hint and page on stderr. The log gets only the code, because messages name files."""
        self._end_progress()
        self.log.error("failed", code=error.code, exit_code=error.exit_code)
        self.say(one_line(f"Error: {error.message}"))
        if error.hint:
            self.say(one_line(f"Hint: {error.hint}"))
        if page := page_about(error):
            self.say(f"More: {page}")

    def _end_progress(self) -> None:
        """Make room for a result: after Ctrl-C, in a line without the echo of the terminal."""
        self._events.end()
        if self.signals.take_echo():
            clear_line()

    def say(self, text: str) -> None:
        """Print lines on stderr with secrets masked; never fails."""
        say(text, self.redactor, plain=self.no_color)

    def info(self, text: str) -> None:
        """Print a line on stderr, unless -q is given."""
        if not self.quiet:
            self.say(one_line(text))

    def warn(self, text: str) -> None:
        """Print a warning, also under -q. A table that has it as well does not repeat it."""
        self._announced.add(text)
        self.say(one_line(f"Warning: {text}"))

    def debug(self, text: str) -> None:
        """Print a line with -v, and write it to the log file."""
        self.log.info("note", message=text)

    def confirm(self, question: str) -> bool:
        """Ask yes or no on the terminal. Raises UsageError when stdin is not a terminal."""
        self._events.end()
        if not self.interactive:
            raise UsageError(
                f"{question} Cannot ask for confirmation: stdin is not a terminal.",
                hint="Add --yes to skip the confirmation.",
            )
        from xnatctl.cli.asking import ask_yes

        try:
            return ask_yes(one_line(question), default=False)
        except EOFError:
            raise click.exceptions.Abort from None

    def exit_with(self, code: int) -> None:
        """End the command with an exit code."""
        raise click.exceptions.Exit(code)

    def abort(self) -> None:
        """Abort all requests to servers; `close` then waits for logouts only as long as an interrupt may take."""
        for client in self._clients:
            client.abort()

    def close(self) -> None:
        """Log out and close what is open."""
        self._events.end()
        self._stack.close()


def _line_of_stdin() -> str:
    """A secret on standard input, without its line end."""
    try:
        line = sys.stdin.readline(_LONGEST_PASSWORD).rstrip("\r\n")
        line.encode("utf-8")  # in the locale C, bytes that are no text become lone surrogates
        return line
    except UnicodeError:
        raise UsageError(
            f"The password on standard input is not {sys.stdin.encoding.upper()} text.",
            hint="Write it in that encoding, or set XNAT_PASS.",
        ) from None


def _nothing_configured() -> tuple[list[str], None]:
    return [], None


def _plan(request: UploadRequest) -> UploadPlan:
    """Core's implementation of `xnatctl_plan_upload`, which is called last."""
    from xnatctl.delivery.planning import plan_session_upload

    return plan_session_upload(request)


def pass_unchecked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Pass the App to a command that works with any configuration, or chooses its server; others use `pass_app`.

    A command that chooses its server calls `App.check_frame` afterwards.
    """
    passing: Callable[..., Any] = click.make_pass_decorator(App)(function)
    return passing


def pass_app(function: Callable[..., Any]) -> Callable[..., Any]:
    """Pass the App to a command, after checking that its output format is available."""

    @wraps(function)
    def checked(app: App, *arguments: Any, **named: Any) -> Any:
        app.check_frame()
        return function(app, *arguments, **named)

    passing: Callable[..., Any] = pass_unchecked(checked)
    return passing
