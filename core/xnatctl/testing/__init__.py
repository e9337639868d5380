"""The test kit for authors of plugins.

The contracts are test classes to subclass, one for each kind of plugin. `write_exam` makes real DICOM files to upload.
`FakeImporter` and `FakeWriter` are the other side of a transport. As a plugin of pytest (`-p xnatctl.testing`, or
`pytest_plugins = ["xnatctl.testing"]`) this package adds the fixtures of `xnatctl.testing.fixtures`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xnatctl.testing.exam import Exam, Instance, write_exam
from xnatctl.testing.fakes import FakeImporter, FakeWriter, make_context, make_item, make_receiver_context
from xnatctl.testing.http import FakeHttp
from xnatctl.testing.rows import FakeWork

if TYPE_CHECKING:
    from xnatctl.testing.contracts import (
        CheckContract,
        CommandContract,
        CredentialSourceContract,
        ExecutorContract,
        FormatterContract,
        ObserverContract,
        PlannerContract,
        ReceiverTransportContract,
        ReportWriterContract,
        ResourceTransportContract,
        StageContract,
        TransportContract,
    )
    from xnatctl.testing.watch import Mistake

__all__ = [
    "CheckContract",
    "CommandContract",
    "CredentialSourceContract",
    "Exam",
    "ExecutorContract",
    "FakeHttp",
    "FakeImporter",
    "FakeWork",
    "FakeWriter",
    "FormatterContract",
    "Instance",
    "Mistake",
    "ObserverContract",
    "PlannerContract",
    "ReceiverTransportContract",
    "ReportWriterContract",
    "ResourceTransportContract",
    "StageContract",
    "TransportContract",
    "make_context",
    "make_item",
    "make_receiver_context",
    "write_exam",
]

#: Read by pytest when this package is one of its plugins.
pytest_plugins = ("xnatctl.testing.fixtures",)


def __getattr__(name: str) -> Any:
    """Import the contracts on first use: they need pytest, and the rest of the kit does not."""
    if name == "Mistake":
        from xnatctl.testing.watch import Mistake

        return Mistake
    if name.endswith("Contract") and name in __all__:
        from xnatctl.testing import contracts

        return getattr(contracts, name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
