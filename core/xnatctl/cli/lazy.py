"""Command groups that list commands from their specs; a command's module is imported only to run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from xnatctl.cli.app import App
from xnatctl.cli.builtin import BUILTIN, FIRST_STEPS, GROUPS, PAGES
from xnatctl.cli.completing import complete_values, is_completing
from xnatctl.cli.suggest import commands_like
from xnatctl.errors import PluginUnavailable, UsageError
from xnatctl.plugin.specs import CommandSpec

if TYPE_CHECKING:
    from xnatctl.plugin.catalog import Provided
    from xnatctl.plugin.registry import Registry


def _app(context: click.Context) -> App:
    app = context.find_object(App)
    assert app is not None  # main() puts it there
    return app


_CORE = {spec.path: spec for spec in BUILTIN}


def _known(context: click.Context, level: int = 2) -> Mapping[str, CommandSpec]:
    """Every command by path: the plugins' of a level, and core's own, which no plugin replaces."""
    plugins = {path: provided.spec for path, provided in _app(context).registry.commands(level=level).items()}
    return {**plugins, **_CORE}


def _declared(context: click.Context) -> Mapping[str, CommandSpec]:
    """Commands of third-party plugins, as far as their source shows them. They are loaded by their path."""
    found = _app(context).registry.manager.declared_commands()
    return {path: CommandSpec(path=path, summary=summary, target="") for path, summary in found.items()}


def spec_of(context: click.Context) -> CommandSpec | None:
    """The spec of the command of a context."""
    path = context.command_path.partition(" ")[2]
    return _known(context, level=1).get(path) or _known(context).get(path)


def examples_of(context: click.Context) -> Sequence[str]:
    """The examples of the command of a context, as its spec declares them."""
    spec = spec_of(context)
    return () if spec is None else spec.examples


class _HelpContext(click.Context):
    """The context of a command, with the layout of `xnatctl.cli.help`."""

    def get_help(self) -> str:
        from xnatctl.cli.help import help_text

        spec = spec_of(self)
        return help_text(self) if spec is None else help_text(self, spec.examples, spec.page)


class LazyGroup(click.Group):
    """The commands whose path begins with this group's; the root's path is empty."""

    def __init__(self, name: str, path: str = "", help: str | None = None) -> None:  # noqa: A002 - click's name
        super().__init__(name=name, help=help, no_args_is_help=False)
        self._path = path

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Print the help of a group without a command on stderr, with the exit code of a usage error."""
        if not args and not context.resilient_parsing:
            _app(context).say(context.get_help())
            context.exit(UsageError.exit_code)
        return super().parse_args(context, args)

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """End as the help of a command does; the root shows where to begin."""
        from xnatctl.cli.help import write_end

        write_end(formatter, () if self._path else FIRST_STEPS, PAGES.get(self._path, ""))

    def list_commands(self, context: click.Context) -> list[str]:
        """List commands. The root imports no third-party plugin, so that a broken one cannot break the help.

        What such plugins add to the root is read from their source.
        """
        prefix = f"{self._path} " if self._path else ""
        known = _known(context, level=2) if self._path else {**_declared(context), **_known(context, level=1)}
        return sorted({path[len(prefix) :].split(" ")[0] for path in known if path.startswith(prefix)})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        path = f"{self._path} {name}".strip()
        # Level by level: core's commands are found without loading plugins, ours without loading third-party ones, and
        # those at the root without importing anything.
        levels: tuple[Callable[[click.Context], Mapping[str, CommandSpec]], ...] = (
            lambda _: _CORE,
            lambda context: _known(context, 1),
            *(() if self._path else (_declared,)),
            _known,
        )
        for known in (level(context) for level in levels):
            if path in known:
                return _UnloadedCommand(path, known[path])
            if any(other.startswith(f"{path} ") for other in known):
                return LazyGroup(name, path, help=GROUPS.get(path, f"Commands of {name}."))
        return None

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command; errors suggest a similar one or name the blocked plugin that provides it."""
        name = args[0] if args else ""
        if args and not name.startswith("-") and self.get_command(context, name) is None:
            path = f"{self._path} {name}".strip()
            whole = f"{path} {args[1]}" if not self._path and len(args) > 1 else path
            # Raises PluginUnavailable when a blocked plugin has it.
            try:
                _app(context).registry.command(whole)
            except UsageError:
                there_are = f"There are: {', '.join(self.list_commands(context))}. See {context.command_path} -h."
                hint = self.did_you_mean(context, args) or there_are
                raise UsageError(f"There is no command {path!r}.", hint=hint) from None
        command, found, rest = super().resolve_command(context, args)
        if isinstance(found, _UnloadedCommand):
            found = found.load(context)
        return command, found, rest

    def invoke(self, context: click.Context) -> Any:
        """Add the context of the command to parser errors that lack one, so that its usage is shown."""
        try:
            return super().invoke(context)
        except click.UsageError as error:
            if error.ctx is None and context.invoked_subcommand:
                name, command, _ = self.resolve_command(context, [context.invoked_subcommand])
                error.ctx = click.Context(command, context, name) if command is not None else context
            raise

    def did_you_mean(self, context: click.Context, words: list[str]) -> str | None:
        """A "Did you mean" hint for `words` that follow this group, or None."""
        like = [f"xnatctl {path}" for path in commands_like(self._path, words, _known(context))]
        return f"Did you mean {' or '.join(filter(None, [', '.join(like[:-1]), like[-1]]))}?" if like else None


class _UnloadedCommand(click.Command):
    """A declared command whose module is not imported yet; sufficient for listings."""

    def __init__(self, path: str, spec: CommandSpec) -> None:
        super().__init__(name=path.rsplit(" ", maxsplit=1)[-1], short_help=spec.summary, help=spec.summary)
        self._command_path = path
        self._spec = spec

    def load(self, context: click.Context) -> click.Command:
        """Import and return the command. Raises PluginUnavailable."""
        registry = _app(context).registry
        if self._spec in BUILTIN:
            from xnatctl.plugin.catalog import Provided
            from xnatctl.plugin.discovery import Plugin

            core = Plugin(name="core", target="xnatctl", distribution="xnatctl", version="", ours=True)
            command: click.Command = registry.load(Provided(spec=self._spec, plugin=core))
        else:
            provided = registry.command(self._command_path)
            _app(context).foreign_command = not provided.plugin.ours
            command = _readable(registry, provided) if provided.missing else registry.load(provided)
        if is_completing():
            complete_values(command, self._command_path)
        if not isinstance(command, click.Group):
            command.context_class = _HelpContext
        return command


def _readable(registry: Registry, provided: Provided[CommandSpec]) -> click.Command:
    """A command without its extra: shows its help if it can be imported; running it names the extra to install."""
    try:
        command: click.Command = registry.load(provided, unmet=True)
    except PluginUnavailable:
        registry.load(provided)
        raise
    command.callback = lambda **_: registry.load(provided)
    return command
