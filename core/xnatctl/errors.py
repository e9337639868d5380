"""The exceptions of xnatctl, with their exit codes.

::

    XnatctlError                      1  unexpected
    |-- OutOfMemory                   1  out-of-memory   a limit of the system was reached
    |-- UsageError                    2  usage
    |   `-- ConfigError               2  config
    |-- AuthenticationError           3  authentication
    |-- PermissionDenied              3  permission
    |-- ConnectionFailed              4  unreachable
    |   `-- TransportError            4  answer-lost       the request may or may not have been carried out
    |-- ServerError                   4  server
    |   |-- NotXnat                   4  not-xnat          an HTML page, or another service answered
    |   |-- TooLarge                  4  too-large         a proxy refused the size of the body
    |   `-- Throttled                 4  throttled         429 or 503, perhaps with Retry-After
    |-- NotFound                      2  not-found         something named on the command line does not exist
    |-- DeliveryIncomplete            5  incomplete
    |   `-- SourceChanged             5  source-changed
    |-- NotArchived                   6  not-archived
    |-- VerificationFailed            6  verification
    |-- JournalError                  1  journal           the journal cannot be written, so nothing is sent
    |-- Refused                       7  refused           a safety rule, before anything was sent
    |-- PluginUnavailable             8  plugin
    `-- Interrupted                 130  interrupted

The table of exit codes is `docs/reference/exit-codes.md`; a test compares it with this module.
Messages say what happened and to which file; `hint` says what to do next. Neither holds a secret.
"""

from __future__ import annotations

import errno


class XnatctlError(Exception):
    """The base of all expected errors.

    `message` is one line for people, `hint` what to do next, `code` a stable identifier for scripts, `exit_code` the
    exit code of the process.
    """

    code = "unexpected"
    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def as_document(self) -> dict[str, object]:
        """The `error` object of a document (`docs/reference/output.md`)."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "exit_code": self.exit_code}


def exit_code_of(error: XnatctlError) -> int:
    """The exit code of an error: never 0, even if the class of a plugin sets it."""
    code: object = error.exit_code
    return code if isinstance(code, int) and 0 < code < 256 else XnatctlError.exit_code


class OutOfMemory(XnatctlError):
    """The system gives this process no more memory, or no more threads."""

    code = "out-of-memory"

    def __init__(self, task: str = "go on") -> None:
        super().__init__(
            f"Out of memory: the limits of this process do not let it {task}.",
            hint="Raise the limit (ulimit -v and -u, or that of the batch system), use fewer --workers, or upload "
            "fewer files at once. The same command finishes an upload that had begun.",
        )


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether the system refused memory.

    Besides MemoryError, that is an OSError with ENOMEM, an ImportError where the dynamic loader cannot map a library,
    and the SystemError of C code that failed without setting an exception.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # `raise error from error` makes a cycle
        seen.add(id(error))
        refused = isinstance(error, OSError) and error.errno == errno.ENOMEM
        unloadable = isinstance(error, (ImportError, SystemError)) and any(text in str(error) for text in _NO_MEMORY)
        if isinstance(error, MemoryError) or refused or unloadable:
            return True
        error = error.__cause__ or error.__context__
    return False


#: Texts of the dynamic loader and of CPython when an allocation failed.
_NO_MEMORY = (
    "failed to map segment",
    "cannot allocate memory",
    "cannot create shared object descriptor",
    "without exception set",
    "without setting an exception",
)


class UsageError(XnatctlError):
    """The command line cannot be carried out as written."""

    code = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """The configuration file, a profile or a variable holds something unusable."""

    code = "config"


class NotFound(XnatctlError):
    """A path, project, session or row that the user named does not exist (or cannot be read by this user)."""

    code = "not-found"
    exit_code = 2


class AuthenticationError(XnatctlError):
    """The server does not accept the credentials."""

    code = "authentication"
    exit_code = 3


class PermissionDenied(XnatctlError):
    """The server or the local system denies access."""

    code = "permission"
    exit_code = 3


class ConnectionFailed(XnatctlError):
    """No connection was made, so nothing of the request can have been carried out."""

    code = "unreachable"
    exit_code = 4


class TransportError(ConnectionFailed):
    """The answer was lost: the request may or may not have been carried out, every item is ambiguous."""

    code = "answer-lost"


class ServerError(XnatctlError):
    """The server answered with a failure of its own. `status` is the HTTP status, 0 when there was none."""

    code = "server"
    exit_code = 4

    def __init__(self, message: str, *, hint: str | None = None, status: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class NotXnat(ServerError):
    """The answer was an HTML page (login, proxy), or did not come from XNAT."""

    code = "not-xnat"


class TooLarge(ServerError):
    """413: a proxy or the server refuses bodies of this size."""

    code = "too-large"


class Throttled(ServerError):
    """429 or 503. `retry_after` is in seconds when the server named one, else None."""

    code = "throttled"

    def __init__(
        self, message: str, *, hint: str | None = None, status: int = 0, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint=hint, status=status)
        self.retry_after = retry_after


class DeliveryIncomplete(XnatctlError):
    """Some files were not delivered; the report names them."""

    code = "incomplete"
    exit_code = 5


class SourceChanged(DeliveryIncomplete):
    """A file changed since the upload was planned: it grew, shrank, was replaced or vanished.

    `path` is that of the item (relative to the root), so that the others of its batch can be sent again.
    """

    code = "source-changed"

    def __init__(self, message: str, *, hint: str | None = None, path: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.path = path


class NotArchived(XnatctlError):
    """Delivered, but not (yet) archived as asked.

    `commands` finish the job; None if that is the same command again.
    """

    code = "not-archived"
    exit_code = 6

    def __init__(self, message: str, *, hint: str | None = None, commands: tuple[str, ...] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.commands = commands


class VerificationFailed(XnatctlError):
    """Delivered, but the files on the server differ from those on disk."""

    code = "verification"
    exit_code = 6


class JournalError(XnatctlError):
    """The journal cannot be read or written, so nothing may be sent."""

    code = "journal"


class Refused(XnatctlError):
    """A safety rule stopped the command before anything was sent."""

    code = "refused"
    exit_code = 7


class PluginUnavailable(XnatctlError):
    """A required plugin is missing, blocked, broken or lacks its extra."""

    code = "plugin"
    exit_code = 8


class Interrupted(XnatctlError):
    """Ctrl-C or a signal; what was done is recorded and the command can be run again.

    `signal_number` decides the exit code: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP.
    """

    code = "interrupted"
    exit_code = 130

    def __init__(self, message: str, *, hint: str | None = None, signal_number: int = 2) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = 128 + signal_number


#: Exit codes which mean that nothing was sent.
BEFORE_SENDING = frozenset({UsageError.exit_code, Refused.exit_code, PluginUnavailable.exit_code})


class Signalled(KeyboardInterrupt):
    """SIGTERM or SIGHUP, raised where it arrives and later turned into `Interrupted`.

    Like Ctrl-C it is not an Exception, so that code which handles faults of plugins does not catch it.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def signal_of(interrupt: BaseException | None) -> int:
    """The number of the signal; Ctrl-C is 2."""
    if isinstance(interrupt, Interrupted):
        return interrupt.exit_code - 128
    return interrupt.number if isinstance(interrupt, Signalled) else 2
