"""The options of an exam, as plain data inside an `UploadRequest`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from xnatctl.api import UploadRequest

#: Where the choices stand among the options of a request; those of the DICOM transport stand beside it.
KEY = "exam"
#: Seconds (spec: `--wait`).
WAIT = 900.0
MISC = "MISC"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """How an exam is divided into a session and resources.

    `wait` is in seconds. `labels` are resource labels by the name of the top-level folder. `resource_options` are those
    of the transport that carries resources. `trust_session` attaches them also to a session that does not hold the
    images on disk. `later` is the command line that attaches what could not be attached, quoted for a shell.
    """

    wait: float = WAIT
    skip_resources: bool = False
    attach_only: bool = False
    trust_session: bool = False
    misc_label: str = MISC
    attach_nested: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    resource_options: Mapping[str, Any] = field(default_factory=dict)
    later: str = ""

    def beside(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a request: those of the DICOM transport, and these."""
        return {**options, KEY: asdict(self)}

    @classmethod
    def of(cls, request: UploadRequest) -> Choices:
        """The choices of a request; the defaults when it holds none."""
        return cls(**request.options.get(KEY, {}))


def transport_options(request: UploadRequest) -> dict[str, Any]:
    """The options of the DICOM transport alone."""
    return {name: value for name, value in request.options.items() if name != KEY}
