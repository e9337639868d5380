"""Where files live, and how those with secrets in them are made: 0600 from the first moment, never chmod afterwards."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from xnatctl.errors import ConfigError

CONFIG_VARIABLE = "XNATCTL_CONFIG"
STATE_VARIABLE = "XNATCTL_STATE_DIR"


def config_file() -> Path:
    """`$XNATCTL_CONFIG`, else `$XDG_CONFIG_HOME/xnatctl/config.yaml`, by default below `~/.config` on every system."""
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME")
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".config"
    return root / "xnatctl" / "config.yaml"


def state_directory() -> Path:
    """`$XNATCTL_STATE_DIR`, else the platform's place for state (`$XDG_STATE_HOME/xnatctl`)."""
    if named := os.environ.get(STATE_VARIABLE):
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_state_dir("xnatctl", appauthor=False))


def token_directory() -> Path:
    """Where cached session tokens lie: with the state, because losing them means logging in again."""
    return state_directory() / "tokens"


def private_directory(directory: Path) -> Path:
    """Make a directory that only this user can enter. Raises ConfigError with the reason."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"Cannot make the directory {directory}: {error.strerror}.") from error
    return directory


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, whole or not at all. Raises ConfigError with the reason."""
    private_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise ConfigError(f"Cannot write {path}: {error.strerror}.") from error


def readable_by_others(path: Path) -> bool:
    """True when group or others may read a file."""
    return bool(path.stat().st_mode & 0o077)
