"""Many files and large ones: few requests, bounded memory, nothing beside the data on either disk; others read it back."""

from __future__ import annotations

import hashlib
import os
import random
import re
import subprocess
import sys
import warnings
from dataclasses import replace

import pytest

pytestmark = pytest.mark.once

CHILD = """
import sys
from pathlib import Path
from xnatctl.__main__ import main
sys.argv[0] = "xnatctl"
try:
    main()
finally:
    # The kernel's own peak of this process; ru_maxrss would count the parent before exec.
    peak = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    print("peak", *peak, file=sys.stderr)
"""


@pytest.fixture
def measured(environment, alice, tmp_path):
    """Run the command; returns exit code, peak memory in MiB, and what it left in its temporary directory."""

    def run(*arguments):
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *map(str, arguments)],
            env={**environment, **alice, "TMPDIR": str(scratch)},
            capture_output=True,
            timeout=110,
            check=False,
        )
        peak = re.search(rb"peak (\d+)", done.stderr)
        assert peak is not None, done.stderr
        return done.returncode, int(peak.group(1)) / 1024, list(scratch.iterdir())

    return run


@pytest.mark.lab
def test_ten_thousand_small_files_are_a_few_requests(measured, server, session, tmp_path, on_disk, writes):
    root, dice = tmp_path / "many", random.Random(3)
    expected = {}
    for number in range(10_000):
        path = root / f"sub-{number // 500:02}" / f"{number:05}.tsv"
        if number % 500 == 0:
            path.parent.mkdir(parents=True)
        expected[path.relative_to(root).as_posix()] = data = dice.randbytes(number % 97)
        path.write_bytes(data)
    code, peak, left = measured("resource", "upload", session, "MANY", root)
    assert code == 0
    assert len(writes()) <= 10
    assert peak < 150
    assert left == []
    assert on_disk("MANY") == expected
    assert len(server.listed(f"/data/experiments/{session}", "MANY")) == 10_000


@pytest.mark.parametrize("name", ["large.nii", "large [1] #ü.nii"])
def test_a_large_file_is_never_whole_in_memory(measured, session, tmp_path, sandbox, name):
    """64 MiB, beyond any buffer; alone, and with a name that has to travel in a bundle. XNATCTL_LAB=full: 1 GiB."""
    size = 2**30 if os.environ.get("XNATCTL_LAB") == "full" else 64 * 2**20
    path, block = tmp_path / name, random.Random(5).randbytes(2**20)
    with path.open("wb") as file:
        for number in range(size // 2**20):
            file.write(number.to_bytes(4, "big") + block[4:])
    code, peak, left = measured("resource", "upload", session, "LARGE", path)
    assert code == 0
    assert peak < 110
    assert left == []
    (stored,) = [found for found in (sandbox.directory / "archive").rglob("*") if found.name == name]
    with path.open("rb") as one, stored.open("rb") as other:
        assert hashlib.file_digest(one, "sha256").digest() == hashlib.file_digest(other, "sha256").digest()


@pytest.mark.once
@pytest.mark.filterwarnings("ignore")  # xnatpy's own habits are not ours to judge
def test_xnatpy_reads_them_back(xnatctl, alice, sandbox, session, tree, contents, tmp_path):
    assert xnatctl("resource", "upload", session, "BIDS", tree, env=alice).code == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import xnat

        with xnat.connect(sandbox.url, user="alice", password="alice", loglevel="CRITICAL") as connection:
            resource = connection.projects["DEMO"].experiments["e"].resources["BIDS"]
            expected = contents(tree)
            assert {str(name) for name, _ in resource.files.items()} == set(expected)
            read = {}
            for name, file in resource.files.items():
                # Characters that no URL of an XNAT can carry, so that nobody can ask for such a file alone
                # (xnat-api 0.11); their bytes are compared on the server's disk, in another test.
                if not set(str(name)) & set("%#;?\\"):
                    file.download(str(tmp_path / "one"), verbose=False)
                    read[str(name)] = (tmp_path / "one").read_bytes()
    assert len(read) >= 10
    assert read == {name: expected[name] for name in read}


@pytest.mark.lab
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_files_of_others_in_the_same_resource_take_no_memory(measured, server, session, sandbox, tmp_path, overwrite):
    """A hundred thousand of them; one of ours is sent, and sent again after that."""
    url = f"/data/experiments/{session}/resources"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "mine.txt").write_text("mine")
    weights = {}
    for label, theirs in (("FEW", 1), ("MANY", 100_000)):
        server.put(f"{url}/{label}/files/theirs.txt", b"theirs")
        (experiment,) = sandbox.state.experiments.values()
        (resource,) = [found for found in experiment.resources if found.label == label]
        (entry,) = resource.entries.values()
        for number in range(theirs):
            name = f"a folder of theirs/sub-{number // 500:03}/ses-01/func/{number:06}_bold.nii.gz"
            resource.entries[name] = replace(entry, path=name)
        upload = ("resource", "upload", session, label, mine, *overwrite)
        listing = ("resource", "list", session)
        weights[label] = [measured(*words)[:2] for words in (upload, upload, listing)]
        assert (resource.entries["mine.txt"].size, len(resource.entries)) == (4, theirs + 2)
    assert [code for runs in weights.values() for code, _ in runs] == [0] * 6
    for (_, few), (_, many) in zip(weights["FEW"], weights["MANY"], strict=True):
        assert many < few + 20, weights
