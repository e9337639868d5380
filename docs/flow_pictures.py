"""Draws how data flow, and the life of a session.

Run `python docs/flow_pictures.py data-flow > docs/explanation/pictures/data-flow.svg`, and the same for
`session-states`; a test compares the two files with what this prints.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from drawing import Box, line, picture, text


def data_flow() -> str:
    """From the files on disk to the proof that the archive holds them."""
    box = Box(0, 0, "", width=160, height=60)
    disk = replace(box, x=20, y=40, title="disk", holds=("folders, zip, tar",), kind="theirs")
    inventory = replace(
        box, x=214, y=40, title="inventory", holds=("what is DICOM and whole,", "what is skipped, and why")
    )
    batches = replace(box, x=408, y=40, title="batches", holds=("by series, then size;", "the first file goes alone"))
    workers = replace(box, x=602, y=40, title="workers", holds=("tar, zip, gradual:", "several requests at once"))
    report = replace(box, x=20, y=160, title="report", holds=("exit code 0: every", "instance was found"))
    proof = replace(box, x=214, y=160, title="proof", holds=("disk and server compared:", "UID and size, per instance"))
    journal = replace(box, x=408, y=160, title="journal", holds=("what is about to be sent,", "what was answered"))
    archive = replace(
        box, x=214, y=296, title="archive", holds=("project, subject, session,", "scans, files"), kind="theirs"
    )
    prearchive = replace(
        box, x=408, y=296, title="prearchive", holds=("staged and built; may", "wait for review"), kind="theirs"
    )
    service = replace(
        box, x=602, y=296, title="import service", holds=("one answer for", "each request"), kind="theirs"
    )
    receiver = replace(
        box, x=602, y=386, title="DICOM Receiver", holds=("one answer for", "each instance"), kind="theirs"
    )
    side = workers.right + 22
    parts = [
        '<rect x="8" y="8" width="794" height="226" rx="8" class="zone"/>',
        text(20, 28, "your machine", size=12, small=True, anchor="start"),
        '<rect x="8" y="260" width="794" height="196" rx="8" class="zone"/>',
        text(20, 280, "XNAT", size=12, small=True, anchor="start"),
        line(f"M{disk.right} {disk.centre} H{inventory.left}"),
        line(f"M{inventory.right} {inventory.centre} H{batches.left}"),
        line(f"M{batches.right} {batches.centre} H{workers.left}"),
        line(f"M{workers.middle} {workers.bottom} V{service.top}"),
        text(workers.middle - 8, 215, "HTTPS", size=11, small=True, anchor="end"),
        line(f"M{workers.right} {workers.centre} H{side} V{receiver.centre} H{receiver.right}"),
        text(side - 6, 215, "C-STORE", size=11, small=True, anchor="end"),
        line(f"M{workers.left + 20} {workers.bottom} V{journal.centre} H{journal.right}"),
        line(f"M{service.left} {service.centre} H{prearchive.right}"),
        line(f"M{receiver.left} {receiver.centre} H{prearchive.middle} V{prearchive.bottom}"),
        line(f"M{prearchive.left} {prearchive.centre} H{archive.right}"),
        line(f"M{service.left + 30} {service.top} V{276} H{archive.right - 24} V{archive.top}"),
        text(prearchive.middle, 290, "direct archive", size=11, small=True),
        line(f"M{archive.middle} {archive.top} V{proof.bottom}"),
        text(archive.middle - 8, 252, "listings", size=11, small=True, anchor="end"),
        line(f"M{inventory.middle} {inventory.bottom} V{proof.top}"),
        line(f"M{proof.left} {proof.centre} H{report.right}"),
        line(f"M{proof.right} {proof.centre} H{journal.left}", again=True),
        line(f"M{journal.middle} {journal.top} V{batches.bottom}", again=True),
        text(journal.middle + 8, 134, "what is missing,", size=11, small=True, anchor="start"),
        text(journal.middle + 8, 148, "on the next run", size=11, small=True, anchor="start"),
    ]
    for each in (disk, inventory, batches, workers, report, proof, journal, archive, prearchive, service, receiver):
        parts += each.svg()
    return picture(810, 464, "The way of the data from the disk to the proof", parts)


def session_states() -> str:
    """The states that XNAT gives to a session, what moves it on, and how a command ends that leaves it there."""
    box = Box(0, 0, "", width=150, height=60, kind="theirs")
    receiving = replace(box, x=20, y=76, title="RECEIVING", holds=("files arrive;", "exit code 5 leaves it here"))
    building = replace(box, x=236, y=76, title="BUILDING", holds=("XNAT reads the files", "and lists the scans"))
    ready = replace(box, x=452, y=76, title="READY", holds=("waits for review;", "--prearchive leaves it"))
    archiving = replace(box, x=668, y=76, title="ARCHIVING", holds=("XNAT compares, merges", "and moves the files"))
    deleted = replace(box, x=236, y=216, title="deleted", holds=("nothing is left",), kind="failed")
    conflict = replace(
        box, x=452, y=216, title="CONFLICT, ERROR", holds=("the log has the reason;", "exit code 6"), kind="failed"
    )
    archived = replace(box, x=668, y=216, title="archived", holds=("verified:", "exit code 0"), kind="ours")
    parts = [
        line(f"M{receiving.middle} 30 V{receiving.top}"),
        text(receiving.middle + 8, 46, "the first file", size=11, small=True, anchor="start"),
        line(f"M{receiving.right} {receiving.centre} H{building.left}"),
        text(203, 84, "every file", size=11, small=True),
        text(203, 98, "accepted", size=11, small=True),
        text(203, 122, "or quiet for", size=11, small=True),
        text(203, 136, "5 minutes", size=11, small=True),
        line(f"M{building.right} {building.centre} H{ready.left}"),
        line(f"M{ready.right} {ready.centre} H{archiving.left}"),
        text(635, 84, "prearchive", size=11, small=True),
        text(635, 98, "archive", size=11, small=True),
        line(f"M{building.middle} {building.top} V40 H{archiving.middle} V{archiving.top}"),
        text(ready.middle, 34, "upload to the archive, or the project archives by itself", size=11, small=True),
        line(f"M{archiving.middle} {archiving.bottom} V{archived.top}"),
        line(f"M{archiving.left + 20} {archiving.bottom} V176 H{conflict.right - 20} V{conflict.top}"),
        text(archiving.left + 14, 170, "XNAT refuses", size=11, small=True, anchor="end"),
        line(f"M{ready.left + 30} {ready.bottom} V{176} H{deleted.right - 40} V{deleted.top}"),
        line(f"M{conflict.left} {conflict.centre} H{deleted.right}"),
        text(420, 170, "prearchive delete", size=11, small=True),
        line(
            f"M{conflict.middle} {conflict.bottom} V306 H{archiving.right + 14} V{archiving.centre} H{archiving.right}",
            again=True,
        ),
        text(conflict.middle + 20, 300, "prearchive archive --overwrite append", size=11, small=True, anchor="start"),
        line(f"M{archived.middle} {archived.bottom} V330 H{receiving.middle} V{receiving.bottom}", again=True),
        text(
            receiving.middle + 14,
            324,
            "the same upload again sends what is missing",
            size=11,
            small=True,
            anchor="start",
        ),
    ]
    for each in (receiving, building, ready, archiving, deleted, conflict, archived):
        parts += each.svg()
    return picture(846, 346, "The states of a session on the server", parts)


PICTURES = {"data-flow": data_flow, "session-states": session_states}

if __name__ == "__main__":
    print(PICTURES[sys.argv[1]](), end="")
