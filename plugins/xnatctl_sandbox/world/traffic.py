"""What came in, for tests and for people: HTTP requests and DICOM associations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Association:
    """One association as the DICOM Receiver saw it."""

    number: int
    calling: str
    called: str
    address: str
    contexts: list[dict[str, Any]] = field(default_factory=list)
    instances: list[dict[str, Any]] = field(default_factory=list)
    ended: str = ""  # released, aborted, rejected, cut (by a fault), closed; empty while it lives
    last: float = 0.0  # monotonic seconds of the last request or answer
    busy: bool = False


@dataclass
class Traffic:
    """Everything that came in since the start. A request has the keys method, path, query, status."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    associations: list[Association] = field(default_factory=list)
