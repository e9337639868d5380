"""The contract of planners (`xnatctl_plan_upload`)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from xnatctl.delivery.plan_check import check_plan
from xnatctl.delivery.planning import plan_session_upload
from xnatctl.errors import Refused
from xnatctl.model.plan import UploadPlan, UploadRequest
from xnatctl.model.refs import Destination
from xnatctl.testing.contracts.base import Contract
from xnatctl.testing.exam import write_exam
from xnatctl.testing.watch import Mistake, expect


class PlannerContract(Contract):
    """For planners. Set `planner`, the implementation of the hook: `planner = staticmethod(xnatctl_plan_upload)`.

    Override `request` where the planner answers another command than `session upload`.
    """

    planner: ClassVar[Any]

    def request(self, directory: Path) -> UploadRequest:
        """What the user asks for; the exam is in the directory."""
        return UploadRequest(
            command="session upload",
            path=str(directory),
            destination=Destination(server="http://127.0.0.1", project="P", subject="S", session="E"),
            transport="tar",
            workers=2,
        )

    def plan(self, request: UploadRequest) -> UploadPlan | None:
        """The plan, watched."""
        with self.calling("xnatctl_plan_upload", network=False):
            plan: object = self.planner(request)
        expect(isinstance(plan, UploadPlan | None), f"the planner returned {type(plan).__name__} instead of UploadPlan")
        assert isinstance(plan, UploadPlan | None)
        return plan

    def exam(self, directory: Path) -> Path:
        """Three series, with files that are not DICOM between them."""
        folder = directory / "exam"
        write_exam(folder, series=3, instances=3, seed=5)
        return folder

    def made(self, directory: Path) -> tuple[UploadRequest, UploadPlan]:
        """Request and plan."""
        request = self.request(self.exam(directory))
        plan = self.plan(request)
        if plan is None:
            pytest.skip("the planner leaves this request to others; override `request`")
        return request, plan

    def test_every_instance_is_planned(self, tmp_path: Path) -> None:
        """The plan has the destination of the request, all files and all proofs, or core refuses it."""
        request, plan = self.made(tmp_path)
        expect(plan.stages, "the plan has no stages; it sends nothing")
        try:
            check_plan(plan, plan_session_upload(request), request, "this planner")
        except Refused as error:
            raise Mistake(error.message) from None
        except (TypeError, ValueError, AttributeError) as error:
            raise Mistake(f"the plan cannot be carried out: {error}") from error

    def test_a_plan_is_plain_data(self, tmp_path: Path) -> None:
        """Another process can read the plan and carry it out."""
        _, plan = self.made(tmp_path)
        try:
            text = json.dumps(plan.as_document())
            same = json.dumps(UploadPlan.from_document(json.loads(text)).as_document()) == text
        except (TypeError, ValueError) as error:
            raise Mistake(f"the plan is not plain data: {error}") from error
        expect(same, "the plan is not plain data")

    def test_the_same_request_gives_the_same_plan(self, tmp_path: Path) -> None:
        """A resumed run plans again, and must find what it sent."""
        request, plan = self.made(tmp_path)
        again = self.plan(request)
        bare = [None if p is None else replace(p, listing="").as_document() for p in (plan, again)]
        expect(bare[0] == bare[1], "the planner plans the same request in another way the second time")

    def test_planning_changes_no_file(self, tmp_path: Path) -> None:
        """What a user gives to be uploaded is only read."""
        folder = self.exam(tmp_path)
        before = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
        self.plan(self.request(folder))
        after = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
        expect(after == before, "the planner changes files below the path of the request")

    def test_other_requests_are_left_to_others(self, tmp_path: Path) -> None:
        """A request that is not its own gets None."""
        other = replace(self.request(self.exam(tmp_path)), command="another command")
        expect(self.plan(other) is None, "the planner plans a command that it does not know; return None for it")
