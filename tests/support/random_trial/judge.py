"""What must hold after every run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kept import assert_kept

from random_trial.others import Others
from random_trial.world import Broken, sha256_of

#: Codes that say that nothing was sent.
NOTHING_SENT = (2, 7, 8)


@dataclass
class Run:
    """What a run of the command left behind."""

    code: int
    err: str
    report: Any
    imports: int
    writes: int


class Judge(Others):
    """Raises Broken for an invariant that does not hold."""

    def judge(self, code: int, out: bytes, err_bytes: bytes, requests: list[Any], *, alone: bool, mild: bool) -> Run:
        err = err_bytes.decode(errors="replace")
        report = json.loads(out) if out.strip() else None
        imports = sum("services/import" in r["path"] for r in requests)
        writes = sum(r["method"] == "PUT" and "/files" in r["path"] for r in requests)
        run = Run(code, err, report, imports, writes)
        message = ""
        if report and report.get("error"):
            message = f"{report['error'].get('message')} | {report['error'].get('hint')}"
        self.say(f"  exit {code}, {imports} imports, {writes} files: {message}")
        if report:
            self.say(f"    {_short(report)}")
        for word in ("Traceback", "Unexpected", "unexpected error"):
            if word in err or (report and word in json.dumps(report.get("error"))):
                raise Broken(f"{word}: {err[-1500:]}")
        if code not in (0, 3, 4, 5, 6, 7, 130, 143, -9, 2):
            raise Broken(f"exit code {code}")
        if alone and code in NOTHING_SENT and (imports or writes):
            raise Broken(f"code {code} after {imports} imports and {writes} files")
        if code in NOTHING_SENT and report and report["counts"]["sent"]:
            raise Broken(f"code {code}, and {report['counts']['sent']} were sent")
        if alone and "othing was sent" in err + json.dumps(report) and (imports or writes):
            raise Broken("'nothing was sent' after imports")
        if code == 0:
            self.done = True
            self.proven(report)
        self.nobody_harmed()
        return run

    def proven(self, report: Any) -> None:
        """Exit code 0: every instance is, whole, where it was wanted."""
        place = "prearchive" if self.prearchive else "archive"
        held: dict[str, list[Any]] = {}
        for entry in self.sandbox.instances():
            held.setdefault(entry["sop_instance_uid"], []).append(entry)
        # What others put there before was not delivered, and below the level of checksums the report says so; in the
        # prearchive the content of what they put in the place of ours is compared with nothing. The level `size` does
        # not tell content of the same length that takes the place of ours meanwhile (docs/explanation/verification.md).
        weak = ("counted", "uid") if self.prearchive and self.acts else ()
        unproven = {
            item["sop_instance_uid"] for item in report["items"] if item["level"] in weak
            or (item["level"] == "size" and item["sop_instance_uid"] in self.same_length)
            or ("not delivered by this upload" in str(item["note"]) and item["level"] != "checksum")
        }  # fmt: skip
        for uid, instance in self.ours.instances.items():
            copies = [
                e for e in held.get(uid, ())
                if (e["place"] == place or (self.prearchive and e["place"] == "archive"))
                and e["project"] == self.project and e["session"] == "e"
                and (e["catalogued"] or e["place"] == "prearchive")
            ]  # fmt: skip
            if not copies:
                raise Broken(f"exit 0 and {uid} is not in {place}: {held.get(uid)}")
            if uid not in unproven and not any(self._whole(copy, instance) for copy in copies):
                raise Broken(f"exit 0 and {uid} has other content in {copies[0]['place']}")
        counts = report.get("counts") or {}
        if counts and counts["found"] != counts["sent"] + counts["skipped"] + counts["failed"]:
            raise Broken(f"counts do not add up: {counts}")
        if self.verb == "upload-exam" and not self.prearchive:
            for label, files in self.resources.items():
                (session,) = [e for e in self.sandbox.state.experiments_of(self.project) if e.label == "e"]
                found = {
                    name: sha256_of(Path(resource.directory) / name)
                    for resource in session.resources if resource.label == label for name in resource.entries
                }  # fmt: skip
                if {name: found.get(name) for name in files} != files:
                    raise Broken(f"exit 0 and the resource {label} is {found}, not {files}")

    def _whole(self, copy: Any, instance: Any) -> bool:
        if self.mangled:
            return _pixels(copy["path"]) == _pixels(instance.path)
        try:
            assert_kept(copy["path"], instance.path)
        except AssertionError:
            return False
        return True

    def nobody_harmed(self) -> None:
        """No session holds two studies, unless others made it so, and nothing of others is gone or changed."""
        for label, studies in self._studies():
            if len(studies) > 1 and label not in self.merged:
                raise Broken(f"two studies in session {label}: {studies}")
        now = self._foreign()
        for key, number in self.foreign.items():
            if now[key] < number:
                raise Broken(f"not ours, and gone or changed: {key}")

    def _studies(self) -> Iterator[tuple[str, Counter[str]]]:
        """The studies of each archived session, by label; not of those that still receive a direct archive."""
        for experiment in self.sandbox.state.experiments.values():
            studies: Counter[str] = Counter()
            for path in experiment.directory.glob("SCANS/*/DICOM/*.*"):
                if (uid := _study(path)) is not None:
                    studies[uid] += 1
            if experiment.label not in {row.name for row in self.sandbox.state.direct}:
                yield experiment.label, studies


def _short(report: Any) -> str:
    verification = report.get("verification") or {}
    kept = {key: verification.get(key) for key in ("ok", "levels", "missing", "different", "extra", "remapped")}
    return json.dumps({"counts": report.get("counts"), "verification": kept, "warnings": report.get("warnings")})[:1500]


def _pixels(path: Path | str) -> bytes | None:
    import pydicom

    try:
        return bytes(pydicom.dcmread(path).PixelData)
    except Exception:
        return None


def _study(path: Path) -> str | None:
    import pydicom

    try:
        return str(pydicom.dcmread(path, specific_tags=["StudyInstanceUID"], force=True).StudyInstanceUID)
    except Exception:
        return None
