"""Finds names that more than one plugin takes.

A name belongs to core or to a plugin of xnatctl before it belongs to anybody else. Between two third-party plugins
there is no order that users would expect, so neither gets it until one of them is blocked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from xnatctl.plugin.discovery import Plugin, Status
from xnatctl.plugin.specs import CommandSpec, ExecutorSpec, Option, ReportWriterSpec, Spec, TransportSpec

#: The kind of a flag in a clash.
OPTION = "option"
#: The kind of a command; its name is the path.
COMMAND = "command"
#: The group of a command, which another plugin may share, but not take as a command.
_GROUP = "group of a command"


#: Specs whose options are flags.
_WithFlags = TransportSpec | ExecutorSpec | ReportWriterSpec


@dataclass(frozen=True, slots=True)
class Taken:
    """A name of some kind, such as ("transport", "tar"), with the plugin that takes it."""

    kind: str
    name: str
    plugin: Plugin


def flags_of(option: Option) -> tuple[str, ...]:
    """The flags of an option."""
    name = option.name.replace("_", "-")
    return (f"--{name}", f"--no-{name}") if option.type is bool else (f"--{name}",)


def names_of(kind: str, specs: Sequence[Spec], plugin: Plugin) -> Iterator[Taken]:
    """Every name that specs of one kind take. Raises ValueError if they contradict each other."""
    seen: set[str] = set()
    options: dict[str, Option] = {}
    for spec in specs:
        name = " ".join(spec.path.split()) if isinstance(spec, CommandSpec) else spec.name
        if not isinstance(name, str) or not name.strip() or name.startswith("-"):
            raise ValueError(f"{name!r} cannot be a name ({kind})")
        if name in seen:
            raise ValueError(f"it provides the {kind} {name} twice")
        seen.add(name)
        yield Taken(kind, name, plugin)
        if isinstance(spec, _WithFlags):
            for flag, option in _own_flags(kind, spec):
                other = options.setdefault(flag, option)
                if (other.name, other.type, other.secret) != (option.name, option.type, option.secret):
                    raise ValueError(f"its {kind}s declare the option {flag} in two ways")
    if kind == COMMAND and (inner := _nested(seen)):
        raise ValueError(f"its command {inner[0]} is the group of its command {inner[1]}")
    yield from (Taken(OPTION, flag, plugin) for flag in options)


def _own_flags(kind: str, spec: _WithFlags) -> Iterator[tuple[str, Option]]:
    seen: set[str] = set()
    for option in spec.options:
        for flag in flags_of(option):
            if flag in seen:
                raise ValueError(f"the {kind} {spec.name} declares the option {flag} twice")
            seen.add(flag)
            yield flag, option


def _nested(paths: Collection[str]) -> tuple[str, str] | None:
    pairs = [(path, other) for path in paths for other in paths if other.startswith(f"{path} ")]
    return min(pairs, default=None)


def clashes(taken: Iterable[Taken], reserved: Mapping[str, Collection[str]]) -> list[tuple[Plugin, str]]:
    """The third-party plugins that take a name which is taken, each with the reason.

    `reserved` are the names of core by kind.
    """
    names = [entry for entry in taken if entry.plugin.status is Status.ACTIVE]
    foreign = [entry for entry in names if not entry.plugin.ours]
    ours = _Owners()
    for kind, group in reserved.items():
        for name in group:
            ours.add(kind, name, None)
    for entry in names:
        if entry.plugin.ours:
            ours.add(entry.kind, entry.name, entry.plugin)
    found: dict[Plugin, str] = {}
    for entry in foreign:
        if (owner := ours.of(entry)) is not None:
            found.setdefault(entry.plugin, f"its {entry.kind} {entry.name} belongs to {owner}")
    rest = [entry for entry in foreign if entry.plugin not in found]
    others = _Owners()
    for entry in rest:
        others.add(entry.kind, entry.name, entry.plugin)
    for entry in rest:
        if (owner := others.of(entry)) is not None:
            reason = f"its {entry.kind} {entry.name} is also that of {owner}; block one of the two"
            found.setdefault(entry.plugin, reason)
    return list(found.items())


class _Owners:
    """Who takes which name; None is core."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], list[Plugin | None]] = {}

    def add(self, kind: str, name: str, plugin: Plugin | None) -> None:
        keys = [(kind, name), *(((_GROUP, group)) for group in _groups(kind, name))]
        for key in keys:
            self._names.setdefault(key, []).append(plugin)

    def of(self, entry: Taken) -> str | None:
        """Another owner of a name, or None. A command also takes the paths above and below its own."""
        keys = [(entry.kind, entry.name), *((entry.kind, group) for group in _groups(entry.kind, entry.name))]
        if entry.kind == COMMAND:
            keys.append((_GROUP, entry.name))
        for key in keys:
            for plugin in self._names.get(key, ()):
                if plugin is not entry.plugin:
                    return "xnatctl itself" if plugin is None else f"plugin {plugin.name} ({plugin.origin})"
        return None


def _groups(kind: str, name: str) -> list[str]:
    """The groups of a command: `a` and `a b` of `a b c`."""
    words = name.split(" ") if kind == COMMAND else []
    return [" ".join(words[:count]) for count in range(1, len(words))]
