"""Routing expressions: an administrator's rules that read project, subject or session from a header (xnat-api 5.4)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

#: The values of a data set as text, by keyword and by (group, element).
Header = dict[str | tuple[int, int], str]
_EXPRESSION = re.compile(
    r"\((?P<group>[0-9A-Fa-f]{4}),(?P<element>[0-9A-Fa-f]{4})\):(?P<pattern>.*?)(?::(?P<index>\d+))?$"
)


@dataclass(frozen=True)
class RoutingExpressions:
    """Rules, one per line: `(GGGG,EEEE):REGEX[:GROUP]`, matched against the whole value.

    The form is that of XNAT's routing pages; xnat-api 5.4 names such rules without their form. Raises ValueError for
    a line that is no rule.
    """

    project: str = ""
    subject: str = ""
    session: str = ""

    def __post_init__(self) -> None:
        for text in (self.project, self.subject, self.session):
            for line in _lines(text):
                if not _EXPRESSION.match(line):
                    raise ValueError(
                        f"{line!r} is not a routing expression. Write (GGGG,EEEE):REGEX or (GGGG,EEEE):REGEX:GROUP."
                    )

    def tags(self) -> list[int]:
        """The attributes that the rules read."""
        rules = [rule for text in (self.project, self.subject, self.session) for rule in _rules(text)]
        return [int(rule["group"] + rule["element"], 16) for rule in rules]

    def values(self, field: str, header: Mapping[str | tuple[int, int], str]) -> Iterator[str]:
        """What the rules of one field (`project`, `subject` or `session`) find in a header, in their order."""
        for rule in _rules(getattr(self, field)):
            value = header.get((int(rule["group"], 16), int(rule["element"], 16)))
            match = re.fullmatch(rule["pattern"], value.strip()) if value is not None else None
            if match and (found := match.group(int(rule["index"] or 0))):
                yield found


def _lines(text: str) -> Iterator[str]:
    yield from filter(None, map(str.strip, text.splitlines()))


def _rules(text: str) -> Iterator[re.Match[str]]:
    yield from filter(None, map(_EXPRESSION.match, _lines(text)))


#: Of a receiver or a site that has none.
NO_EXPRESSIONS = RoutingExpressions()
