"""Where a DICOM object belongs: project, subject, session and auto-archiving, read from its header.

The default identifier of a site: dynamic rules first, then comment fields, then ordinary attributes; the first usable
hit wins (xnat-api 5.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from xnatctl_sandbox.world.routing_expressions import Header, RoutingExpressions
from xnatctl_sandbox.world.state import State

#: The fields that may say `Project:P Subject:S Session:L AA:true`, in this order.
COMMENTS = ("PatientComments", "StudyComments", "AdditionalPatientHistory")
#: Whole values that may name a project when no comment does.
_PROJECT_FIELDS = ("StudyDescription", "AccessionNumber")
_LAST_RESORT = "dicom_upload"
_TRUTHS = {"true": True, "t": True, "false": False, "f": False}


class Routing:
    """The identifier of one object: the dynamic rules that hold for it, a receiver's before the site's."""

    def __init__(self, state: State, rules: Iterable[RoutingExpressions]) -> None:
        self._state = state
        self._rules = tuple(rules)

    def project(self, ds: Header) -> str | None:
        """The first candidate that exists and that the site's receiving user may write to; None = Unassigned."""
        user = str(self._state.site["receivedFileUser"])
        for candidate in self._projects(ds):
            found = self._state.find_project(candidate)
            if found is not None and self._state.may_edit(user, found):
                return found.id
        return None

    def _projects(self, ds: Header) -> Iterator[str]:
        for rules in self._rules:
            yield from rules.values("project", ds)
        for keyword in COMMENTS:
            yield from _assigned(ds, "Project", keyword)
        yield from (_value(ds, keyword) for keyword in _PROJECT_FIELDS)

    def subject(self, ds: Header) -> str:
        """`Subject:X`, else the patient's name; empty when there is neither."""
        return self._first(ds, "Subject", "PatientName")

    def session(self, ds: Header) -> str:
        """`Session:X`, else the patient's ID, else `dicom_upload`."""
        return self._first(ds, "Session", "PatientID") or _LAST_RESORT

    def _first(self, ds: Header, key: str, otherwise: str) -> str:
        candidates = [value for rules in self._rules for value in rules.values(key.lower(), ds)]
        candidates += [value for keyword in COMMENTS for value in _assigned(ds, key, keyword)]
        return to_label(next(iter(candidates), "") or _value(ds, otherwise))

    @staticmethod
    def auto_archive(ds: Header) -> bool | None:
        """`AA:true` or `AA:false`, which overrides the project's setting; None without either."""
        for keyword in COMMENTS:
            for value in _assigned(ds, "AA", keyword):
                if value.lower() in _TRUTHS:
                    return _TRUTHS[value.lower()]
        return None


def to_label(value: str) -> str:
    """A value as a label: characters other than letters, digits, `_` and `-` become `_`."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", value.strip())


def _value(ds: Header, keyword: str) -> str:
    return ds.get(keyword, "").strip()


def _assigned(ds: Header, key: str, keyword: str) -> Iterator[str]:
    """The value of `Key : value` in one field; the case of the key does not matter."""
    pattern = rf"(?:^|[\s,;]){key}\s*:\s*([A-Za-z0-9_-]*)(?=[\s,;]|$)"
    match = re.search(pattern, _value(ds, keyword), re.IGNORECASE)
    if match and match.group(1):
        yield match.group(1)
