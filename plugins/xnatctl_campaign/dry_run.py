"""`campaign run --dry-run`: what would be done with each row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xnatctl.api import Column, Document, counted, human_size
from xnatctl.api.commands import App
from xnatctl_campaign.carrying_out import RowProof, Wish
from xnatctl_campaign.folder import Campaign
from xnatctl_campaign.proof import Proof
from xnatctl_campaign.rows import RowIndex

SCHEMA = "xnatctl.campaign-dry-run/1"


def show(app: App, campaign: Campaign, index: RowIndex, proof: Proof, wish: Wish) -> None:
    """Render what a run would do; asks no server."""
    rows = list(_rows(index, proof, wish))
    to_do = [row for row in rows if row["action"] == "deliver"]
    files, size = sum(row["files"] for row in to_do), sum(row["bytes"] for row in to_do)
    would = f"{len(to_do):,} of {counted(len(rows), 'row')} would be delivered to {campaign.info.server}"
    app.render(
        Document(
            schema=SCHEMA,
            data={
                "schema": SCHEMA,
                "directory": str(campaign.directory),
                "server": campaign.info.server,
                "rows": rows,
                "excluded": campaign.info.excluded,
                "deliver": {"rows": len(to_do), "files": files, "bytes": size},
            },
            columns=(
                Column(key="row", numeric=True),
                Column(key="place"),
                Column(key="state", drop=1),
                Column(key="action"),
                Column(key="files", numeric=True, count=True, drop=2),
                Column(key="bytes", title="Size", numeric=True, size=True, drop=3),
            ),
            rows=rows,
            identifiers=tuple(str(row["row"]) for row in to_do),
            summary=(f"{would}: {counted(files, 'file')}, {human_size(size)}.",),
        )
    )


def _rows(index: RowIndex, proof: Proof, wish: Wish) -> Iterator[dict[str, Any]]:
    needed = RowProof(proof, index, recheck=wish.recheck)
    for number in wish.rows:
        frozen, state = index[number], proof.states[number]
        yield {
            "row": number,
            "place": frozen.row.place,
            "state": "not tried" if state is None else str(state),
            "action": "nothing" if needed.holds(number) else "deliver",
            "files": frozen.files,
            "bytes": frozen.bytes,
        }
