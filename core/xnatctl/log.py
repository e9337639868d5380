"""Logging by structlog, with redaction first in the chain; a log that cannot be written never stops an upload.

structlog is imported only when somebody asked for a log.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from xnatctl.operating_system.private import open_to_append
from xnatctl.redaction import Redactor

#: Talkative libraries, and the lowest level that they may say with -vv. Below it httpcore shows cookies, pydicom values
#: of patients' tags and pynetdicom data sets.
_LIBRARIES = {
    "httpx": logging.INFO,
    "httpcore": logging.WARNING,
    "pynetdicom": logging.INFO,
    "pydicom": logging.CRITICAL,
    "keyring": logging.WARNING,
}


def _masked(redact: Callable[[str], str], value: Any) -> Any:
    """A value without secrets in any key and text, however deep."""
    if isinstance(value, Mapping):
        return {redact(str(key)): _masked(redact, entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(redact, entry) for entry in value]
    if value is None or isinstance(value, int | float):
        return value
    return redact(str(value))


#: Beside numbers, what the log file holds without -v: none of it names a file, label, subject or resource.
_NAMELESS = frozenset(
    {
        "timestamp",
        "level",
        "event",
        "version",
        "server",
        "user",
        "source",
        "code",
        "state",
        "status",
        "transport",
        "plugin",
        "origin",
        "places",
    }
)


def _without_names(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event without text that may name a file, label, subject or resource: such names may be those of patients."""
    kept: dict[str, Any] = {}
    for key, value in event.items():
        if key == "data" and isinstance(value, Mapping):
            kept[key] = _without_names(value)
        elif key in _NAMELESS or value is None or isinstance(value, int | float):
            kept[key] = value
    return kept


class _Sink:
    """Writes events to the log file as JSON lines, and to stderr with -v, those about one file with -vv.

    Without -v the log file gets no event about one file, and no name of a file, label, subject or resource. Drops what
    cannot be written.
    """

    def __init__(self, path: str | None, redactor: Redactor, *, verbose: int) -> None:
        self._path = path
        self._redact = redactor.redact
        self._verbose = verbose
        self._lock = threading.Lock()
        self._complained = False
        self._descriptor = -1
        if path is not None:
            # Private from the first moment; an existing file is added to. A pipe that is not read does not block.
            self._descriptor = open_to_append(path)

    def msg(self, event: MutableMapping[str, Any]) -> None:
        """Take one event, redacted already; the written line is redacted once more, whatever made it."""
        with self._lock:
            detail = event.get("level") == "debug"
            if self._descriptor >= 0 and (self._verbose or not detail):
                written = event if self._verbose else _without_names(event)
                self._to_file(self._redact(json.dumps(written, default=str, ensure_ascii=True)))
            if self._verbose > detail:
                self._to_terminal(self._redact(_for_people(event)))

    debug = info = warning = error = critical = msg

    def _to_file(self, line: str) -> None:
        data = line.encode("ascii", "backslashreplace") + b"\n"
        try:
            if os.write(self._descriptor, data) == len(data):
                return
            reason = "a line could not be written whole"
        except OSError as error:
            reason = error.strerror or type(error).__name__
        if not self._complained:
            self._complained = True
            self._to_terminal(f"Warning: the log {self._path} misses lines: {reason}. The upload goes on.")

    def _to_terminal(self, line: str) -> None:
        try:
            print(line.encode("ascii", "backslashreplace").decode(), file=sys.stderr, flush=True)  # noqa: T201
        except (OSError, ValueError, AttributeError):
            self._verbose = 0

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            if self._descriptor >= 0:
                with suppress(OSError):
                    os.close(self._descriptor)
            self._descriptor = -1


def _for_people(event: Mapping[str, Any]) -> str:
    """One line: time, level, what, the rest as key=value, and a traceback below it; control characters are shown."""
    known = ("timestamp", "level", "event")
    fields = {key: value for key, value in event.items() if key not in (*known, "data")}
    data = event.get("data")
    fields |= data if isinstance(data, Mapping) else {}
    trace = str(fields.pop("exception", "")).splitlines()
    if trace:
        fields.pop("places", None)
    pairs = [f"{key}={json.dumps(value, default=str)}" for key, value in fields.items()]
    moment = str(event.get("timestamp", ""))[11:19]
    name = json.dumps(str(event.get("event", "")), ensure_ascii=True)[1:-1]
    line = " ".join([moment, str(event.get("level", "")), name, *pairs])
    return "\n".join([line, *(f"  {json.dumps(part, ensure_ascii=True)[1:-1]}" for part in trace)])


class Log:
    """The log of one process. It is silent until `configure` is called.

    Its words are masked by `redactor`. structlog is configured for the whole process, so that what a plugin says to
    structlog goes the same way.
    """

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self._sink: _Sink | None = None

    @property
    def wanted(self) -> bool:
        """True when somebody asked for a log; without one, lines need not even be made."""
        return self._sink is not None

    def configure(self, path: str | None, *, verbose: int) -> None:
        """Send the log where it was asked for. Raises OSError when the file cannot be opened."""
        self.quieten(verbose)
        if path is None and not verbose:
            return
        import structlog

        sink = _Sink(path, self.redactor, verbose=verbose)
        self.close()
        self._sink = sink
        structlog.configure(
            processors=[
                lambda _logger, _method, event: _masked(self.redactor.redact, event),
                structlog.processors.add_log_level,
                structlog.processors.format_exc_info,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                _hand_over,
            ],
            logger_factory=lambda *_: sink,
            wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
            cache_logger_on_first_use=False,
        )

    def quieten(self, verbose: int = 0) -> None:
        """Keep the libraries' own logs off the terminal; with -vv what is fit to be shown goes where ours goes."""
        for name, loudest in _LIBRARIES.items():
            logger = logging.getLogger(name)
            logger.propagate = False
            logger.setLevel(loudest if verbose > 1 else logging.CRITICAL + 1)
            for handler in list(logger.handlers):
                if isinstance(handler, _Bridge):
                    logger.removeHandler(handler)
            logger.addHandler(_Bridge(self))

    def debug(self, event: str, **fields: Any) -> None:
        """A line about one file or one request: shown with -vv, and in the log file with -v."""
        self.log(logging.DEBUG, event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        """A line about the run."""
        self.log(logging.INFO, event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        """A line about a failure."""
        self.log(logging.ERROR, event, **fields)

    def log(self, level: int, event: str, **fields: Any) -> None:
        """A line of a level of `logging`."""
        if self._sink is not None:
            import structlog

            structlog.get_logger().log(level, event, **fields)

    def close(self) -> None:
        """Give the file back; the log is silent from now on."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None


class _Bridge(logging.Handler):
    """Hands a library's line to our log, and never anywhere else."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # a line that cannot be made must not stop what it is about
            self._log.log(record.levelno, record.getMessage(), logger=record.name)


def _hand_over(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> tuple[tuple[Any], dict[str, Any]]:
    """The last processor: the sink gets the event itself, because it writes it in two ways."""
    return (event,), {}
