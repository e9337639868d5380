"""Calling the code of a plugin so that nothing it raises can end the program or pass for a success."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from xnatctl.errors import OutOfMemory, PluginUnavailable, XnatctlError, is_out_of_memory

#: The names of this variable's plugins are left out for one command.
BLOCK_VARIABLE = "XNATCTL_BLOCK_PLUGINS"


class Named(Protocol):
    """A plugin as messages name it; `origin` is its distribution and version."""

    name: str

    @property
    def origin(self) -> str: ...


@contextmanager
def guarded(what: str, plugin: Named, *, quote: bool = True) -> Iterator[None]:
    """Turn what a plugin raises into PluginUnavailable that names `what` failed and the plugin.

    An XnatctlError passes, and so do signals and Ctrl-C. SystemExit and every other BaseException count as failures:
    `sys.exit(0)` in a plugin must not end an upload with success. With `quote=False` the message leaves out the text
    of the exception, which may hold a secret.
    """
    try:
        yield
    except (XnatctlError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if is_out_of_memory(error):
            raise OutOfMemory from error
        raise PluginUnavailable(
            f"{what} (plugin {plugin.name}, {plugin.origin}) failed: {described(error, quote=quote)}.",
            hint=f"Run the command without it: {BLOCK_VARIABLE}={plugin.name}.",
        ) from error


def described(error: BaseException, *, quote: bool = True) -> str:
    """An exception in one line: its type, and with `quote` its text."""
    text = " ".join(str(error).split()) if quote else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
