"""Keeps plugins from ending the program without a word, which would leave exit code 0 for a run that is not done."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NoReturn

from xnatctl.operating_system.signals import call_after

#: Ends this process at once, with an exit code.
leave: Callable[[int], NoReturn] = os._exit
#: Seconds that threads and exit handlers of plugins may take after the result was reported.
_GRACE: Final = 10.0


def intercept_exits() -> None:
    """Make `os._exit` raise SystemExit in this process, so that the guard sees it. Child processes may leave.

    `os.exec*` puts another program, and its exit code, in the place of this one, and is refused.
    """
    own = os.getpid()

    def leave_if_child(status: int) -> NoReturn:
        if os.getpid() != own:
            leave(status)
        raise SystemExit(status)

    def in_children(replaced: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            if os.getpid() == own:
                raise PermissionError("a plugin may not replace this process; start another one with subprocess")
            return replaced(*arguments)

        return run

    os._exit = leave_if_child
    os.execv, os.execve = in_children(os.execv), in_children(os.execve)


def end_soon(code: int) -> None:
    """Give threads and exit handlers of plugins some seconds; then the process ends with `code`."""

    def end() -> None:
        names = [t.name for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
        what = f"the thread {names[0]}" if names else "an exit handler"
        with suppress(OSError):
            os.write(2, f"Warning: {what} of a plugin kept the process from ending, and was stopped.\n".encode())
        leave(code)

    call_after(_GRACE, end)
