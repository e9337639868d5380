"""Logging by structlog, with redaction first in the chain; a log that cannot be written never stops an upload."""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
import threading
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote, quote_plus

#: Shorter secrets would blank out half of every line.
_SHORTEST = 4
_MASK = "[secret]"
_secrets: set[str] = set()
_lock = threading.Lock()
_configured = False


def register_secret(secret: str) -> None:
    """From now on neither the secret nor its usual encodings get into a log."""
    if len(secret) < _SHORTEST:
        return
    encoded = secret.encode("utf-8", "surrogateescape")
    forms = {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        base64.b64encode(encoded).decode(),
        base64.urlsafe_b64encode(encoded).decode(),
    }
    with _lock:
        _secrets.update(forms)


def redact(text: str) -> str:
    """The text with every registered secret masked, longest first."""
    with _lock:
        known = sorted(_secrets, key=len, reverse=True)
    for secret in known:
        text = text.replace(secret, _MASK)
    return text


def _redact_event(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog processor: masks secrets in every value, however deep."""
    return {key: _redact_value(value) for key, value in event.items()}


def _redact_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _redact_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_redact_value(entry) for entry in value]
    if value is None or isinstance(value, int | float):
        return value
    return redact(str(value))


class _Sink:
    """Writes lines to the log file and, with -v, to stderr; drops what cannot be written."""

    def __init__(self, path: str | None, *, terminal: bool) -> None:
        self._terminal = terminal
        self._lock = threading.Lock()
        self._descriptor = -1
        if path is not None:
            # 0600 from the first moment; an existing file is added to.
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def msg(self, line: str) -> None:
        """Take one line."""
        with self._lock:
            try:
                if self._descriptor >= 0:
                    os.write(self._descriptor, line.encode("utf-8", "backslashreplace") + b"\n")
            except OSError:
                self._descriptor = -1
            try:
                if self._terminal:
                    print(line.encode("ascii", "backslashreplace").decode(), file=sys.stderr)  # noqa: T201
            except (OSError, ValueError):
                self._terminal = False

    debug = info = warning = error = critical = msg


def configure(path: str | None, *, verbose: int) -> None:
    """Send the log where it was asked for. Raises OSError when the file cannot be opened."""
    global _configured
    import structlog

    sink = _Sink(path, terminal=verbose > 0)
    structlog.configure(
        processors=[
            _redact_event,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(default=str, ensure_ascii=True),
        ],
        logger_factory=lambda *_: sink,
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose or path else logging.WARNING),
        cache_logger_on_first_use=False,
    )
    for name in ("httpx", "httpcore", "pydicom", "pynetdicom"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG if verbose > 1 else logging.CRITICAL)
        logger.addHandler(_Forward())
    _configured = True


class _Forward(logging.Handler):
    """What libraries log, through our redaction."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record."""
        get().debug(record.getMessage(), library=record.name)


class _Silent:
    """The logger of a run that asked for no log."""

    def debug(self, event: str, **fields: Any) -> None:
        """Nothing."""

    info = warning = error = debug


def get() -> Any:
    """The logger; silent until `configure` was called, so that structlog is imported only when it is used."""
    if not _configured:
        return _Silent()
    import structlog

    return structlog.get_logger()
