"""Items in memory and as JSON: what they say, and what they share."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from systems import needs_links

from xnatctl.inventory.walk import scan_path
from xnatctl.model.plan import FileStatus, Overwrite, Placement, Series, Source, Stage, UploadItem, UploadPlan
from xnatctl.model.refs import Destination
from xnatctl.testing.exam import write_exam

#: Names as a file system has them: lone surrogates stand for bytes that are no UTF-8.
NAMES = st.text(st.characters(exclude_characters="\0", codec=None), min_size=1, max_size=12)
COUNTS = st.integers(0, 2**63)
TIMES = st.integers(-(2**63), 2**63 - 1)
WORDS = st.text("0123456789.", max_size=12)


@st.composite
def an_item(draw: Any) -> UploadItem:
    """Any item at all: in a directory, behind a link, or a member of an archive file."""
    path = draw(NAMES)
    source = draw(
        st.builds(lambda head: Source.of_file(f"{head}/{path}", path), NAMES)
        | st.builds(Source, path=NAMES.filter(lambda name: not name.endswith(f"/{path}")))
        | st.builds(Source, path=NAMES, container=st.sampled_from(["zip", "tgz"]), member=NAMES, offset=COUNTS)
    )
    return UploadItem(
        path=path,
        source=source,
        size=draw(COUNTS),
        stamp=FileStatus(draw(TIMES), draw(TIMES), draw(COUNTS), draw(COUNTS)).packed,
        tail=draw(COUNTS),
        resource_name=draw(st.just("") | st.just(path)),
        sop_instance_uid=draw(WORDS),
        series=draw(st.builds(Series, study_instance_uid=WORDS, series_number=NAMES, modality=NAMES)),
    )


def plan_of(*items: UploadItem) -> UploadPlan:
    return UploadPlan(
        command="session upload",
        root="/data",
        destination=Destination(server="http://127.0.0.1", project="P", subject="S", session="E"),
        workers=1,
        placement=Placement.ARCHIVE,
        overwrite=Overwrite.DELETE,
        stages=(Stage(kind="session", name="send", transport="tar", items=items),),
    )


@settings(max_examples=30)
@given(st.lists(an_item(), max_size=4))
def test_a_plan_comes_out_of_json_as_it_went_in(items: list[UploadItem]) -> None:
    plan = plan_of(*items)
    again = UploadPlan.from_document(json.loads(json.dumps(plan.as_document())))
    assert again == plan
    assert [item.file for item in again.items] == [item.file for item in items]


@pytest.mark.parametrize("number", [0, -5, 2**62, -(2**62)])
def test_a_status_comes_out_as_it_went_in(number: int) -> None:
    status = FileStatus(number, number + 1, abs(number), 2**64 - 1)
    assert UploadItem(path="a", source=Source(path="/a"), size=1, stamp=status.packed).status == status


def test_of_a_number_beyond_64_bits_the_last_count() -> None:
    shown = SimpleNamespace(st_mtime_ns=2**80 - 1, st_ctime_ns=-(2**80) - 7, st_dev=2**64 + 3, st_ino=2**100 + 4)
    status = FileStatus.of(cast("os.stat_result", shown))
    assert status == (-1, -7, 3, 4)
    assert status.packed


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_exam(tmp_path / "exam", instances=4)
    return tmp_path / "exam"


def test_the_items_of_a_directory_share_their_source_and_their_series(directory: Path) -> None:
    items = scan_path(str(directory)).items
    again = UploadPlan.from_document(plan_of(*items).as_document()).items
    for some in (items, again):
        assert len({id(item.source) for item in some}) == 1
        assert len({id(item.series) for item in some}) == len({item.series for item in some}) < len(some)
        assert all(Path(item.file).read_bytes()[128:132] == b"DICM" for item in some)


def test_the_creation_time_of_windows_is_no_change_time() -> None:
    """It stays when a file is written over, so the file would look unchanged."""
    status = SimpleNamespace(st_mtime_ns=1, st_ctime_ns=2, st_dev=3, st_ino=4)
    assert FileStatus.of(cast("Any", status)) == FileStatus(1, 2, 3, 4)
    status.st_file_attributes = 32
    assert FileStatus.of(cast("Any", status)) == FileStatus(1, 0, 3, 4)


@needs_links
def test_the_item_of_a_linked_file_is_read_where_the_link_leads(directory: Path, tmp_path: Path) -> None:
    target = scan_path(str(directory)).items[0].file
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "linked").symlink_to(target)
    (item,) = scan_path(str(tmp_path / "links"), follow_symlinks=True).items
    assert (item.path, item.file) == ("linked", target)
