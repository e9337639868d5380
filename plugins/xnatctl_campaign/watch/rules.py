"""The rules of an inbox: which studies are sent where. The first rule that matches a study counts."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from xnatctl.api import Overwrite, UsageError, XnatctlError, counted
from xnatctl.api.commands import check_keywords
from xnatctl_campaign.template import NoValue, Template

_LABELS: Final = ("project", "subject", "session")
_KEYS: Final = ("match", *_LABELS, "mode", "overwrite")
_HINT: Final = "docs/how-to/watch-an-inbox.md shows a file of rules."
#: A file of rules is read whole, so a device or an image is refused.
_LARGEST: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a rule sends a study, and how; empty texts mean the default."""

    rule: int
    project: str
    subject: str
    session: str
    mode: str
    overwrite: str


class NoPlace(Exception):
    """A rule matches a study and does not give it a place; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One rule; `number` counts from 1. `match` maps keywords to patterns, of which one must fit the whole value."""

    number: int
    match: Mapping[str, Sequence[str]]
    labels: Mapping[str, Template]  # project, subject, session
    mode: str = ""
    overwrite: str = ""

    def matches(self, values: Mapping[str, str]) -> bool:
        """Whether the values of a header fit."""
        return all(
            any(fnmatchcase(values.get(keyword, ""), pattern) for pattern in patterns)
            for keyword, patterns in self.match.items()
        )

    def place(self, series: Sequence[Mapping[str, str]]) -> Place:
        """The place of a study whose series have these values. Raises NoPlace."""
        labels: dict[str, str] = {}
        for name, template in self.labels.items():
            try:
                found = {template.render(values) for values in series}
            except NoValue as problem:
                raise NoPlace(f"rule {self.number} gives no {name}: {problem}") from None
            if len(found) > 1:
                raise NoPlace(f"rule {self.number} gives its series different labels as {name} ({template.text})")
            labels[name] = found.pop()
        return Place(rule=self.number, **labels, mode=self.mode, overwrite=self.overwrite)


class Rules:
    """All rules of a file. Raises UsageError, which names each error with its rule."""

    def __init__(self, path: str, modes: Sequence[str]) -> None:
        entries = _read(path)
        problems: list[str] = []
        self.rules: list[Rule] = []
        for number, entry in enumerate(entries, 1):
            found = list(_problems(entry, modes))
            problems += [f"Rule {number}: {problem}" for problem in found]
            if not found:
                self.rules.append(_rule(number, entry))
        if problems:
            lines = "\n".join(f"  {problem}" for problem in problems)
            raise UsageError(f"{path} has {counted(len(problems), 'error')}:\n{lines}", hint=_HINT)
        self.keywords = sorted(
            {keyword for rule in self.rules for keyword in rule.match}.union(
                *(template.keywords for rule in self.rules for template in rule.labels.values())
            )
        )

    def place(self, series: Sequence[Mapping[str, str]]) -> Place | None:
        """The place of a study, by the first rule that one of its series matches; None if there is no such rule.

        `series` are the values of one instance of each series. Raises NoPlace.
        """
        for rule in self.rules:
            if any(rule.matches(values) for values in series):
                return rule.place(series)
        return None


def _read(path: str) -> list[Any]:
    import yaml

    try:
        with Path(path).open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise UsageError(f"{path} is no file of rules: it is longer than 1 MiB.", hint=_HINT)
        document = yaml.load(content.decode("utf-8-sig"), _loader())  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise UsageError(f"Cannot read the rules in {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8.", hint="Save the file as UTF-8.") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise UsageError(f"{path}{line}: this is not YAML: {error.problem}.", hint=_HINT) from None
    except yaml.YAMLError:
        raise UsageError(f"{path} is not YAML: it holds control characters.", hint=_HINT) from None
    if not isinstance(document, list) or not document:
        raise UsageError(f"{path} holds no list of rules.", hint=_HINT)
    return document


def _loader() -> Any:
    """A loader of plain data which refuses a key that stands twice in a mapping."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - yaml's
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands twice in one mapping", key.start_mark
                    )
                if isinstance(key.value, str):
                    seen.add(key.value)
            return super().construct_mapping(node, deep)

    return Loader


def _problems(entry: Any, modes: Sequence[str]) -> Iterator[str]:
    """Everything that is wrong with a rule."""
    if not isinstance(entry, dict):
        yield f"it is no mapping with the keys {', '.join(_KEYS)}."
        return
    for key in entry:
        if key not in _KEYS:
            yield f"unknown key {key!r}; there are {', '.join(_KEYS)}."
    yield from _match_problems(entry.get("match", {}))
    for name in _LABELS:
        if name not in entry:
            yield f"{name} is missing."
        elif (problem := _template_problem(entry[name])) is not None:
            yield f"{name}: {problem}"
    mode, overwrite = entry.get("mode"), entry.get("overwrite")
    if mode is not None and mode not in modes:
        yield f"mode: {mode!r} is no transport that sends sessions; there are {', '.join(sorted(modes))}."
    policies = [str(policy) for policy in Overwrite]
    if overwrite is not None and overwrite not in policies:
        yield f"overwrite: {overwrite!r} is none of {', '.join(policies)}."


def _match_problems(match: Any) -> Iterator[str]:
    if not isinstance(match, dict):
        yield "match: it is no mapping of keywords to values."
        return
    for keyword, values in match.items():
        if (problem := _keyword_problem([str(keyword)])) is not None:
            yield f"match: {problem}"
        for value in values if isinstance(values, list) else [values]:
            if not isinstance(value, str):
                yield f"match: the value of {keyword} is no text: put {value!r} into quotes."
        if values == []:
            yield f"match: the list of values of {keyword} is empty."


def _template_problem(text: Any) -> str | None:
    if not isinstance(text, str):
        return f"it is no text: put {text!r} into quotes."
    if not text.strip():
        return "it is empty."
    try:
        return _keyword_problem(sorted(Template(text).keywords))
    except UsageError as error:
        return _in_one_line(error)


def _keyword_problem(keywords: Sequence[str]) -> str | None:
    try:
        check_keywords(keywords)
    except UsageError as error:
        return _in_one_line(error)
    return None


def _in_one_line(error: XnatctlError) -> str:
    return re.sub(r"\s+", " ", f"{error.message} {error.hint or ''}").strip()


def _rule(number: int, entry: Mapping[str, Any]) -> Rule:
    match = {
        str(keyword): tuple(values) if isinstance(values, list) else (values,)
        for keyword, values in entry.get("match", {}).items()
    }
    return Rule(
        number=number,
        match=match,
        labels={name: Template(entry[name]) for name in _LABELS},
        mode=entry.get("mode") or "",
        overwrite=entry.get("overwrite") or "",
    )
