"""`--version -v`: what a bug report needs. It names no host and no user, and holds no secret."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any
from urllib.parse import unquote, urlsplit

import xnatctl
from xnatctl.cli.app import App
from xnatctl.errors import ConfigError, XnatctlError
from xnatctl.model.document import Column, Document
from xnatctl.plugin.discovery import OURS

_SCHEMA = "xnatctl.version/1"
#: The name at the beginning of a requirement.
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def version_document(app: App) -> Document:
    """Versions, plugins, the configuration file and the terminal, as pairs of key and value."""
    data: dict[str, Any] = {
        "version": xnatctl.__version__,
        "commit": _commit(),
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": platform.platform(),
        "sqlite": sqlite3.sqlite_version,
        "tls": _tls(),
        "libraries": dict(_libraries()),
        "configuration": _configuration(),
        "plugins": _plugins(app),
        "terminal": _terminal(),
    }
    pairs = list(_pairs(data))
    return Document(
        schema=_SCHEMA,
        data={"schema": _SCHEMA, **data},
        columns=(Column(key="key"), Column(key="value", fit="wrap")),
        rows=[{"key": key, "value": value} for key, value in pairs if value],
        identifiers=(xnatctl.__version__,),
    )


def _pairs(data: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """The document for people."""
    yield "xnatctl", data["version"]
    yield "Commit", data["commit"]
    yield "Python", data["python"]
    yield "System", data["system"]
    yield "SQLite", data["sqlite"]
    yield "TLS", data["tls"]
    yield "Libraries", ", ".join(f"{name} {version}" for name, version in data["libraries"].items())
    yield "Configuration", data["configuration"]
    for status in sorted({plugin["status"] for plugin in data["plugins"]}):
        found = [_plugin_text(plugin) for plugin in data["plugins"] if plugin["status"] == status]
        yield f"Plugins {status}", ", ".join(found)
    yield "Terminal", ", ".join(f"{key} {value}" for key, value in data["terminal"].items() if value is not None)


def _plugin_text(plugin: Mapping[str, str | None]) -> str:
    origin = "" if plugin["distribution"] == OURS else f" ({plugin['distribution']} {plugin['version']}".rstrip() + ")"
    return f"{plugin['name']}{origin}{': ' + plugin['reason'] if plugin['reason'] else ''}"


def _commit() -> str | None:
    """The commit of the repository that was installed, or of the checkout behind an editable install."""
    try:
        origin = json.loads(distribution(OURS).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    if commit := origin.get("vcs_info", {}).get("commit_id"):
        return str(commit)
    if not origin.get("dir_info", {}).get("editable"):
        return None
    folder = unquote(urlsplit(origin["url"]).path)
    command = ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=10).stdout.strip()
    return None


def _tls() -> str | None:
    with suppress(ImportError):
        import ssl

        return ssl.OPENSSL_VERSION
    return None


def _libraries() -> Iterator[tuple[str, str]]:
    """What our distribution requires, also by an extra, with the versions that are installed."""
    with suppress(PackageNotFoundError):
        named = {match[0] for line in distribution(OURS).requires or () if (match := _NAME.match(line))}
        for name in sorted(named - {OURS}):
            with suppress(PackageNotFoundError):
                yield name, distribution(name).version


def _configuration() -> str:
    from xnatctl.settings.config import load_config
    from xnatctl.settings.paths import config_file

    try:
        file = config_file()
        load_config()
    except XnatctlError as error:
        return _without_home(error.message)
    return _without_home(f"{file}{'' if file.exists() else ' (does not exist)'}")


def _plugins(app: App) -> list[dict[str, str | None]]:
    """Every plugin with its state; the active ones are imported to find it."""
    try:
        app.registry.load_all()
    except ConfigError:  # `configuration` says what is wrong with it
        app.without_config()
        app.registry.load_all()
    states = [(plugin, *app.registry.state_of(plugin)) for plugin in app.registry.manager.plugins]
    return [
        {
            "name": plugin.name,
            "status": str(status),
            "reason": None if reason is None else _without_home(reason),
            "distribution": plugin.distribution,
            "version": plugin.version,
        }
        for plugin, status, reason in states
    ]


def _terminal() -> dict[str, Any]:
    return {
        "columns": shutil.get_terminal_size().columns,
        "encoding": sys.stdout.encoding,
        "filesystem": sys.getfilesystemencoding(),
        "TERM": os.environ.get("TERM"),
        "stdin": _kind(sys.stdin),
        "stdout": _kind(sys.stdout),
        "stderr": _kind(sys.stderr),
    }


def _kind(stream: Any) -> str:
    return "terminal" if stream is not None and stream.isatty() else "file"


def _without_home(text: str) -> str:
    """The text without the user's name, which the home directory holds."""
    home = os.path.expanduser("~")
    return text if home in ("~", "/", "") else text.replace(home, "~")
