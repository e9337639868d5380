"""Locations of files, and creation of private files with mode 0600 from the start, without a later chmod.

The working directory is never searched, because its content may come from others.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from xnatctl.errors import ConfigError
from xnatctl.operating_system import IS_WINDOWS
from xnatctl.operating_system.files import open_to_read, reason, replace
from xnatctl.operating_system.private import create_private, is_private

CONFIG_VARIABLE = "XNATCTL_CONFIG"
STATE_VARIABLE = "XNATCTL_STATE_DIR"

#: Largest private file, in bytes.
_LONGEST_SECRET_FILE = 64 * 1024
#: Size of the file that is written to see whether a directory takes one, in bytes.
_PROBE = 4096


def config_file() -> Path:
    r"""`$XNATCTL_CONFIG`, else `$XDG_CONFIG_HOME/xnatctl/config.yaml`, else the same below `~/.config`.

    On Windows the default is `%APPDATA%\xnatctl\config.yaml`. Raises ConfigError if there is no home
    directory.
    """
    if named := os.environ.get(CONFIG_VARIABLE):
        return _expanded(named, CONFIG_VARIABLE)
    if base := _xdg("XDG_CONFIG_HOME"):
        return base / "xnatctl" / "config.yaml"
    if IS_WINDOWS:
        import platformdirs

        return Path(platformdirs.user_config_dir("xnatctl", appauthor=False, roaming=True)) / "config.yaml"
    return _home(CONFIG_VARIABLE) / ".config" / "xnatctl" / "config.yaml"


def state_directory() -> Path:
    """`$XNATCTL_STATE_DIR`, else `$XDG_STATE_HOME/xnatctl`, else the platform's place for state."""
    if named := os.environ.get(STATE_VARIABLE):
        return _expanded(named, STATE_VARIABLE)
    if base := _xdg("XDG_STATE_HOME"):
        return base / "xnatctl"
    import platformdirs

    _home(STATE_VARIABLE)
    return Path(platformdirs.user_state_dir("xnatctl", appauthor=False))


def journal_directory() -> Path:
    """The directory of the journals."""
    return state_directory() / "journals"


def _xdg(variable: str) -> Path | None:
    """The path in an XDG variable; relative paths are ignored as the specification requires."""
    base = Path(os.environ.get(variable) or "")
    return base if base.is_absolute() else None


def _expanded(text: str, variable: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{variable} names a home directory that does not exist: {text}.") from None


def _home(variable: str) -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise ConfigError("This user has no home directory.", hint=f"Set {variable}, or HOME.") from None


def private_directory(directory: Path, *, hint: str | None = None) -> Path:
    """Create a directory and its parents with access for this user only. Raises ConfigError."""
    missing = [directory]
    try:
        for parent in directory.parents:
            if parent.exists():
                break
            missing.append(parent)
        for new in reversed(missing):
            # mkdir(parents=True) would make the upper ones with the umask alone.
            new.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"Cannot create the directory {directory}: {reason(error)}.", hint=hint) from error
    return directory


def check_writable(directory: Path, purpose: str) -> None:
    """Check that a private directory can be created and written. Raises ConfigError.

    `purpose` is a sentence for the hint that describes the directory.
    """
    hint = f"{purpose} {STATE_VARIABLE} sets another directory."
    private_directory(directory, hint=hint)
    probe = directory / f".{os.urandom(4).hex()}"
    try:
        descriptor = create_private(probe)
        try:
            os.write(descriptor, bytes(_PROBE))  # a full disk still takes empty files
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            probe.unlink()
    except OSError as error:
        raise ConfigError(f"Cannot write in the directory {directory}: {reason(error)}.", hint=hint) from error


def write_private(path: Path, text: str) -> None:
    """Write a private file atomically. Raises ConfigError with the reason."""
    private_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        descriptor = create_private(temporary)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise ConfigError(f"Cannot write {path}: {reason(error)}.") from error


def read_private(path: Path) -> str | None:
    """The text of a private file of this user; None for other files, links and missing files.

    Checked through the open descriptor, so that the file cannot be replaced in between.
    """
    try:
        descriptor = open_to_read(path, follow=False)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) or not is_private(file.fileno()):
                return None
            content = file.read(_LONGEST_SECRET_FILE + 1)
        return content.decode("utf-8") if len(content) <= _LONGEST_SECRET_FILE else None
    except (OSError, UnicodeDecodeError):
        return None


class PrivateFolder:
    """A folder of the state directory whose files only this user can read: for secrets that a plugin keeps.

    It lies beside the journals (`XNATCTL_STATE_DIR`), and is made when the first file is written.
    """

    def __init__(self, name: str) -> None:
        self.path: Path = state_directory() / name

    def check_writable(self, purpose: str) -> None:
        """Write a file and remove it. Raises ConfigError where that is not possible.

        `purpose` is a sentence for the hint: what the folder is for.
        """
        check_writable(self.path, purpose)

    def read(self, name: str) -> str | None:
        """The text of a file. None for one that is not there, that others can read, or that is a link."""
        return read_private(self.path / name)

    def write(self, name: str, text: str) -> None:
        """Write a file, whole or not at all. Raises ConfigError with the reason."""
        write_private(self.path / name, text)
