"""Campaign folders for tests: exams on disk, planned by core and frozen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from xnatctl.api import Destination, Overwrite, Placement, UploadPlan, UploadRequest
from xnatctl.delivery.planning import plan_session_upload
from xnatctl.testing.exam import Exam, write_exam
from xnatctl_campaign.folder import Campaign, CampaignInfo, now, write_campaign
from xnatctl_campaign.row import Row


def write_exams(directory: Path, count: int, *, instances: int = 3, seed: int = 100) -> list[Exam]:
    """Small studies of one series, each of another patient."""
    return [
        write_exam(
            directory / f"exam{number}", series=1, instances=instances, rows=8, columns=8, seed=seed + number,
            clutter=False, patient_id=f"P{number}",
        )
        for number in range(1, count + 1)
    ]  # fmt: skip


def plan_of(exam: Exam, number: int, project: str = "DEMO") -> UploadPlan:
    """The plan of a row, as `campaign plan` makes it."""
    request = UploadRequest(
        command="session upload",
        path=str(exam.directory),
        destination=Destination(server="", project=project, subject=f"S{number}", session=f"E{number}"),
        transport="tar",
        workers=2,
        placement=Placement.ARCHIVE,
        overwrite=Overwrite.DELETE,
    )
    return plan_session_upload(request)


def freeze(
    directory: Path, exams: Sequence[Exam], server: str, *, lease: float = 60.0, projects: Sequence[str] = ()
) -> Campaign:
    """Freeze a row for each exam: S1/E1, S2/E2 and so on, in the project of the same position, or DEMO."""

    def rows() -> Iterator[tuple[Row, UploadPlan]]:
        for number, exam in enumerate(exams, 1):
            project = projects[number - 1] if projects else "DEMO"
            row = Row(
                number=number, line=number + 1, path=str(exam.directory), project=project, subject=f"S{number}",
                session=f"E{number}", study_instance_uid=exam.study_instance_uid,
            )  # fmt: skip
            yield row, plan_of(exam, number, project)

    info = CampaignInfo(
        server=server, manifest="manifest.csv", manifest_sha256="0" * 64, rows=0, excluded=0, created=now(),
        version="0", lease=lease,
    )  # fmt: skip
    write_campaign(directory, info, rows(), [])
    return Campaign(directory)
