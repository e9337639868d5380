"""Who wins: flag, variable, profile, default; and where each setting came from."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from systems import needs_posix_modes

from xnatctl.errors import ConfigError
from xnatctl.settings.profiles import DEFAULT_TIMEOUT, Flags, Settings, resolve

Write = Callable[..., Path]

#: setting -> (flag, variable, what the profile says), each with the value that must come out.
LADDER: dict[str, tuple[tuple[str, Any, Any], tuple[str, str, Any], tuple[str, Any, Any], Any]] = {
    "url": (
        ("url", "https://flag.example", "https://flag.example"),
        ("XNAT_URL", "https://variable.example/", "https://variable.example"),
        ("url", "https://profile.example", "https://profile.example"),
        None,
    ),
    "timeout": (("timeout", 1.5, 1.5), ("XNAT_TIMEOUT", "20", 20.0), ("timeout", 300, 300.0), DEFAULT_TIMEOUT),
    "username": (("username", "flagged", "flagged"), ("XNAT_USER", "varied", "varied"), ("username", "kept", "kept"), None),
}  # fmt: skip


@pytest.mark.parametrize("setting", LADDER)
@pytest.mark.parametrize("given", list(itertools.product([False, True], repeat=3)), ids=str)
def test_the_whole_table_of_precedence(
    setting: str, given: tuple[bool, bool, bool], write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag, variable, profile, default = LADDER[setting]
    expected: tuple[Any, str] = (default, "default")
    if given[2]:
        write_config(f"profiles:\n  site: {{{profile[0]}: {profile[1]}}}\n")
        expected = (profile[2], "profile site")
    if given[1]:
        monkeypatch.setenv(variable[0], variable[1])
        expected = (variable[2], f"variable {variable[0]}")
    flags = Flags()
    if given[0]:
        flags = Flags(**{flag[0]: flag[1]})
        expected = (flag[2], f"flag --{flag[0]}")
    value = getattr(resolve(flags), setting)
    assert (value.value, value.origin) == expected


THREE = """\
default_profile: b
profiles:
  a: {url: https://a.example}
  b: {url: https://b.example}
  c: {url: https://c.example}
"""


def test_the_profile_is_chosen_by_flag_then_variable_then_default(
    write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(THREE)
    assert resolve(Flags()).profile_name.value == "b"
    assert resolve(Flags()).profile_name.origin == "default_profile"
    monkeypatch.setenv("XNAT_PROFILE", "c")
    assert resolve(Flags()).url.value == "https://c.example"
    assert resolve(Flags()).profile_name.origin == "variable XNAT_PROFILE"
    assert resolve(Flags(profile="a")).url.value == "https://a.example"
    assert resolve(Flags(profile="a")).profile_name.origin == "flag --profile"


def test_the_only_profile_needs_no_name_and_of_several_none_is_guessed(write_config: Write) -> None:
    write_config("profiles:\n  a: {url: https://a.example}\n")
    assert resolve(Flags()).profile_name.origin == "the only profile"
    assert resolve(Flags()).server() == "https://a.example"
    write_config(THREE.partition("\n")[2])
    assert resolve(Flags()).profile_name.value is None
    with pytest.raises(ConfigError, match="No XNAT server is configured"):
        resolve(Flags()).server()


def test_without_a_server_the_error_says_how_to_name_one() -> None:
    settings = resolve(Flags())
    assert settings.server_or_empty() == ""
    with pytest.raises(ConfigError) as caught:
        settings.server()
    assert caught.value.exit_code == 2
    for way in ("--url", "XNAT_URL", "config set-profile"):
        assert way in (caught.value.hint or "")


def test_a_configuration_file_that_was_named_and_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XNATCTL_CONFIG", str(tmp_path / "typo.yaml"))
    assert resolve(Flags()).notes == (f"XNATCTL_CONFIG names {tmp_path / 'typo.yaml'}, which does not exist.",)


def test_an_unknown_profile_is_named_with_its_origin(write_config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="flag --profile") as caught:
        resolve(Flags(profile="x"))
    assert "config set-profile" in (caught.value.hint or "")
    write_config(THREE)
    monkeypatch.setenv("XNAT_PROFILE", "x")
    with pytest.raises(ConfigError, match="variable XNAT_PROFILE") as caught:
        resolve(Flags())
    assert "a, b, c" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["abc", "0", "-1", "nan", "inf", "-inf", "1h", "1e999", "12 000"])
def test_a_timeout_that_is_none_is_refused_by_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XNAT_TIMEOUT", text)
    with pytest.raises(ConfigError, match="XNAT_TIMEOUT") as caught:
        resolve(Flags())
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 0.0, -3.0])
def test_the_flag_is_held_to_the_same_rule(seconds: float) -> None:
    with pytest.raises(ConfigError, match="--timeout"):
        resolve(Flags(timeout=seconds))


@pytest.mark.parametrize("name", ["XNAT_URL", "XNAT_TIMEOUT", "XNAT_USER", "XNAT_PROFILE"])
def test_a_variable_set_to_nothing_counts_as_not_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "")
    settings = resolve(Flags())
    assert [origin for _, _, origin in _rows(settings)] == ["default"] * len(_rows(settings))


@pytest.mark.parametrize("flag", ["username", "password"])
def test_an_empty_flag_is_an_error_because_it_would_log_in_as_somebody_else(flag: str) -> None:
    with pytest.raises(ConfigError, match=f"--{flag} is empty"):
        resolve(Flags(**{flag: ""}))  # type: ignore[arg-type]


def test_a_bad_url_names_its_origin(write_config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config("profiles:\n  a: {url: xnat.example.org}\n")
    with pytest.raises(ConfigError, match="profile a"):
        resolve(Flags())
    monkeypatch.setenv("XNAT_URL", "nonsense")
    with pytest.raises(ConfigError, match="variable XNAT_URL"):
        resolve(Flags())
    with pytest.raises(ConfigError, match="flag --url"):
        resolve(Flags(url="more nonsense"))


PROFILE = """\
profiles:
  prod:
    url: https://prod.example/
    username: me
    password: hush
    token: a:b
    credential_helper: [x]
    verify_tls: false
    ca_cert: ~/ca.pem
    client_cert: /c.pem
    client_key: /k.pem
    timeout: 300
    mode: zip
    workers: 8
    overwrite: append
    options: {compress: never}
"""


def test_what_a_profile_says_counts_for_its_own_server(write_config: Write, home: Path) -> None:
    write_config(PROFILE)
    for flags in (Flags(), Flags(url="https://PROD.example:443")):
        settings = resolve(flags)
        assert settings.username.value == "me"
        assert settings.profile["password"] == "hush"
        assert settings.verify_tls.value is False
        assert settings.ca_cert.value == str(home / "ca.pem")
        assert settings.client_cert.value == str(Path("/c.pem"))
        assert (settings.mode.value, settings.workers.value, settings.overwrite.value) == ("zip", 8, "append")


def test_user_secrets_and_certificates_of_a_profile_go_to_no_other_server(
    write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(PROFILE)
    monkeypatch.setenv("XNAT_URL", "https://other.example")
    settings = resolve(Flags(profile="prod"))
    assert settings.server() == "https://other.example"
    assert set(settings.profile) == {"timeout", "mode", "workers", "overwrite", "options"}
    assert settings.username.value is None
    assert settings.verify_tls.value is True
    assert settings.ca_cert.value is settings.client_cert.value is settings.client_key.value is None
    assert settings.timeout.value == 300
    assert not [secret for _, secret in settings.secrets()]
    assert "not the one of profile prod" in "".join(settings.warnings())


def test_a_profile_without_a_server_counts_for_every_server(write_config: Write) -> None:
    write_config("profiles:\n  mine: {username: me, timeout: 5}\n")
    settings = resolve(Flags(url="https://any.example"))
    assert (settings.username.value, settings.timeout.value) == ("me", 5.0)


def test_defaults() -> None:
    settings = resolve(Flags())
    assert settings.mode.value == "tar"
    assert settings.overwrite.value == "delete"
    assert settings.output.value == "table"
    assert settings.workers.value is None
    assert settings.verify_tls.value is True
    assert settings.warnings() == []


def test_output_of_the_profile_beats_that_of_the_file(write_config: Write) -> None:
    write_config("output: yaml\nprofiles:\n  a: {output: json}\n  b: {}\n")
    assert resolve(Flags(profile="a")).output.value == "json"
    assert resolve(Flags(profile="b")).output.value == "yaml"
    assert resolve(Flags(profile="b")).output.origin == "configuration file"


# warnings


def test_plain_http_is_warned_of_but_not_to_this_machine() -> None:
    assert "not encrypted" in "".join(resolve(Flags(url="http://xnat.example.org")).warnings())
    assert resolve(Flags(url="http://127.0.0.1:8080")).warnings() == []


def test_unchecked_certificates_are_warned_of_whoever_asked_for_it(write_config: Write) -> None:
    (line,) = resolve(Flags(url="https://h.example", insecure=True)).warnings()
    assert "not checked (flag --insecure)" in line
    write_config("profiles:\n  a: {url: https://h.example, verify_tls: false}\n")
    (line,) = resolve(Flags()).warnings()
    assert "not checked (profile a)" in line


@needs_posix_modes
@pytest.mark.parametrize("secret", ["password: hush", "token: 'alias:hush'"])
@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, True), (0o604, True), (0o644, True)])
def test_a_secret_in_a_file_that_others_read_is_warned_of(
    secret: str, mode: int, warned: bool, write_config: Write
) -> None:
    write_config(f"profiles:\n  a: {{url: https://h.example, username: me, {secret}}}\n", mode)
    lines = "".join(resolve(Flags()).warnings())
    assert ("chmod 600" in lines) is warned
    assert "hush" not in lines


@needs_posix_modes
def test_a_secret_option_in_a_file_that_others_read_is_warned_of(write_config: Write) -> None:
    write_config("profiles:\n  a: {url: https://h.example, options: {site_token: hush}}\n", 0o644)
    assert "chmod 600" in "".join(resolve(Flags()).warnings({"site_token": True}))
    assert resolve(Flags()).warnings({"site_token": False}) == []


def test_a_file_without_a_secret_may_be_read_by_others(write_config: Write) -> None:
    write_config("profiles:\n  a: {url: https://h.example, username: me}\n", 0o644)
    assert resolve(Flags()).warnings() == []


# secrets


def test_all_secrets_are_known_beforehand(write_config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config("profiles:\n  a: {url: https://h.example, username: me, password: one, token: 'alias:two'}\n")
    monkeypatch.setenv("XNAT_PASS", "three")
    monkeypatch.setenv("XNAT_TOKEN", "other:four")
    settings = resolve(Flags(password="five"))
    assert set(settings.secrets()) == {
        ("me", "one"),
        ("alias", "two"),
        (None, "alias"),
        ("me", "three"),
        ("other", "four"),
        (None, "other"),
        ("me", "five"),
    }
    for word in ("one", "two", "three", "four", "five"):
        assert f"'{word}'" not in repr(settings)


def _rows(settings: Settings) -> list[tuple[str, Any, str]]:
    names = ("url", "profile_name", "timeout", "username", "mode", "output")
    return [(name, getattr(settings, name).value, getattr(settings, name).origin) for name in names]
