"""Whether a file is what it was: by the digest of this installation, or of the one that wrote the journal."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from xnatctl.inventory import sources
from xnatctl.inventory.fingerprints import FINGERPRINT, QUICK
from xnatctl.inventory.sources import content_hash, has_content, open_digesting
from xnatctl.testing import make_item

DATA = bytes(range(256)) * 5000


@pytest.fixture
def item(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(DATA)
    return make_item(path, path="a")


@pytest.mark.parametrize("algorithm", sorted({"sha256", "md5", FINGERPRINT}))
@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_what_is_read_is_hashed_on_the_way(item, algorithm: str, step: int) -> None:
    told = []
    with open_digesting(item, lambda _, digest: told.append(digest), algorithm) as reader:
        while reader.read(step):
            assert len(told) <= 1
    assert told == [content_hash(item, algorithm)]


def test_every_digest_is_known_again(item, tmp_path: Path) -> None:
    known = content_hash(item, FINGERPRINT)
    assert has_content(item, known)
    assert has_content(item, hashlib.sha256(DATA).hexdigest()), "of a journal that an earlier version wrote"
    (tmp_path / "b").write_bytes(DATA[:-1] + b"x")
    other = make_item(tmp_path / "b", path="b")
    assert not has_content(other, known)
    assert not has_content(other, hashlib.sha256(DATA).hexdigest())


def test_a_digest_that_cannot_be_made_here_proves_nothing(item, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "FINGERPRINT", "sha256")
    assert not has_content(item, f"{QUICK}:{'0' * 32}")
