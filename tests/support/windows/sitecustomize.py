"""Hides from our code what CPython for Windows lacks: names of `os`, `signal`, `select`, `socket`, `time`; whole modules.

Python imports this file at its start when its folder is in PYTHONPATH (`tox -e portable`). The standard library and
other packages see everything, because they know their systems themselves. `names.txt` lists what CPython 3.13 for
Windows has.
"""

from __future__ import annotations

import builtins
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

ABSENT = frozenset({"curses", "fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"})


def windows_names() -> dict[str, frozenset[str]]:
    """The public names of some modules on Windows."""
    names: dict[str, set[str]] = {}
    module = ""
    for line in Path(__file__).with_name("names.txt").read_text(encoding="ascii").splitlines():
        before, _, after = line.rpartition(":")
        module = before or module
        names.setdefault(module, set()).update(after.split())
    return {module: frozenset(found) for module, found in names.items()}


class _Missing:
    """A method that a class of Windows does not have."""

    def __get__(self, instance: object, owner: type) -> None:
        raise AttributeError("Windows does not have it")


class _Reduced(ModuleType):
    """A module without some of its names. What a test replaces in the whole module is replaced here too."""

    def __init__(self, name: str, kept: frozenset[str]) -> None:
        super().__init__(name)
        self.__whole = importlib.import_module(name)
        self.__kept = kept

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_") or key in self.__kept:
            return getattr(self.__whole, key)
        raise AttributeError(f"module {self.__name__!r} has no attribute {key!r} on Windows")


def _reduced(name: str, kept: frozenset[str]) -> ModuleType:
    whole = importlib.import_module(name)
    reduced = _Reduced(name, kept)
    if name == "socket":
        missing = {method: _Missing() for method in ("sendmsg", "recvmsg", "recvmsg_into")}
        reduced.socket = type("socket", (whole.socket,), {"__slots__": (), **missing})  # type: ignore[attr-defined]
    return reduced


def install() -> None:
    """From now on, modules of ours import the reduced modules."""
    reduced = {name: _reduced(name, kept) for name, kept in windows_names().items()}
    whole_import = builtins.__import__

    def reduced_import(name: str, space: Any = None, *rest: Any, **named: Any) -> Any:
        space = named.pop("globals", space)
        if space and str(space.get("__name__", "")).startswith("xnatctl"):
            top = name.partition(".")[0]
            if top in ABSENT:
                raise ModuleNotFoundError(f"No module named {top!r} on Windows", name=top)
            if top in reduced:
                return reduced[top]
        return whole_import(name, space, *rest, **named)

    builtins.__import__ = reduced_import


if __name__ == "sitecustomize":
    install()
