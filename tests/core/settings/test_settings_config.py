"""The configuration file: what may stand in it, what is said about the rest, and how it is changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from systems import needs_fifos, needs_links, needs_posix_modes, needs_posix_names

from xnatctl.errors import ConfigError
from xnatctl.settings import config, schema

Write = Callable[..., Path]

WHOLE = """\
default_profile: production
output: json
credential_sources: [environment, netrc]
store: token
plugins:
  block: [sandbox]
  allow: [mysite]
profiles:
  production:
    url: https://xnat.example.org
    timeout: 43200
    username: me
    password: "1234"
    token: alias:secret
    credential_helper: [/opt/bin/secret, xnat]
    verify_tls: true
    ca_cert: ~/ca.pem
    client_cert: c.pem
    client_key: k.pem
    mode: zip
    workers: 8
    default_project: LAB
    overwrite: append
    output: yaml
    options: {compress: never}
    credentials: {vault: {address: 'https://vault'}}
    server_budget: {sessions: 2, requests: 6, archiving: 1}
  empty:
"""


def test_every_key_is_taken(write_config: Write) -> None:
    write_config(WHOLE)
    assert config.load_config() == yaml.safe_load(WHOLE)
    assert set(config.load_config()["profiles"]["production"]) == set(schema.PROFILE)
    assert set(config.load_config()) == set(schema.TOP)
    assert config.plugin_lists() == (["sandbox"], ["mysite"])


@pytest.mark.parametrize("content", ["", "# only a comment\n", "---\n", "profiles:\n", "plugins:\nprofiles: {}\n"])
def test_what_says_nothing_is_a_configuration_too(content: str, write_config: Write) -> None:
    write_config(content)
    assert not any(config.load_config().values())
    assert config.plugin_lists() == ([], None)


def test_no_file_is_no_error() -> None:
    assert config.load_config() == {}
    assert config.plugin_lists() == ([], None)


@pytest.mark.parametrize(
    ("content", "line", "says", "hint"),
    [
        ("output: json\nprofile: {}\n", 2, "unknown setting profile", "Did you mean profiles?"),
        ("output: json\nurl: https://h\n", 2, "unknown setting url", "belongs to a profile"),
        ("profiles:\n  a:\n    url: https://h\n    pasword: x\n", 4, "unknown setting profiles.a.pasword", "password"),
        ("plugins:\n  blocked: [x]\n", 2, "unknown setting plugins.blocked", "Did you mean plugins.block?"),
        ("zzz: 1\n", 1, "unknown setting zzz", "Known here: default_profile"),
        ("profiles:\n  a: {timeout: abc}\n", 2, "profiles.a.timeout must be a number above zero", None),
        ("profiles:\n  a: {timeout: 0}\n", 2, "must be a number above zero", None),
        ("profiles:\n  a: {timeout: -1}\n", 2, "must be a number above zero", None),
        ("profiles:\n  a: {timeout: .inf}\n", 2, "must be a number above zero", None),
        ("profiles:\n  a: {timeout: .nan}\n", 2, "must be a number above zero", None),
        ("profiles:\n  a: {timeout: yes}\n", 2, "must be a number above zero", None),
        ("profiles:\n  a: {workers: 0}\n", 2, "must be a whole number of at least 1", None),
        ("profiles:\n  a: {workers: 2.5}\n", 2, "must be a whole number of at least 1", None),
        ("profiles:\n  a: {verify_tls: 1}\n", 2, "must be true or false", None),
        ("profiles:\n  a: {verify_tls: 'no'}\n", 2, "must be true or false", None),
        ("profiles:\n  a: {username: 123}\n", 2, "must be text; put it in quotes", None),
        ("profiles:\n  a: {username: ''}\n", 2, "must not be empty", None),
        ("profiles:\n  a: {overwrite: replace}\n", 2, "must be one of delete, append, none", None),
        ("profiles:\n  a: {credential_helper: secret xnat}\n", 2, "must be a list: the command and its arguments", None),
        ("profiles:\n  a: {credential_helper: []}\n", 2, "must be a list: the command and its arguments", None),
        ("profiles:\n  a: {options: [x]}\n", 2, "must be a mapping", None),
        ("profiles:\n  a: {options: {1: x}}\n", 2, "profiles.a.options.1 must be text", None),
        ("profiles:\n  a: https://h\n", 2, "profiles.a must be a mapping", None),
        ("profiles:\n  1: {url: https://h}\n", 2, "the name of a profile must be text; put it in quotes", None),
        ("profiles: [a]\n", 1, "profiles must be a mapping", None),
        ("plugins:\n  block: sandbox\n", 2, "plugins.block must be a list of texts", None),
        ("credential_sources: [1]\n", 1, "credential_sources must be a list of texts", None),
        ("default_profile: b\nprofiles:\n  a: {url: https://h}\n", 1, "default_profile does not name a profile of this file", "There are: a."),
        ("output: json\noutput: yaml\n", 2, "output is repeated here; it is also in line 1, column 1", None),
        ("profiles:\n  a:\n    url: https://h\n  a:\n    url: https://i\n", 4, "profiles.a is repeated here", None),
        ("- output\n", None, "expected a mapping of settings, not a list", "NAME: VALUE"),
        ("just text\n", None, "expected a mapping of settings, not text", None),
        ("42\n", None, "expected a mapping of settings, not a number", None),
        ("profiles:\n\ta: {}\n", 2, "a tab is not allowed here; indent with spaces", None),
        ("output: [json\nplugins: {}\n", 2, "(begun in line 1, column 9): expected a comma or ] in a list", None),
        ("output: {a: 1\n", 2, "(begun in line 1, column 9): expected a comma or } in a mapping", None),
        ("output: json\n  profiles: x\n", 2, "a colon is not allowed here", None),
        ("profiles:\n  a: {}\n b: {}\n", 3, "expected the indentation of the settings above", None),
        ("output: 'json\n", 2, "(begun in line 1, column 9): expected the closing quote", None),
        ("output: @json\n", 1, "a value cannot begin with this character", None),
        ("output: !json x\n", 1, "a value that begins with ! must be in quotes", None),
        ("output: *json\n", 1, "a value that begins with * must be in quotes", None),
        ('output: "a\\q"\n', 1, "a backslash begins an escape in double quotes", None),
        ("output: json\n---\noutput: csv\n", 2, "expected one document", None),
        ("output: json\n? [a, b]\n: 1\n", 2, "expected the name of a setting, not a list or mapping", None),
        ("when: 2024-13-45\n", 1, "column 7: expected text; put it in quotes", None),
        ("output: json\na: \x01\n", 2, "column 4: a control character is not allowed here", None),
        ("a: &a {b: *a}\n", 1, "unknown setting a", None),
        ("profiles:\n  a: {hunter two: 1}\n", 2, "unknown setting profiles.a.(not shown)", None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_and_line(
    content: str, line: int | None, says: str, hint: str | None, write_config: Write
) -> None:
    file = write_config(content)
    with pytest.raises(ConfigError) as caught:
        config.load_config()
    error = caught.value
    assert error.exit_code == 2
    assert error.message.startswith(str(file) if line is None else f"{file}, line {line}, column "), error.message
    assert says in error.message
    assert hint is None or hint in (error.hint or "")


@pytest.mark.parametrize(
    "value",
    ["CANARY: : x", "*CANARYCANARY", "!CANARYCANARY", "[CANARYCANARY", "{CANARYCANARY: 1}", "@CANARYCANARY", "'CANARYCANARY",
     "1234567\n    CANARY", "%CANARYCANARY", "&CANARYCANARY", "|CANARYCANARY", "CANARYCANARY\\", '"CANARY\\qCANARY"',
     "[CANARYCANARY]", "`CANARYCANARY"],
)  # fmt: skip
@pytest.mark.parametrize("key", ["password", "token", "credential_helper", "workers", "options"])
def test_no_message_shows_a_secret(key: str, value: str, write_config: Write) -> None:
    write_config(f"profiles:\n  a:\n    url: https://h\n    {key}: {value}\n    workers: 0\n")
    with pytest.raises(ConfigError) as caught:
        config.load_config()
    assert "CANARY" not in f"{caught.value.message}{caught.value.hint}{caught.value!r}"
    assert caught.value.__cause__ is None


@given(st.text(max_size=60))
def test_any_text_is_a_configuration_or_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    try:
        document = config.load_config(file)
    except ConfigError as error:
        document = {} if str(file) in error.message else None
    assert isinstance(document, dict)


def test_deep_nesting_is_an_error_not_a_crash(write_config: Write) -> None:
    write_config("[" * 5000)
    with pytest.raises(ConfigError):
        config.load_config()


def test_unreadable_and_binary_files_are_named(home: Path, write_config: Write) -> None:
    file = write_config("")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="it is UTF-16 text"):
        config.load_config()
    file.write_bytes("output: json\n# Größe\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="line 2 is not UTF-8 text"):
        config.load_config()
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match="Cannot read"):
        config.load_config()


def test_a_byte_order_mark_is_taken(write_config: Write) -> None:
    write_config("\ufeffoutput: json\n")
    assert config.load_config() == {"output": "json"}


def test_a_wrong_file_that_speaks_of_plugins_allows_no_stranger(write_config: Write) -> None:
    write_config("plugins: [\n")
    assert config.plugin_lists() == ([], [])


def test_plugin_lists_need_no_yaml_when_the_file_does_not_speak_of_plugins(write_config: Write) -> None:
    write_config("output: [\n")  # would be an error if it were parsed
    assert config.plugin_lists() == ([], None)


# changing it


def _add(document: dict[str, Any]) -> None:
    document["output"] = "yaml"


def test_an_edit_keeps_every_other_setting_and_the_comment_at_the_top(write_config: Write) -> None:
    file = write_config(f"# Ours.\n#\n# Ask Kim.\n\n{WHOLE}")
    config.edit_config(_add)
    assert config.load_config() == {**yaml.safe_load(WHOLE), "output": "yaml"}
    assert file.read_text().startswith("# Ours.\n#\n# Ask Kim.\n\ndefault_profile: production\n")


@needs_posix_modes
def test_an_edit_makes_the_file_and_its_folders_private(home: Path, no_umask: None) -> None:
    file = config.edit_config(_add)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.parent.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in file.parent.iterdir()] == ["config.yaml"]


@needs_links
def test_an_edit_goes_through_a_link(home: Path, write_config: Write) -> None:
    file = write_config("")
    real = home / "dotfiles.yaml"
    real.write_text("credential_sources: [netrc]\n")
    file.unlink()
    file.symlink_to(real)
    config.edit_config(_add)
    assert file.is_symlink()
    assert yaml.safe_load(real.read_text()) == {"credential_sources": ["netrc"], "output": "yaml"}


def test_a_wrong_file_and_a_wrong_change_leave_the_file_as_it_is(write_config: Write) -> None:
    file = write_config("outputt: json\n")
    with pytest.raises(ConfigError, match="outputt"):
        config.edit_config(_add)
    assert file.read_text() == "outputt: json\n"
    file.write_text("output: json\n")
    with pytest.raises(ConfigError, match="the new configuration"):
        config.edit_config(lambda document: document.update(default_profile="absent"))
    assert file.read_text() == "output: json\n"


def test_two_edits_after_each_other_keep_one_top_comment(write_config: Write) -> None:
    file = write_config("# Top\noutput: json\n")
    config.edit_config(_add)
    config.edit_config(lambda document: document.update(profiles={"a": {"username": "Müller"}}))
    assert file.read_text("utf-8") == "# Top\noutput: yaml\nprofiles:\n  a:\n    username: Müller\n"


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("fifo", marks=needs_fifos),
        pytest.param("device", marks=needs_posix_names),
        "directory",
        "endless",
    ],
)
def test_only_a_regular_file_of_a_sane_size_is_a_configuration(
    kind: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home / "config.yaml"
    match kind:
        case "fifo":
            os.mkfifo(file)
        case "device":
            file.symlink_to("/dev/zero")
        case "directory":
            file.mkdir()
        case "endless":
            with file.open("wb") as out:
                out.truncate(2**40)
    monkeypatch.setenv("XNATCTL_CONFIG", str(file))
    with pytest.raises(ConfigError) as caught:
        config.load_config()
    assert str(file) in caught.value.message
    with pytest.raises(ConfigError):
        config.edit_config(lambda document: document.update(output="json"))


def test_a_change_waits_for_the_one_before_it_and_refuses_when_that_does_not_end(
    write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_config("output: yaml\n")
    lock = file.with_name("config.yaml.lock")
    lock.touch()
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            lock.unlink()

    monkeypatch.setattr(config.time, "sleep", wait)
    config.edit_config(lambda document: document.update(output="json"))
    assert len(waits) == 3
    assert config.load_config() == {"output": "json"}
    assert not lock.exists()

    lock.touch()
    monkeypatch.setattr(config, "_PATIENCE", 0.0)
    with pytest.raises(ConfigError) as caught:
        config.edit_config(lambda document: document.update(output="csv"))
    assert str(lock) in str(caught.value.hint)
    assert config.load_config() == {"output": "json"}
    assert lock.exists(), "the lock of another command stays"


def test_a_change_that_fails_leaves_no_lock(write_config: Write) -> None:
    file = write_config("output: yaml\n")
    with pytest.raises(ConfigError):
        config.edit_config(lambda document: document.update(nonsense=1))
    assert [entry.name for entry in file.parent.iterdir()] == ["config.yaml"]
