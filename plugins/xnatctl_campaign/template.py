"""Templates of labels: literal text, values of a DICOM header, and named groups of a pattern of paths.

`{PatientID}` is the value of a keyword, `{StudyDate:%Y%m%d}` formats a date or a time, `{{` and `}}` are braces. A
group with the name of a keyword hides it. There is nothing else: no attribute, no index and no conversion, because
templates meet values that others wrote.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from xnatctl.api import UsageError

_HINT = "A template holds text and {Keyword}, such as {PatientID}_{StudyDate:%Y%m%d}; {{ is a brace."

#: The directives of a date and of a time; a keyword that ends in DateTime has both.
_DATE, _TIME = "Yymdj", "HMS"
#: DA, TM and DT (DICOM PS3.5 6.2), also with the points and colons of ACR-NEMA.
_DA = r"(?P<Y>\d{4})\.?(?P<m>\d{2})\.?(?P<d>\d{2})"
_TM = r"(?P<H>\d{2})(?::?(?P<M>\d{2})(?::?(?P<S>\d{2})(?:\.\d{1,6})?)?)?"
_DT = _DA + rf"(?:{_TM})?(?:[+-]\d{{4}})?"


class NoValue(Exception):
    """A template has no value for a study; the message says why, without the value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Field:
    """A value, with its format or ""."""

    name: str
    form: str = ""


class Template:
    """A parsed template. `groups` are the names that the pattern of paths gives. Raises UsageError."""

    def __init__(self, text: str, groups: Collection[str] = ()) -> None:
        self.text = text
        self._parts = tuple(_parse(text))
        fields = [part for part in self._parts if isinstance(part, _Field)]
        self.groups = frozenset(field.name for field in fields if field.name in groups)
        self.keywords = frozenset(field.name for field in fields) - self.groups
        for field in fields:
            if field.form:
                _check_form(text, field, field.name in groups)

    def render(self, values: Mapping[str, str]) -> str:
        """The label for values by name. Raises NoValue."""
        return "".join(part if isinstance(part, str) else _value(part, values) for part in self._parts)


def _parse(text: str) -> Iterator[str | _Field]:
    position = 0
    while position < len(text):
        character = text[position]
        if text[position : position + 2] in ("{{", "}}"):
            yield character
            position += 2
        elif character == "}":
            raise UsageError(f"Template {text!r}: the }} at character {position + 1} closes nothing.", hint=_HINT)
        elif character == "{":
            end = text.find("}", position)
            if end < 0:
                raise UsageError(f"Template {text!r}: the {{ at character {position + 1} is not closed.", hint=_HINT)
            yield _field(text, text[position + 1 : end])
            position = end + 1
        else:
            yield character
            position += 1


def _field(text: str, inside: str) -> _Field:
    name, colon, form = inside.partition(":")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise UsageError(f"Template {text!r}: {{{inside}}} is no keyword.", hint=_HINT)
    if colon and not form:
        raise UsageError(f"Template {text!r}: there is no format after the colon of {{{inside}}}.", hint=_HINT)
    return _Field(name=name, form=form)


def _directives(name: str) -> str:
    """What a format of this keyword may hold; its kind shows in the end of its name."""
    if name.endswith("DateTime"):
        return _DATE + _TIME
    return _DATE if name.endswith("Date") else _TIME if name.endswith("Time") else ""


def _check_form(text: str, field: _Field, group: bool) -> None:  # noqa: FBT001 - private, one caller
    allowed = "" if group else _directives(field.name)
    if not allowed:
        what = "a group of the path pattern" if group else "no date and no time"
        raise UsageError(
            f"Template {text!r}: {field.name} is {what}, so it has no format.", hint=f"Write {{{field.name}}}."
        )
    for directive in re.findall(r"%(.?)", field.form, re.DOTALL):
        if not directive or directive not in f"{allowed}%":
            known = " ".join(f"%{letter}" for letter in f"{allowed}%")
            raise UsageError(
                f"Template {text!r}: a format of {field.name} has no directive %{directive}.",
                hint=f"There are: {known}.",
            )


def _value(field: _Field, values: Mapping[str, str]) -> str:
    value = values.get(field.name, "").strip()
    if not value:
        raise NoValue(f"{field.name} is empty")
    if not field.form:
        return value
    moment = _moment(field.name, value)
    if moment is None:
        raise NoValue(f"{field.name} is no valid {'date' if 'Date' in field.name else 'time'}")
    text = {
        "Y": f"{moment.year:04}",
        "y": f"{moment.year % 100:02}",
        "m": f"{moment.month:02}",
        "d": f"{moment.day:02}",
        "j": f"{moment.timetuple().tm_yday:03}",
        "H": f"{moment.hour:02}",
        "M": f"{moment.minute:02}",
        "S": f"{moment.second:02}",
        "%": "%",
    }
    return re.sub(r"%(.)", lambda match: text[match[1]], field.form)


def _moment(name: str, value: str) -> datetime | None:
    form = _DT if name.endswith("DateTime") else _DA if name.endswith("Date") else _TM
    match = re.fullmatch(form, value, re.ASCII)
    if match is None:
        return None
    part = {letter: int(digits) for letter, digits in match.groupdict("0").items()}
    try:
        return datetime(  # noqa: DTZ001 - the local time of a scanner, which has no zone
            part.get("Y", 2000), part.get("m", 1), part.get("d", 1),
            part.get("H", 0), part.get("M", 0), min(part.get("S", 0), 59),
        )  # fmt: skip
    except ValueError:
        return None


class PathPattern:
    """A regular expression with named groups, which is searched in the absolute path of each file."""

    def __init__(self, pattern: str) -> None:
        try:
            self._pattern = re.compile(pattern)
        except re.error as error:
            raise UsageError(f"--path-pattern {pattern!r} is no regular expression: {error}.") from None
        self.groups = frozenset(self._pattern.groupindex)
        if not self.groups:
            raise UsageError(
                f"--path-pattern {pattern!r} has no named group.",
                hint=r"Name what templates use, such as sub-(?P<number>\d+).",
            )

    def values(self, path: str) -> dict[str, str] | None:
        """The values of the groups; None if the path does not match."""
        match = self._pattern.search(path)
        return None if match is None else match.groupdict("")


def check_groups(pattern: PathPattern | None, templates: Collection[Template]) -> None:
    """Raise UsageError for a pattern that no template uses."""
    if pattern is not None and not any(template.groups for template in templates):
        names = ", ".join(f"{{{name}}}" for name in sorted(pattern.groups))
        raise UsageError(f"No template uses a group of --path-pattern: {names}.", hint="Use one in a template.")
