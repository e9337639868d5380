"""Whether a plugin fits this version of xnatctl, as far as its metadata and its page say."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import xnatctl

#: The version of the plugin API. It is raised when a plugin that was written for an earlier version may not work.
API_VERSION: Final = 1
#: The oldest version of the plugin API that is still supported.
OLDEST_API: Final = 1

#: A requirement on xnatctl: specifiers and marker.
_BOUND = re.compile(r"^\s*xnatctl\s*(?:\[[^\]]*\])?\s*\(?\s*([<>=!~][^;)]*)?\)?\s*(?:;(.*))?$", re.IGNORECASE)
#: A bound without pre-releases, wildcards and epochs.
_PLAIN = re.compile(r"(>=|<=|>|<)\s*(\d+(?:\.\d+)*)")
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def api_mismatch(required: object) -> str | None:
    """Why a plugin with this `requires_api` cannot be used, or None."""
    if required is None:
        return None
    if not isinstance(required, int) or isinstance(required, bool):
        return f"requires_api must be a number, not {type(required).__name__}"
    if OLDEST_API <= required <= API_VERSION:
        return None
    has = f"version {API_VERSION}" if OLDEST_API == API_VERSION else f"versions {OLDEST_API} to {API_VERSION}"
    return f"it requires version {required} of the plugin API, and xnatctl {xnatctl.__version__} has {has}"


def version_mismatch(requirements: Iterable[str]) -> str | None:
    """Why a distribution with these `Requires-Dist` lines cannot be used, or None."""
    for line in requirements:
        found = _BOUND.match(line)
        if found is None or not found[1] or not _applies(found[2]):
            continue
        bound = found[1].strip()
        fits = _fits_plainly(bound)
        if fits is None:
            from packaging.specifiers import InvalidSpecifier, SpecifierSet

            try:
                fits = SpecifierSet(bound).contains(xnatctl.__version__, prereleases=True)
            except InvalidSpecifier:
                return f"its requirement xnatctl{bound} is not valid"
        if not fits:
            return f"it requires xnatctl{bound}, and this is xnatctl {xnatctl.__version__}"
    return None


def _fits_plainly(bound: str) -> bool | None:
    """Whether this version is within plain bounds such as `>=0.1,<2`; None if it takes more to tell.

    Nearly all bounds are plain, and `packaging` takes as long to import as 50 plugins take to list.
    """
    found = [_PLAIN.fullmatch(clause.strip()) for clause in bound.split(",")]
    if not all(found) or not re.fullmatch(r"[\d.]+", xnatctl.__version__):
        return None
    own = _release(xnatctl.__version__)
    return all(_COMPARE[clause[1]](own, _release(clause[2])) for clause in found if clause is not None)


def _release(version: str) -> tuple[int, ...]:
    numbers = [int(number) for number in version.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _applies(marker: str | None) -> bool:
    """Whether a marker such as `python_version < "3.12"` holds; requirements of extras do not count."""
    if not marker:
        return True
    from packaging.markers import Marker

    try:
        return Marker(marker).evaluate({"extra": ""})
    except ValueError:  # a marker that is not valid, or that compares what cannot be compared
        return True
