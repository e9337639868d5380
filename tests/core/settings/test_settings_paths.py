"""Where files live, and that those with secrets are private from the first moment."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from systems import needs_fifos, needs_posix_modes, needs_refused_links

from xnatctl.errors import ConfigError
from xnatctl.operating_system.private import readable_by_others
from xnatctl.settings import paths


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_config_file_is_below_the_home_by_default(home: Path) -> None:
    assert paths.config_file() == home / ".config" / "xnatctl" / "config.yaml"


def test_config_file_follows_xdg_and_its_own_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert paths.config_file() == tmp_path / "xdg" / "xnatctl" / "config.yaml"
    monkeypatch.setenv("XNATCTL_CONFIG", str(tmp_path / "mine.yaml"))
    assert paths.config_file() == tmp_path / "mine.yaml"
    monkeypatch.setenv("XNATCTL_CONFIG", "~/mine.yaml")
    assert paths.config_file() == Path.home() / "mine.yaml"


@pytest.mark.parametrize("value", ["", "not/absolute"])
def test_an_empty_or_relative_xdg_folder_is_ignored(value: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", value)
    monkeypatch.setenv("XDG_STATE_HOME", value)
    if os.name == "posix":
        assert paths.config_file() == home / ".config" / "xnatctl" / "config.yaml"
    assert paths.config_file().is_absolute()
    assert "not/absolute" not in paths.config_file().as_posix()
    assert paths.state_directory().is_absolute()
    assert "not/absolute" not in paths.state_directory().as_posix()


def test_a_configuration_in_the_working_directory_is_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("config.yaml", "xnatctl/config.yaml", ".config/xnatctl/config.yaml", ".xnatctl.yaml"):
        file = tmp_path / "project" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("output: json\n")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("XDG_CONFIG_HOME", ".config")
    assert not paths.config_file().exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the default differs by platform")
def test_state_directory(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.state_directory() == home / ".local" / "state" / "xnatctl"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert paths.state_directory() == tmp_path / "xdg" / "xnatctl"
    monkeypatch.setenv("XNATCTL_STATE_DIR", str(tmp_path / "state"))
    assert paths.state_directory() == tmp_path / "state"
    assert paths.PrivateFolder("tokens").path == tmp_path / "state" / "tokens"


@pytest.mark.parametrize("variable", ["XNATCTL_CONFIG", "XNATCTL_STATE_DIR"])
def test_an_unknown_home_in_a_variable_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "~nobody-of-this-name/file")
    with pytest.raises(ConfigError, match=variable):
        paths.config_file() if variable == "XNATCTL_CONFIG" else paths.state_directory()


@needs_posix_modes
@pytest.mark.usefixtures("no_umask")
def test_everything_made_is_private_whatever_the_umask(tmp_path: Path) -> None:
    file = tmp_path / "one" / "two" / "three" / "secret"
    paths.write_private(file, "hush")
    assert mode(file) == 0o600
    for directory in (tmp_path / "one", tmp_path / "one" / "two", file.parent):
        assert mode(directory) == 0o700


@needs_posix_modes
@pytest.mark.usefixtures("no_umask")
def test_no_file_is_ever_open_to_others_not_even_for_a_moment(tmp_path: Path) -> None:
    made: list[tuple[str, int]] = []
    watching = True

    def watch(event: str, arguments: Any) -> None:
        if watching and event == "open" and str(tmp_path) in str(arguments[0]) and arguments[2] & os.O_CREAT:
            made.append((str(arguments[0]), arguments[2]))
        if watching and event in ("os.chmod", "os.fchmod"):
            made.append((event, 0))

    sys.addaudithook(watch)  # cannot be taken back, therefore the switch
    paths.write_private(tmp_path / "secret", "hush")
    watching = False
    assert made
    assert all(flags & os.O_EXCL for _, flags in made), made


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")
    file.chmod(0o644)
    paths.write_private(file, "new")
    assert file.read_text() == "new"
    if os.name == "posix":
        assert mode(file) == 0o600
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["secret"]


def test_a_failed_write_leaves_the_old_file_and_no_remains(tmp_path: Path) -> None:
    target = tmp_path / "place"
    target.mkdir()  # a directory cannot be replaced by a file
    with pytest.raises(ConfigError, match="Cannot write"):
        paths.write_private(target, "new")
    assert target.is_dir()
    assert {entry.name for entry in tmp_path.iterdir()} == {"home", "place"}


def test_a_file_in_the_way_of_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "way").write_text("")
    with pytest.raises(ConfigError, match="Cannot create the directory"):
        paths.private_directory(tmp_path / "way" / "further")


def test_read_private_takes_only_a_file_of_this_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    paths.write_private(file, "hush")
    assert paths.read_private(file) == "hush"
    assert paths.read_private(tmp_path / "absent") is None
    assert paths.read_private(tmp_path) is None


@needs_refused_links
def test_read_private_follows_no_link(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    paths.write_private(file, "hush")
    link = tmp_path / "link"
    link.symlink_to(file)
    assert paths.read_private(link) is None


@needs_posix_modes
def test_read_private_leaves_a_file_that_others_may_use(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    paths.write_private(file, "hush")
    for open_mode in (0o640, 0o604, 0o620):
        file.chmod(open_mode)
        assert paths.read_private(file) is None
        assert readable_by_others(file)


@needs_fifos
def test_read_private_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert paths.read_private(tmp_path / "pipe") is None


def test_read_private_refuses_what_is_too_long(tmp_path: Path) -> None:
    paths.write_private(tmp_path / "long", "x" * 70_000)
    assert paths.read_private(tmp_path / "long") is None
