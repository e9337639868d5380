"""Calls all code of plugins, so that nothing that it raises, prints or waits for can look like a success.

`Registry.load` imports a target and returns it as a `Guarded` callable; `plugin.guarded` does the same for the objects
that targets make. What a plugin raises becomes PluginUnavailable, which names the plugin, its distribution and version.
While code of another distribution runs, standard output leads to stderr, for Python (`sys.stdout`) and for libraries
and child processes (file descriptor 1). Calls that have no reason to wait have a time limit.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Final, Protocol, TypeVar

from xnatctl.errors import OutOfMemory, PluginUnavailable, XnatctlError, is_out_of_memory
from xnatctl.operating_system.signals import HANDLED, HAS_ALARM, handle_alarm, set_alarm

T = TypeVar("T")

#: The variable that blocks plugins for one command.
BLOCK_VARIABLE = "XNATCTL_BLOCK_PLUGINS"
#: The variable that prints each call of a plugin; see `plugin.trace`.
TRACE_VARIABLE = "XNATCTL_TRACE_PLUGINS"

#: Time limit of calls that only create or describe: a formatter, a transport, `describe`, `destination` (seconds).
QUICK: Final = 30.0
#: Seconds after which a line says which plugin is waited for.
NOTICE: Final = 5.0
#: Longest text of an exception in a message (characters).
_LONGEST: Final = 500
#: Time limit of an observer for one event: the main thread waits for it (seconds).
OBSERVING: Final = 5.0
#: Time limit of calls that may use files or the network: imports, checks, observers, credential sources (seconds).
PATIENT: Final = 120.0
#: Seconds after which a call that ignored its time limit is interrupted again.
_AGAIN: Final = 1.0


class Named(Protocol):
    """A plugin in messages; `origin` is its distribution and version, `ours` is True for plugins of xnatctl."""

    @property
    def name(self) -> str: ...

    @property
    def origin(self) -> str: ...

    @property
    def ours(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of a plugin: `trace` is the traceback, `places` are its code lines, which hold no data."""

    what: str
    plugin: Named
    trace: str
    places: tuple[str, ...]


Report = Callable[[Failure], None]


def _unheard(failure: Failure) -> None:
    """The default for callers without a log."""


class PluginFailed(PluginUnavailable):
    """A plugin raised an unexpected error or took too long; `__cause__` is the error."""


class Guard:
    """Calls code of plugins. One for each process; safe for use by several threads.

    `report` is called with each failure.
    """

    #: True for a guard that overrides `around` and `noted` to see every call.
    notes: ClassVar[bool] = False

    def __init__(self, report: Report = _unheard) -> None:
        self._report = report
        self._stdout = _Stdout()
        #: True once code of another distribution ran.
        self.used = False

    def call(
        self,
        what: str,
        plugin: Named,
        function: Callable[..., T],
        *arguments: Any,
        quote: bool = True,
        limit: float | None = None,
        **named: Any,
    ) -> T:
        """Call a function of a plugin; see `around`."""
        if not plugin.ours or self.notes:
            with self.around(what, plugin, quote=quote, limit=limit):
                return function(*arguments, **named)
        try:  # as in `around`; an observer of ours is called for each file, and a context manager costs more than it
            return function(*arguments, **named)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if is_explained(error):
                raise
            raise self.failure(error, what, plugin, quote=quote) from error

    @contextmanager
    def around(self, what: str, plugin: Named, *, quote: bool = True, limit: float | None = None) -> Iterator[None]:
        """Turn what a plugin raises inside into PluginUnavailable that names `what` failed and the plugin.

        An XnatctlError passes, and so do signals and Ctrl-C. SystemExit and every other BaseException count as
        failures: `sys.exit(0)` in a plugin must not end an upload with success. With `quote=False` neither message nor
        traceback holds the text of the exception, which may be a secret.

        `limit` is in seconds, None where waiting is allowed. It holds in the main thread of systems with interval
        timers (not on Windows), for code of other distributions. After `NOTICE` seconds a line on stderr names what is
        waited for. In the main thread, working directory and signal handlers are those from before where there is a
        limit.
        """
        try:
            if plugin.ours:
                yield
            elif limit is None:
                self.used = True
                with self.redirected():
                    yield
            else:
                self.used = True
                with self.redirected(), process_kept(), time_limit(limit, lambda: _say_slow(what, plugin)):
                    yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if is_explained(error):
                raise
            raise self.failure(error, what, plugin, quote=quote) from error

    def noted(self, what: str, plugin: Named) -> AbstractContextManager[None]:
        """Around a call that `around` does not make; a guard that traces calls overrides it."""
        return nullcontext()

    def failure(
        self, error: BaseException, what: str, plugin: Named, *, quote: bool = True, hint: str | None = None
    ) -> XnatctlError:
        """The error for an exception of a plugin; reports its traceback."""
        if is_out_of_memory(error):
            return OutOfMemory()
        self._report(Failure(what, plugin, _trace(error, quote=quote), _places(error)))
        said = "took too long and was stopped" if isinstance(error, TimeIsUp) else "failed"
        return PluginFailed(
            f"{what} (plugin {plugin.name}, {plugin.origin}) {said}: {described(error, quote=quote)}.",
            hint=hint or f"Run the command without it: {BLOCK_VARIABLE}={plugin.name}.",
        )

    def redirected(self) -> _Stdout:
        """A context that redirects standard output to stderr. One around a whole run makes nested ones cheap."""
        return self._stdout

    def release(self) -> None:
        """Restore standard output for the document, also if a signal skipped the exit of a context."""
        self._stdout.release()

    def seal(self) -> None:
        """Redirect standard output permanently: the document is written, and plugins may still run at exit."""
        _flush(sys.stdout)
        self._stdout.__enter__()


class _Stdout:
    """Redirects standard output to stderr while entered. Nested entering only counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._kept = -1
        self._stream: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                try:
                    self._begin()
                except BaseException:  # a signal
                    self._end()
                    raise
            self._inside += 1

    def __exit__(self, *details: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._end()

    def release(self) -> None:
        """Restore standard output, also if a signal skipped an exit."""
        with self._lock:
            self._inside = 0
            self._end()

    def _begin(self) -> None:
        self._stream = sys.stdout
        # What was written before goes where it was meant to go.
        for stream in (sys.stdout, sys.__stdout__):
            _flush(stream)
        with suppress(OSError):  # no descriptor is free, or stderr is closed: redirect only Python's stream
            self._kept = os.dup(1)
            os.dup2(2, 1)
        sys.stdout = sys.stderr

    def _end(self) -> None:
        if self._stream is not None:
            # Buffered output was written inside, so it goes to stderr.
            for stream in (sys.stdout, sys.__stdout__, self._stream):
                _flush(stream)
            sys.stdout, self._stream = self._stream, None
        if self._kept >= 0:
            with suppress(OSError):
                os.dup2(self._kept, 1)
                os.close(self._kept)
            self._kept = -1


def _flush(stream: Any) -> None:
    with suppress(OSError, ValueError, AttributeError):
        stream.flush()


class TimeIsUp(BaseException):
    """A call exceeded its time limit. Not an Exception, so that `except Exception` in a plugin does not catch it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the limit is {seconds:g} s")


def _quiet() -> None:
    """The default notice."""


def _say_slow(what: str, plugin: Named) -> None:
    """Written to the descriptor, because a signal may interrupt a write to the stream."""
    line = f"Waiting for {what[0].lower()}{what[1:]} of plugin {plugin.name} ({plugin.origin}). To run without it, set "
    with suppress(OSError):
        os.write(2, f"{line}{BLOCK_VARIABLE}={plugin.name}.\n".encode("utf-8", "replace"))


@contextmanager
def process_kept() -> Iterator[None]:
    """Undo what a call changes of the process, in the main thread: directory, handlers of signals, a closed stderr."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in HANDLED}
    directory = _directory()
    stderr = _copy_of(2)
    try:
        yield
    finally:
        if stderr is not None:
            if (still := _copy_of(2)) is None:
                os.dup2(stderr, 2)
            else:
                os.close(still)
            os.close(stderr)
        if directory is not None and _directory() != directory:
            with suppress(OSError):
                os.chdir(directory)
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)


def _copy_of(descriptor: int) -> int | None:
    """A copy of a descriptor; None if it is closed, or if there is no room for another one."""
    try:
        return os.dup(descriptor)
    except OSError:
        return None


def _directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


@contextmanager
def time_limit(seconds: float, notice: Callable[[], None] = _quiet) -> Iterator[None]:
    """Raise TimeIsUp inside after some seconds; suspends the limit of an outer call.

    `notice` is called once after `NOTICE` seconds, from a signal handler.
    """
    if not HAS_ALARM or threading.current_thread() is not threading.main_thread():
        yield
        return

    over, told = False, seconds <= NOTICE

    def stop(number: int, frame: object) -> None:
        nonlocal told
        if over:
            return
        if not told:
            told = True
            set_alarm(max(0.001, seconds - NOTICE), _AGAIN)
            notice()
            return
        raise TimeIsUp(seconds)

    begun = time.monotonic()
    before = handle_alarm(stop)
    left, interval = set_alarm(min(seconds, NOTICE), _AGAIN)
    try:
        try:
            yield
        finally:
            over = True
    finally:  # also when the time is up just as `over` is set; the timer needs _AGAIN to come once more
        over = True
        set_alarm(0)
        handle_alarm(before)
        if left:
            set_alarm(max(0.001, left - (time.monotonic() - begun)), interval)


def is_explained(error: BaseException) -> bool:
    """Whether an error can be reported as it is: an XnatctlError whose parts are what they must be.

    A subclass of a plugin may leave out `__init__` of its base, or name an exit code that is no number.
    """
    if not isinstance(error, XnatctlError):
        return False
    message, hint = getattr(error, "message", None), getattr(error, "hint", 0)
    said = isinstance(message, str) and isinstance(hint, str | None)
    return said and isinstance(error.code, str) and isinstance(error.exit_code, int)


def module_of(target: str) -> ModuleType:
    """Import the module of a target `"module:attribute"`. Calls code of a plugin, so it is called by a guard."""
    return importlib.import_module(target.partition(":")[0])


def attribute_of(target: str) -> Any:
    """Import what a target `"module:attribute"` names; see `module_of`."""
    return getattr(module_of(target), target.partition(":")[2])


def reason_of(error: XnatctlError) -> str:
    """Why a call failed, for messages that name the plugin themselves."""
    cause = error.__cause__
    return described(cause) if isinstance(error, PluginFailed) and cause is not None else described(error)


@contextmanager
def unlimited() -> Iterator[None]:
    """Let the limit of an outer call wait: a person is asked inside."""
    if not HAS_ALARM or threading.current_thread() is not threading.main_thread():
        yield
        return
    left, interval = set_alarm(0)
    try:
        yield
    finally:
        if left:
            set_alarm(left, interval)


def described(error: BaseException, *, quote: bool = True) -> str:
    """An exception in one line: its type, and with `quote` its text."""
    if isinstance(error, TimeIsUp):
        return str(error)
    text = ""
    if quote:
        try:
            text = " ".join(str(error).split())
        except BaseException as odd:  # an exception of a plugin may not even have a text
            if isinstance(odd, KeyboardInterrupt):
                raise
            text = "(it cannot be printed)"
    text = f"{text[:_LONGEST]}..." if len(text) > _LONGEST else text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _places(error: BaseException) -> tuple[str, ...]:
    frames = traceback.extract_tb(error.__traceback__)
    return tuple(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)


def _trace(error: BaseException, *, quote: bool) -> str:
    """The traceback; without `quote` the places and the type alone."""
    try:
        if quote:
            return "".join(traceback.format_exception(error))
        return "".join([*traceback.format_tb(error.__traceback__), type(error).__name__])
    except BaseException as odd:  # an exception of a plugin may not even have a text
        if isinstance(odd, KeyboardInterrupt):
            raise
        return type(error).__name__
