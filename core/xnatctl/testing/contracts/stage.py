"""The contract of stages."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from xnatctl.delivery.context import RunContext
from xnatctl.delivery.service import new_report
from xnatctl.delivery.services import Services
from xnatctl.errors import XnatctlError, exit_code_of
from xnatctl.model.events import Event
from xnatctl.model.plan import Overwrite, Placement, Stage, UploadPlan
from xnatctl.model.refs import Destination
from xnatctl.model.report import Status
from xnatctl.plugin.protocols import StageRunner
from xnatctl.testing.contracts.base import Contract
from xnatctl.testing.watch import expect


class StageContract(Contract):
    """For kinds of stages. Set `spec`, the StageSpec, and override `stage`.

    `failing` makes a stage that cannot be carried out, such as one that writes to a folder that does not exist.
    """

    failing: ClassVar[Callable[[Any, Path], Stage] | None] = None

    def stage(self, directory: Path) -> Stage:
        """A stage that can be carried out; `directory` is empty, and the stage may use it."""
        return Stage(kind=self.spec.name, name=self.spec.summary)

    def context(self, stage: Stage, directory: Path) -> RunContext:
        """The run that the stage belongs to; override it for a stage that asks a server."""
        plan = UploadPlan(
            command="session upload",
            root=str(directory),
            destination=Destination(server="http://127.0.0.1", project="P", subject="S", session="E"),
            workers=1,
            placement=Placement.ARCHIVE,
            overwrite=Overwrite.DELETE,
            stages=(stage,),
        )
        return RunContext(plan, self.services(directory), new_report(plan))

    def services(self, directory: Path) -> Services:
        """What a run needs beside the plan."""

        def absent(name: str) -> Any:
            raise AssertionError(f"this context has no {name}; override `context`")

        return Services(transport=absent, stage=absent, journals=directory, tell=_ignore)

    def make(self, stage: Stage, directory: Path) -> StageRunner:
        """The runner, as the executor makes it."""
        if self.spec.server and type(self).context is StageContract.context:
            pytest.skip("override `context`: the stage needs a server")
        if not self.examples and type(self).stage is StageContract.stage:
            pytest.skip("override `stage`: a planner gives the stage its options")
        context = self.context(stage, directory)
        with self.calling("target", network=False, allowed=()):
            runner: Any = self.target(context, (stage,) if self.spec.grouped else stage)
        for name in ("check", "run", "give_up"):
            expect(callable(getattr(runner, name, None)), f"the runner has no method {name}")
        made: StageRunner = runner
        return made

    def test_it_is_plain_data(self, tmp_path: Path) -> None:
        """Another process can read the plan: options are plain data."""
        plan = self.context(self.stage(tmp_path), tmp_path).plan
        try:
            again = UploadPlan.from_document(plan.as_document())
        except (TypeError, ValueError) as error:
            expect(False, f"the stage is not plain data: {error}")
        expect(again == plan, "the options of the stage are not plain data (texts, numbers, lists, mappings)")

    def test_it_checks_and_runs(self, tmp_path: Path) -> None:
        """`check`, then `run`; neither ends the process, prints, or decides how the run ends."""
        stage = self.stage(tmp_path)
        runner = self.make(stage, tmp_path)
        with self.calling("check"):
            runner.check()
        with self.calling("run"):
            runner.run()
        report = getattr(runner, "context", None)
        if isinstance(report, RunContext):
            expect(report.report.status != Status.COMPLETE, "`run` sets the status of the report, which is core's")

    def test_it_can_run_again(self, tmp_path: Path) -> None:
        """A run that was interrupted is repeated as a whole."""
        stage = self.stage(tmp_path)
        for _ in range(2):
            runner = self.make(stage, tmp_path)
            with self.calling("check"):
                runner.check()
            with self.calling("run"):
                runner.run()

    def test_it_can_be_given_up(self, tmp_path: Path) -> None:
        """`give_up` may be called before `run`, twice, and from another thread while `run` is going on."""
        stage = self.stage(tmp_path)
        runner = self.make(stage, tmp_path)
        with self.calling("give_up", allowed=()):
            runner.give_up()
            runner.give_up()
        runner = self.make(stage, tmp_path)
        thread = threading.Thread(target=runner.give_up, daemon=True)
        with self.calling("run, while give_up is called"):
            thread.start()
            try:
                runner.run()
            except XnatctlError as error:
                expect(exit_code_of(error) != 0, "`run` raises an error with exit code 0")
            thread.join()

    def test_it_raises_what_fails(self, tmp_path: Path) -> None:
        """A stage that cannot be carried out raises XnatctlError, from `check` where that is known before."""
        if self.failing is None:
            pytest.skip("set `failing` to test a stage that cannot be carried out")
        runner = self.make(replace(self.failing(tmp_path)), tmp_path)
        try:
            with self.calling("check"):
                runner.check()
            with self.calling("run"):
                runner.run()
        except XnatctlError as error:
            expect(isinstance(error.code, str) and 0 < error.exit_code < 256, "the error has no exit code above 0")
            expect(error.message.strip(), "the error has no message")
            self.expect_no_secret("the message of the error", error.message, error.hint)
        else:
            expect(False, "neither `check` nor `run` raises for the stage of `failing`; the command would end with 0")


def _ignore(event: Event) -> None:
    """No observer."""
