"""Options of plugins: variable, profile, default, and the type that was declared."""

from __future__ import annotations

from typing import Any

import pytest

from xnatctl.errors import ConfigError
from xnatctl.plugin.specs import Option
from xnatctl.settings.options import resolve_option, unknown_options


def option(kind: Any, default: Any = None) -> Option:
    return Option(name="speed", help="How fast.", type=kind, default=default, envvar="XNATCTL_TEST_SPEED")


def test_variable_beats_profile_beats_default(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = option(int, 1)
    assert (resolve_option(declared, {}).value, resolve_option(declared, {}).origin) == (1, "default")
    profile = {"options": {"speed": 2}}
    assert resolve_option(declared, profile).value == 2
    assert resolve_option(declared, profile).origin == "profile option speed"
    monkeypatch.setenv("XNATCTL_TEST_SPEED", "3")
    assert resolve_option(declared, profile).value == 3
    assert resolve_option(declared, profile).origin == "variable XNATCTL_TEST_SPEED"
    monkeypatch.setenv("XNATCTL_TEST_SPEED", "")
    assert resolve_option(declared, profile).value == 2
    assert resolve_option(declared, {"options": {"speed": None}}).value == 1


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        (int, "7", 7), (int, 7, 7), (float, "1.5", 1.5), (float, 2, 2.0), (str, "x", "x"), (str, 104, "104"),
        (("auto", "never"), "never", "never"), (bool, "yes", True), (bool, "ON", True), (bool, "0", False),
        (bool, True, True), (bool, False, False), (bool, 1, True),
    ],
)  # fmt: skip
def test_values_become_the_declared_type(kind: Any, raw: Any, expected: Any) -> None:
    value = resolve_option(option(kind), {"options": {"speed": raw}}).value
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("kind", "raw", "says"),
    [
        (int, "fast", "a whole number"), (int, 1.5, "a whole number"), (int, True, "a whole number"),
        (float, "nan", "a number"), (float, ".", "a number"), (bool, "maybe", "true or false"), (bool, 2, "true or false"),
        (str, True, "text"), (str, ["x"], "text"), (("auto", "never"), "always", "one of auto, never"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_origin(kind: Any, raw: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        resolve_option(option(kind), {"options": {"speed": raw}})
    assert "profile option speed" in caught.value.message


def test_an_option_of_nobody_is_named_with_what_was_meant() -> None:
    profile = {"options": {"compres": "never", "compress": "never", "colour": "red"}}
    first, second = unknown_options(profile, {"compress"})
    assert "compres " in first
    assert "did you mean compress?" in first
    assert "colour" in second
    assert unknown_options({}, {"compress"}) == []
