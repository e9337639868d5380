"""What other people do meanwhile."""

from __future__ import annotations

from collections import Counter
from typing import Any

from random_trial.world import World


class Others(World):
    """Other people who use the server."""

    def before(self) -> None:
        dice = self.dice
        for _ in range(dice.choice([0, 0, 1, 1, 2])):
            self.act(("store_theirs", "store_half", "store_changed", "store_row", "store_other_series", "store_all"))

    def act(self, among: tuple[str, ...] = ()) -> None:
        """Somebody else does something; an act that is not possible at this moment is none."""
        names = among or tuple(name[4:] for name in dir(self) if name.startswith("_do_"))
        name = self.dice.choice(names)
        try:
            getattr(self, f"_do_{name}")()
            self.say(f"  others: {name}")
            self.acts += 1
        except ValueError as error:
            self.say(f"  others: {name}: {error}")
        self.remember()

    def remember(self) -> None:
        """What is not ours to change: other studies, other sessions, and with append and none all that is archived."""
        self.merged = {label for label, studies in self._studies() if len(studies) > 1}
        self.foreign = self._foreign()

    def _foreign(self) -> dict[tuple[str, ...], int]:
        found: Counter[tuple[str, ...]] = Counter()
        entries = self.sandbox.instances()
        # A direct archive writes into the folder of the session; where it fails, XNAT takes its files out again.
        direct = {entry["session"] for entry in entries if entry["place"] == "direct"}
        for entry in entries:
            uid = entry["sop_instance_uid"]
            if entry["session"] in direct and uid in self.ours.instances:
                continue
            ours = uid in self.ours.instances
            policy = self.overwrite != "delete" and entry["place"] == "archive" and "split" not in self.verb
            if not ours or entry["session"] in ("other", "renamed", "moved", "renamed_row") or policy:
                # a row may be archived by the server; its content must stay
                found[(uid, entry["sha256"] if not self.mangled else "", entry["session"])] += 1
        return found

    def _store(self, files: list[Any], place: str, **more: Any) -> None:
        label = more.pop("label", "e")
        self.sandbox.others.store(files, label=label, project=self.project, place=place, **more)

    def _place(self) -> str:
        return self.dice.choice(["archive", "archive", "prearchive"])

    def _uid(self) -> str:
        return self.dice.choice(list(self.ours.instances))

    def _do_store_theirs(self) -> None:
        self._store([str(i.path) for i in self.theirs.instances.values()], self._place())

    def _do_store_theirs_other_subject(self) -> None:
        self._store([str(i.path) for i in self.theirs.instances.values()], self._place(), subject="t")

    def _do_store_half(self) -> None:
        files = [str(i.path) for i in self.ours.instances.values()]
        self._store(files[: (len(files) + 1) // 2], self._place())

    def _do_store_all(self) -> None:
        self._store([str(i.path) for i in self.ours.instances.values()], self._place())

    def _do_store_all_elsewhere(self) -> None:
        self._store([str(i.path) for i in self.ours.instances.values()], self._place(), label="other")

    def _do_store_changed(self) -> None:
        """Other content under one of our UIDs: cut, or another pixel."""
        uid = self.dice.choice(list(self.ours.instances))
        data = self.ours.instances[uid].path.read_bytes()
        if self.dice.random() < 0.6:
            data = data[:-100]
        else:
            data = data[:-4] + b"abcd"
            self.same_length.add(uid)
        self._store([data], self._place(), overwrite=self.dice.choice(["append", "delete"]))

    def _do_store_row(self) -> None:
        self._store([str(i.path) for i in list(self.ours.instances.values())[:1]], "prearchive")

    def _do_store_other_series(self) -> None:
        import io

        import pydicom

        ds = pydicom.dcmread(next(iter(self.ours.instances.values())).path)
        number = self.dice.randrange(1, 4) if self.dice.random() < 0.4 else 77
        ds.SeriesInstanceUID, ds.SeriesNumber = f"1.2.826.0.1.77.{number}", number
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.77.{number}.1"
        target = io.BytesIO()
        ds.save_as(target)
        self._store([target.getvalue()], self._place())

    def _do_cut(self) -> None:
        self.sandbox.others.cut(self._uid(), lose=self.dice.choice([1, 200]), noticed=True)

    def _do_drop_instance(self) -> None:
        self.sandbox.others.drop_instance(self._uid())

    def _do_forget_uid(self) -> None:
        self.sandbox.others.forget_uid(self._uid())

    def _do_forget(self) -> None:
        self.sandbox.others.forget(self._uid())

    def _do_drop_scan(self) -> None:
        self.sandbox.others.drop_scan(self.dice.choice(["1", "2"]), project=self.project)

    def _do_delete_session(self) -> None:
        if not self.sandbox.others.delete_session("e", project=self.project):
            raise ValueError("none")

    def _do_rename_session(self) -> None:
        self.sandbox.others.change_session("e", project=self.project, to_label="renamed")

    def _do_other_subject(self) -> None:
        self.sandbox.others.change_session("e", project=self.project, to_subject="t")

    def _do_delete_row(self) -> None:
        if not self.sandbox.others.delete_row("e", project=self.project):
            raise ValueError("none")

    def _do_move_row(self) -> None:
        self.sandbox.others.move_row("e", "MANUAL" if self.project != "MANUAL" else "DEMO", project=self.project)

    def _do_rename_row(self) -> None:
        self.sandbox.others.rename_row("e", "renamed_row", project=self.project)

    def _do_archive_row(self) -> None:
        self.sandbox.others.archive_row("e", project=self.project, overwrite=self.dice.choice(["append", "delete"]))

    def _do_archive_row_elsewhere(self) -> None:
        how = self.dice.choice([{"to_label": "moved"}, {"to_subject": "t"}])
        self.sandbox.others.archive_row("e", project=self.project, **how)

    def _do_idle(self) -> None:
        self.sandbox.advance_clock(400)
        self.sandbox.tick()

    def _do_resource_file(self) -> None:
        """A colleague puts a file of his own where one of ours is to go."""
        import urllib.request

        found = [e for e in self.sandbox.state.experiments_of(self.project) if e.label == "e"]
        if not found or not self.resources:
            raise ValueError("no session")
        name = self.dice.choice(["a.log", "b.log", "theirs.log"])
        url = f"{self.sandbox.url}/data/experiments/{found[0].id}/resources/Physio/files/{name}?inbody=true"
        request = urllib.request.Request(url, data=b"colleague's", method="PUT")
        import base64

        request.add_header("Authorization", "Basic " + base64.b64encode(b"carol:carol").decode())
        request.add_header("Content-Type", "application/octet-stream")
        try:
            urllib.request.urlopen(request, timeout=30).read()
        except OSError as error:
            raise ValueError(str(error)) from None
