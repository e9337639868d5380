"""Faults of the DICOM Receiver: of whole associations, and of single C-STORE requests.

Rules are those of `rules.Faults`; `"per": "association"` counts instances anew in each association, so that
`{"action": "abort", "nth": 4, "per": "association"}` lets three of each go through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: What a rule can match; the last three belong to a C-STORE request.
NAMES = frozenset({"calling", "called", "address", "association", "sop_class", "sop_instance", "transfer_syntax"})

#: Decided when an association is requested.
ON_REQUEST: Mapping[str, frozenset[str]] = {
    "reject": frozenset({"reason"}),  # a key of REJECTIONS
    "refuse-contexts": frozenset({"sop_classes", "transfer_syntaxes"}),  # regular expressions; both given = both hold
    "ignore-request": frozenset({"seconds"}),  # accepts the connection and never answers
    "cut-request": frozenset({"reset"}),
    "close-idle": frozenset({"seconds", "how"}),  # how: abort (A-ABORT) or close (the connection alone)
}
#: Decided for each C-STORE request. Those that begin with `store-then` store the object first.
ON_STORE: Mapping[str, frozenset[str]] = {
    "status": frozenset({"status", "comment", "store"}),  # store: default yes for warnings, no for failures
    "abort": frozenset(),
    "store-then-abort": frozenset(),
    "cut": frozenset({"reset"}),
    "store-then-cut": frozenset({"reset"}),
    "hold": frozenset({"seconds"}),  # no answer; then the association is aborted
    "store-then-hold": frozenset({"seconds"}),
    "delay": frozenset({"seconds"}),
    "truncate": frozenset({"bytes"}),  # stores this much of the data set; a negative number is missing at its end
}
ACTIONS: Mapping[str, frozenset[str]] = {**ON_REQUEST, **ON_STORE}

#: Reason -> result, source, reason/diagnostic of A-ASSOCIATE-RJ (PS3.8, table 9-21).
REJECTIONS: Mapping[str, tuple[int, int, int]] = {
    "called-ae": (1, 1, 7),
    "calling-ae": (1, 1, 3),
    "no-reason": (1, 1, 1),
    "congestion": (2, 3, 1),
    "too-many": (2, 3, 2),
}


def stores(rule: Mapping[str, Any] | None) -> bool:
    """True when the object is stored although this rule applies."""
    if rule is None or rule["action"] in ("delay", "truncate"):
        return True
    if rule["action"] == "status":
        status = int(rule.get("status", 0xC000))
        return bool(rule.get("store", status == 0 or status & 0xF000 == 0xB000))
    return str(rule["action"]).startswith("store-then")


def refused(rule: Mapping[str, Any] | None, sop_class: str, transfer_syntax: str) -> bool:
    """True when a rule refuses this pair in the negotiation."""
    if rule is None or rule["action"] != "refuse-contexts":
        return False
    return bool(
        re.search(rule.get("sop_classes", ""), sop_class)
        and re.search(rule.get("transfer_syntaxes", ""), transfer_syntax)
    )
