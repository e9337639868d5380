"""Keeps plugins from ending the program without a word, which would leave exit code 0 for a run that is not done."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn

#: Ends this process at once, with an exit code.
leave: Callable[[int], NoReturn] = os._exit


def intercept_exits() -> None:
    """Make `os._exit` raise SystemExit in this process, so that the guard sees it. Child processes may leave."""
    own = os.getpid()

    def leave_if_child(status: int) -> NoReturn:
        if os.getpid() != own:
            leave(status)
        raise SystemExit(status)

    os._exit = leave_if_child
