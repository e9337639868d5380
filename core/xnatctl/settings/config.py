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
from xnatctl.settings import paths, schema
from xnatctl.settings.document import parse

#: A configuration file is smaller than this, in bytes.
_LARGEST = 1 << 20
#: How long a change waits for one that another command makes, in seconds, and how often it looks.
_PATIENCE, _LOOK = 10.0, 0.05


def load_config(path: Path | None = None) -> dict[str, Any]:
    """The checked content of the configuration file; empty when there is none. Raises ConfigError."""
    file = path or paths.config_file()
    content = _read(file)
    return {} if content is None else _parse(content, str(file))


def plugin_lists() -> tuple[list[str], list[str] | None]:
    """`plugins.block` and `plugins.allow`. YAML is read only when the file speaks of plugins at all.

    A file that cannot be understood allows no foreign plugin: `--help` and `config path` still work, and every command
    that needs a setting reports what is wrong with the file.
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
    """Change the configuration file, whole or not at all; every setting in it is kept, and the comment at its top.

    Commands that change it at the same time wait for each other. A file that is wrong already is left as it is. Raises
    ConfigError.
    """
    import yaml

    # Through a link, so that a file kept in a folder of dotfiles stays there.
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
    """Write a new configuration file. Raises Refused when there is one, or a link that leads nowhere; ConfigError."""
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
    """Keep other commands from changing the file: a lock file beside it, which works on network file systems too."""
    lock = file.with_name(f"{file.name}.lock")
    paths.private_directory(file.parent)
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            os.close(paths.create_private(lock))
            break
        except FileExistsError:
            if time.monotonic() >= deadline:
                raise ConfigError(
                    f"Another command is changing {file}.",
                    hint=f"Run the command again. If no other command runs, one was killed: delete {lock}.",
                ) from None
            time.sleep(_LOOK)
        except OSError as error:
            raise ConfigError(f"Cannot write {lock}: {error.strerror}.") from error
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
    """The text of the file, None when there is none. Only a regular file is read: a FIFO or device may never end."""
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as opened:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigError(f"Cannot read {file}: it is not a regular file.")
            content = opened.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"Cannot read {file}: {error.strerror}.") from error
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
