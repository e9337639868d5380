"""Watches calls of a plugin: what they print, how long they take, what they raise, and what they leave behind."""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

from xnatctl.errors import XnatctlError
from xnatctl.plugin.guard import TimeIsUp, described, time_limit

#: Seconds that a thread may take to end after the object that started it was closed.
GRACE: Final = 5.0
_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE", "SIGCHLD") if hasattr(signal, name)
)
#: Functions of `socket` that reach the network.
_FUNCTIONS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection")
_METHODS = ("connect", "connect_ex", "sendto", "bind")


class Mistake(AssertionError):
    """A plugin breaks a rule of its contract; the text names the rule."""


def expect(condition: object, mistake: str) -> None:
    """Raise Mistake unless the condition is true."""
    if not condition:
        raise Mistake(mistake)


@contextmanager
def watched(
    what: str,
    *,
    seconds: float = 30.0,
    network: bool = True,
    allowed: tuple[type[BaseException], ...] = (XnatctlError,),
) -> Iterator[None]:
    """Raise Mistake for what a call of a plugin must not do inside; `what` names the call.

    It must not print, write to file descriptor 1, take longer than `seconds`, change the process, or raise anything but
    `allowed`. Without `network` it must not use a socket.
    """
    before = _process_state()
    with ExitStack() as stack:
        changed = stack.enter_context(_restored(before))
        attempts = stack.enter_context(_no_network()) if not network else []
        output = stack.enter_context(_captured())
        stdout = sys.stdout
        try:
            with time_limit(seconds):
                yield
        except TimeIsUp:
            raise Mistake(f"{what} did not return within {seconds:g} s; it blocks") from None
        except (AssertionError, KeyboardInterrupt):
            raise
        except BaseException as error:
            _check_after(what, output, attempts)
            if isinstance(error, allowed) or type(error).__module__.startswith("_pytest"):
                raise
            raise Mistake(f"{what} raised {described(error)}") from error
        _check_after(what, output, attempts)
        if sys.stdout is not stdout:
            changed.append("sys.stdout")
    expect(not changed, f"{what} changed {', '.join(changed)}, which belongs to the whole process")


def _check_after(what: str, output: Callable[[], str], attempts: list[str]) -> None:
    if printed := output():
        raise Mistake(
            f"{what} wrote to standard output, which belongs to the document: {printed[:80]!r}; use a log or stderr"
        )
    if attempts:
        raise Mistake(f"{what} used the network ({attempts[0]}); it may not, because a dry run needs no server")


@contextmanager
def _captured() -> Iterator[Callable[[], str]]:
    """Lead sys.stdout and file descriptor 1 to a file; what is yielded returns what was written."""
    stdout = sys.stdout
    with tempfile.TemporaryFile() as file:
        for stream in (stdout, sys.__stdout__):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()  # type: ignore[union-attr]
        kept = os.dup(1)
        os.dup2(file.fileno(), 1)
        sys.stdout = io.TextIOWrapper(os.fdopen(os.dup(file.fileno()), "wb"), encoding="utf-8", write_through=True)
        ours = sys.stdout

        def written() -> str:
            for stream in (sys.stdout, sys.__stdout__, ours):
                with suppress(OSError, ValueError, AttributeError):
                    stream.flush()  # type: ignore[union-attr]
            file.seek(0)
            return file.read().decode("utf-8", "replace")

        try:
            yield written
        finally:
            written()
            sys.stdout = stdout
            os.dup2(kept, 1)
            os.close(kept)
            with suppress(OSError, ValueError):
                ours.close()


@contextmanager
def _no_network() -> Iterator[list[str]]:
    """Refuse every use of a socket, and list the attempts, also those that the plugin hides."""
    attempts: list[str] = []

    def refuse(name: str) -> Callable[..., Any]:
        def refused(*arguments: Any, **named: Any) -> Any:
            attempts.append(f"socket.{name}")
            raise ConnectionRefusedError("the network may not be used here")

        return refused

    kept = {name: getattr(socket, name) for name in _FUNCTIONS}
    try:
        for name in _FUNCTIONS:
            setattr(socket, name, refuse(name))
        for name in _METHODS:
            setattr(socket.socket, name, refuse(name))
        yield attempts
    finally:
        for name, function in kept.items():
            setattr(socket, name, function)
        for name in _METHODS:
            delattr(socket.socket, name)  # that of the base class shows again


def _process_state() -> dict[str, Any]:
    """What belongs to the whole process, and so to core."""
    mask = os.umask(0o077)
    os.umask(mask)
    return {
        "the working directory": os.getcwd(),
        "the file mode mask (umask)": mask,
        "a signal handler": tuple(map(signal.getsignal, _SIGNALS)),
        "the default timeout of sockets": socket.getdefaulttimeout(),
        "sys.stdout": sys.stdout,
        "sys.stderr": sys.stderr,
        "file descriptors 0 to 2": tuple(map(_is_open, range(3))),
    }


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@contextmanager
def _restored(before: dict[str, Any]) -> Iterator[list[str]]:
    """Undo what can be undone, for the tests after this one; the list says what was changed."""
    changed: list[str] = []
    try:
        yield changed
    finally:
        changed += [name for name, value in _process_state().items() if value != before[name]]
        os.chdir(before["the working directory"])
        os.umask(before["the file mode mask (umask)"])
        for number, handler in zip(_SIGNALS, before["a signal handler"], strict=True):
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
        socket.setdefaulttimeout(before["the default timeout of sockets"])
        sys.stdout, sys.stderr = before["sys.stdout"], before["sys.stderr"]


@contextmanager
def nothing_left(what: str) -> Iterator[None]:
    """Raise Mistake for threads and file descriptors that are open afterwards and were not before."""
    threads, descriptors = set(threading.enumerate()), _descriptors()
    yield
    for thread in set(threading.enumerate()) - threads:
        thread.join(GRACE)
        expect(not thread.is_alive(), f"{what} left the thread {thread.name} running; close() must end it")
    if (more := _descriptors() - descriptors) > 0:
        raise Mistake(f"{what} left {more} file descriptors open; close() must close them")


def _descriptors() -> int:
    """How many are open: every system gives out the lowest number that is free."""
    return sum(map(_is_open, range(4096)))
