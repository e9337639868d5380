"""The contract of each kind of plugin: a test class that an author subclasses."""

from __future__ import annotations

from xnatctl.testing.contracts.base import Contract
from xnatctl.testing.contracts.check import CheckContract
from xnatctl.testing.contracts.command import CommandContract
from xnatctl.testing.contracts.credentials import CredentialSourceContract
from xnatctl.testing.contracts.executor import ExecutorContract
from xnatctl.testing.contracts.file_transport import ResourceTransportContract
from xnatctl.testing.contracts.formatter import FormatterContract
from xnatctl.testing.contracts.observer import ObserverContract
from xnatctl.testing.contracts.planner import PlannerContract
from xnatctl.testing.contracts.receiver import ReceiverTransportContract
from xnatctl.testing.contracts.report_writer import ReportWriterContract
from xnatctl.testing.contracts.stage import StageContract
from xnatctl.testing.contracts.transport import TransportContract

__all__ = [
    "CheckContract",
    "CommandContract",
    "Contract",
    "CredentialSourceContract",
    "ExecutorContract",
    "FormatterContract",
    "ObserverContract",
    "PlannerContract",
    "ReceiverTransportContract",
    "ReportWriterContract",
    "ResourceTransportContract",
    "StageContract",
    "TransportContract",
]
