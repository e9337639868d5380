"""Reading and changing the configuration file."""

from __future__ import annotations

import codecs
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xnatctl.errors import ConfigError, Refused
from xnatctl.operating_system.files import open_to_read, reason
from xnatctl.operating_system.private import create_private
from xnatctl.settings import paths, schema
from xnatctl.settings.document import parse

#: Largest configuration file, in bytes.
_LARGEST = 1 << 20
#: How long a change waits for that of another command, and the polling interval, in seconds.
_PATIENCE, _LOOK = 10.0, 0.05


def load_config(path: Path | None = None) -> dict[str, Any]:
    """The validated configuration; empty if there is no file. Raises ConfigError."""
    file = path or paths.config_file()
    content = _read(file)
    return {} if content is None else _parse(content, str(file))


def plugin_lists() -> tuple[list[str], list[str] | None]:
    """`plugins.block` and `plugins.allow`. YAML is read only when the file speaks of plugins at all.

    An invalid file allows no third-party plugin: `--help` and `config path` still work, and commands that need a
    setting report the error.
    """
    try:
        content = _read(paths.config_file())
        if content is None or "plugins" not in content:
            return [], None
        plugins = load_config().get("plugins") or {}
    except ConfigError:
        return [], []
    allow = plugins.get("allow")
    return list(plugins.get("block") or []), None if allow is None else list(allow)


def edit_config(change: Callable[[dict[str, Any]], None]) -> Path:
    """Change the configuration file atomically; keeps other settings and the comment at the top.

    Concurrent commands wait for each other. An invalid file is not changed. Raises ConfigError.
    """
    import yaml

    # Follow a link, so that a file in a dotfiles folder stays there.
    file = paths.config_file().resolve()
    with _locked(file):
        content = _read(file) or ""
        document = _parse(content, str(file))
        change(document)
        schema.check_document(document, {}, "the new configuration")
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True) if document else ""
        paths.write_private(file, _top_comment(content) + text)
    return file


def create_config(text: str) -> Path:
    """Write a new configuration file. Raises Refused for an existing file or dangling link; ConfigError."""
    file = paths.config_file()
    with _locked(file):
        if os.path.lexists(file):
            raise Refused(
                f"{file} exists already.", hint="Change it with an editor, or with: xnatctl config set-profile NAME"
            )
        paths.write_private(file, text)
    return file


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Lock the file with a lock file beside it, which works on network file systems too."""
    lock = file.with_name(f"{file.name}.lock")
    paths.private_directory(file.parent)
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            os.close(create_private(lock))
            break
        except FileExistsError:
            if time.monotonic() >= deadline:
                raise ConfigError(
                    f"Another command is changing {file}.",
                    hint=f"Run the command again. If no other command runs, a command was killed: delete {lock}.",
                ) from None
            time.sleep(_LOOK)
        except OSError as error:
            raise ConfigError(f"Cannot write {lock}: {reason(error)}.") from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _top_comment(content: str) -> str:
    kept: list[str] = []
    for line in content.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            break
        kept.append(line)
    return "".join(f"{line}\n" for line in kept)


def _read(file: Path) -> str | None:
    """The text of the file, or None. Only regular files are read, because a FIFO or device may never end."""
    try:
        descriptor = open_to_read(file)
        with os.fdopen(descriptor, "rb") as opened:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigError(f"Cannot read {file}: it is not a regular file.")
            content = opened.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"Cannot read {file}: {reason(error)}.") from error
    if len(content) > _LARGEST:
        raise ConfigError(f"Cannot read {file}: a configuration file is at most {_LARGEST >> 20} MiB long.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        problem = "it is UTF-16 text" if utf16 else f"line {line} is not UTF-8 text"
        raise ConfigError(f"Cannot read {file}: {problem}.", hint="Save the file as UTF-8.") from None


def _parse(content: str, where: str) -> dict[str, Any]:
    return schema.check_document(*parse(content, where), where)
