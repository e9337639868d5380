"""Whether the ledger still proves a row, so that nothing is sent and the server is not asked."""

from __future__ import annotations

from xnatctl.api import UploadPlan
from xnatctl.api.commands import source_changes
from xnatctl_campaign.folder import Campaign, FrozenRow
from xnatctl_campaign.ledger import RowState, RowStates


class Proof:
    """What the ledger of a campaign proves, as of the last `refresh`."""

    def __init__(self, campaign: Campaign) -> None:
        self._campaign = campaign
        self.states = RowStates(campaign.directory)

    def refresh(self) -> None:
        """Read what workers have appended to the ledger since."""
        self.states.refresh()

    def holds(self, frozen: FrozenRow) -> bool:
        """Whether a worker found every instance of a row on the server, and the disk is as it was planned.

        Asks the disk for names, sizes and times, and no server.
        """
        return self.states[frozen.number] is RowState.PROVEN and is_unchanged(self._campaign.plan(frozen))


def is_unchanged(plan: UploadPlan) -> bool:
    """Whether no file of a plan changed, and no other appeared. A file that vanished was proven before."""
    changes = source_changes(plan)
    return not (changes.changed or changes.touched or changes.others)
