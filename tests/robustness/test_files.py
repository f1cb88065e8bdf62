"""Short run of the fuzzer of files, and tests that it detects failures."""

import os

import pytest

from tests.robustness import files, pool

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes cannot be waited for elsewhere")
COUNT = 4000  # some 15 seconds


def test_damaged_files_are_read_correctly_or_named():
    report = pool.fuzz("files", COUNT, seed=1)
    assert not report.bad, str(report)
    assert report.counts.total() == COUNT
    # all kinds of outcomes occur, so that the damages are neither all fatal nor all without effect
    for outcome in ("right", "refused", "changed: header", "changed: no checksum"):
        assert report.counts[outcome] > COUNT / 50, str(report)


@pytest.mark.parametrize(
    ("case", "outcome"),
    [(0, "right"), (1, "bad: crash"), (2, "bad: hang"), (3, "bad: fuzzer"), (4, "refused")],
)
def test_the_pool_survives_crashes_and_hangs(monkeypatch, case, outcome):
    monkeypatch.setattr(pool, "TIMEOUT", 1)
    worker = pool.Worker("misbehaving", 0)
    try:
        assert worker.run(case)[0] == outcome
        assert worker.run(0) == ("right", "")
    finally:
        worker.close()


def test_wrong_voxels_are_detected(monkeypatch, tmp_path):
    files.ORIGINALS.clear()
    files.prepare(tmp_path)
    read = files.io.read

    def careless(path):
        data, affine = read(path)
        return data + 1, affine

    monkeypatch.setattr(files.io, "read", careless)
    outcomes = {files.run(n, 0)[0] for n in range(60)}
    files.ORIGINALS.clear()
    assert "bad: wrong voxels" in outcomes
