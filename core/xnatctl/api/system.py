"""What operating systems do differently, for plugins that use files, sockets or processes of their own.

Each function does the same on every system; a plugin that uses them needs no branch for Windows.
"""

from xnatctl.operating_system import IS_WINDOWS
from xnatctl.operating_system.command_line import join_command, quote_word, split_command
from xnatctl.operating_system.console import obeys_escapes
from xnatctl.operating_system.files import (
    WITHOUT_LOCKS,
    open_to_read,
    open_to_write,
    read_at,
    reason,
    replace,
    verbatim,
)
from xnatctl.operating_system.folders import Folder
from xnatctl.operating_system.private import create_private, how_to_restrict, readable_by_others
from xnatctl.operating_system.processes import NEEDED_VARIABLES, end_group, own_group, usable_processors
from xnatctl.operating_system.signals import ENDING, on_user_signal, terminate_main_thread
from xnatctl.operating_system.sockets import (
    READABLE,
    SCATTERS,
    SHUTDOWN_ENDS_WAITS,
    WRITABLE,
    SocketWaiter,
    acknowledge_at_once,
    limit_in_kernel,
    send_parts,
)
from xnatctl.operating_system.waiting import time_with_sleep

__all__ = [
    "ENDING",
    "IS_WINDOWS",
    "NEEDED_VARIABLES",
    "READABLE",
    "SCATTERS",
    "SHUTDOWN_ENDS_WAITS",
    "WITHOUT_LOCKS",
    "WRITABLE",
    "Folder",
    "SocketWaiter",
    "acknowledge_at_once",
    "create_private",
    "end_group",
    "how_to_restrict",
    "join_command",
    "limit_in_kernel",
    "obeys_escapes",
    "on_user_signal",
    "open_to_read",
    "open_to_write",
    "own_group",
    "quote_word",
    "read_at",
    "readable_by_others",
    "reason",
    "replace",
    "send_parts",
    "split_command",
    "terminate_main_thread",
    "time_with_sleep",
    "usable_processors",
    "verbatim",
]
