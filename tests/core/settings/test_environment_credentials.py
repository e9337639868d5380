"""User and secrets of the variables belong to the server that they were given for, and go to no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xnatctl.settings.credentials import request_for
from xnatctl.settings.profiles import Flags, resolve
from xnatctl_credentials.environment import Environment
from xnatctl_credentials.profile import Profile

Write = Callable[..., Path]
A, B = "https://a.example.org", "https://b.example.org"
PROFILE = f"profiles:\n  p: {{url: '{A}', username: kept, password: hush}}\n"
FREE = "profiles:\n  p: {username: kept, password: hush}\n"

CASES = {
    # XNAT_URL, --url, the journal's server, the configuration -> are the variables used, is the profile used
    "XNAT_URL": (A, None, None, "", True, False),
    "XNAT_URL written in another way": (f"{A.upper().replace('HTTPS', 'https')}:443/", None, A, "", True, False),
    "XNAT_URL and the same flag": (A, A, None, "", True, False),
    "XNAT_URL and another flag": (A, B, None, "", False, False),
    "XNAT_URL and a journal of it": (A, None, A, "", True, False),
    "XNAT_URL and another journal": (A, None, B, "", False, False),
    "XNAT_URL that is no URL": ("xnat", None, A, "", False, False),
    "only a flag": (None, A, None, "", True, False),
    "only a profile": (None, None, None, PROFILE, True, True),
    "a flag beside a profile": (None, B, None, PROFILE, True, False),
    "only a journal": (None, None, B, "", True, False),
    "a journal of the profile's server": (None, None, A, PROFILE, True, True),
    "another journal than the profile's": (None, None, B, PROFILE, False, False),
    "XNAT_URL and a profile without server": (A, None, None, FREE, True, True),
    "a profile without server, another journal": (A, None, B, FREE, False, False),
    "a profile without server, any journal": (None, None, B, FREE, True, True),
}


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_who_gets_them(case: str, token: bool, monkeypatch: pytest.MonkeyPatch, write_config: Write) -> None:
    variable, flag, journal, config, environment, profile = CASES[case]
    if config:
        write_config(config)
    if variable:
        monkeypatch.setenv("XNAT_URL", variable)
    for name, value in {"XNAT_USER": "me", "XNAT_PASS": "secret"}.items():
        monkeypatch.setenv(name, value)
    if token:
        monkeypatch.setenv("XNAT_TOKEN", "alias:secret")
    settings = resolve(Flags(url=journal or flag, recorded="journal of the upload" if journal is not None else ""))
    request = request_for(settings)
    credential = Environment().get(request)
    assert (credential is not None) == environment
    assert (Profile().get(request) is not None) == profile
    assert request.username == ("me" if environment else "kept" if profile else None)
    noted = any("XNAT_USER and XNAT_PASS" in note for note in settings.notes)
    assert noted == (not environment)


def test_nothing_is_said_where_no_variable_holds_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XNAT_URL", A)
    assert resolve(Flags(url=B)).notes == ()
